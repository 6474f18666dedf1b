//! Deletions that are overtaken by pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;

use super::watched::Watched;
use super::{author, push_image, repository};
use crate::registry::register::{Draft, Op, Permit};
use crate::registry::{Register, journal, versions};
use crate::store::faulty::Operation;

#[tokio::test]
async fn a_tag_that_is_set_while_its_digest_is_deleted_is_ended_and_unsettled_until_then() {
    let watched = Watched::open().await;
    let (registry, repository) = (&watched.registry, repository("a"));
    let digest = push_image(registry, &repository, "v1", b"layer").await;
    let manifest = Register::Manifest(repository.clone(), digest.clone());
    let late = Register::Tag(repository.clone(), "late".parse().unwrap());

    // A push sets a tag just before the digest is ended: the deletion has looked for tags before.
    let (pusher, tag, named_by_it) = (registry.clone(), late.clone(), digest.clone());
    watched.before(Operation::PutNew, &manifest.key().join(versions::name(2)), move || {
        let draft = Draft { op: Op::Set, digest: named_by_it, media_type: None, size: 1 };
        let (author, permit) = (author(), Permit::Held);
        let landed = pusher.land(&tag, None, &draft, &author, permit).now_or_never().unwrap();
        assert!(landed.unwrap().is_some());
    });
    let named = Arc::new(AtomicBool::default());
    let (reader, tag, seen) = (registry.clone(), late.clone(), Arc::clone(&named));
    watched.before(Operation::PutNew, &late.key().join(versions::name(2)), move || {
        let (store, now) = (reader.store(), reader.clock().now_millis());
        let read = journal::read(store, &reader.identity().identity, None, now).now_or_never().unwrap().unwrap();
        seen.store(read.unsettled.iter().any(|seen| seen.register == tag), Ordering::SeqCst);
    });

    registry.delete_manifest(&repository, &digest, &author()).await.unwrap();
    watched.assert_all_happened();
    assert!(registry.tags(&repository, None, 10).await.unwrap().0.is_empty());
    assert!(registry.head(&late).await.unwrap().is_some_and(|head| head.entry.op == Op::Delete));
    assert!(named.load(Ordering::SeqCst), "its end was named in the journal before it landed, and not settled");
}
