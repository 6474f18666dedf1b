//! Requests that are given up in the middle, and stores that fail at the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};

use super::watched::Watched;
use super::{author, body, push_image, registry, repository};
use crate::clock::System;
use crate::oci::Digest;
use crate::registry::{Register, Registry, RegistryError, journal, layout, versions};
use crate::store::faulty::Operation;
use crate::store::{Durability, Key, fs::FsStore};

/// A body that begins, with so much that it is written, and then never goes on.
fn stalled() -> impl crate::registry::uploads::Body {
    stream::iter([Ok(Bytes::from(vec![b'x'; 1024 * 1024]))]).chain(stream::pending())
}

async fn parts(registry: &Registry, directory: &Key) -> usize {
    let children = registry.store().children(directory, None, usize::MAX).await.unwrap();
    children.iter().filter(|child| layout::is_upload_part(&child.name)).count()
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it came to be in 10 seconds");
}

#[tokio::test]
async fn a_chunk_that_is_given_up_leaves_no_file() {
    let root = tempfile::tempdir().unwrap();
    let store = FsStore::open(root.path(), layout::temporaries()).unwrap();
    let registry = Registry::open(Arc::new(store), Arc::new(System)).await.unwrap();
    let upload = registry.begin_upload(&repository("a"), "me").await.unwrap();
    let directory = layout::upload(upload.id());
    let (appending, begun) = (registry.clone(), upload.clone());
    let request = tokio::spawn(async move { appending.append(&begun, None, None, stalled()).await });
    until(async || parts(&registry, &directory).await == 1).await;
    request.abort();
    until(async || parts(&registry, &directory).await == 0).await;
    let upload = registry.upload(&repository("a"), upload.id(), "me").await.unwrap();
    registry.append(&upload, None, None, body(b"whole")).await.unwrap();
    assert_eq!(parts(&registry, &directory).await, 1);
}

#[tokio::test]
async fn a_blob_in_one_request_that_is_given_up_leaves_no_open_upload() {
    let registry = registry().await;
    let digest = Digest::sha256(b"half and half");
    assert!(registry.put_blob(&repository("a"), &digest, None, stalled(), &author()).now_or_never().is_none());
    let uploads = registry.store().children(&layout::uploads(), None, 10).await.unwrap();
    let [upload] = uploads.as_slice() else { panic!("{uploads:?}") };
    until(async || !registry.is_upload_open(&upload.name).await.unwrap()).await;
    until(async || parts(&registry, &layout::upload(&upload.name)).await == 0).await;
}

/// The answer of a store that fails says nothing of whether the write will be there: its record stays unsettled.
#[tokio::test]
async fn a_deletion_that_fails_in_the_store_is_not_settled() {
    let watched = Watched::open().await;
    let (registry, repository) = (&watched.registry, repository("a"));
    push_image(registry, &repository, "v1", b"layer").await;
    let tag = Register::Tag(repository.clone(), "v1".parse().unwrap());
    watched.fail(Operation::PutNew, &tag.key().join(versions::name(2)));
    let failed = registry.delete_tag(&repository, &"v1".parse().unwrap(), &author()).await;
    assert!(matches!(failed, Err(RegistryError::Store(_))), "{failed:?}");
    // Settlements travel with the next record at the latest.
    push_image(registry, &repository, "v2", b"another").await;
    let now = registry.clock().now_millis();
    let read = journal::read(registry.store(), &registry.identity().identity, None, now).await.unwrap();
    assert!(read.unsettled.iter().any(|seen| seen.register == tag), "{:?}", read.unsettled);
}

#[tokio::test]
async fn a_version_that_has_landed_has_landed_also_if_old_ones_cannot_be_cleared_away() {
    let watched = Watched::open().await;
    let (store, directory) = (watched.registry.store(), Key::new("numbered").unwrap());
    watched.fail(Operation::Children, &directory);
    let landed = versions::land(store, &directory, 64, "x".into(), Durability::Durable).await;
    assert!(landed.unwrap());
    watched.assert_all_happened();
}

#[tokio::test]
async fn an_upload_that_was_closed_is_known_only_to_who_closes_it_again() {
    let registry = registry().await;
    let name = repository("a");
    let upload = registry.begin_upload(&name, "me").await.unwrap();
    let digest = Digest::sha256(b"blob");
    registry.close(&upload, None, None, body(b"blob"), &digest, &author()).await.unwrap();
    let closed = registry.upload(&name, upload.id(), "me").await.unwrap();
    let gone = |outcome: &RegistryError| matches!(outcome, RegistryError::UploadUnknown(_));
    assert!(gone(&registry.append(&closed, None, None, body(b"x")).await.unwrap_err()));
    assert!(gone(&registry.keep(&closed).await.unwrap_err()));
    assert!(gone(&registry.cancel(&closed).await.unwrap_err()));
    let other = Digest::sha256(b"other");
    assert!(gone(&registry.close(&closed, None, None, body(b"other"), &other, &author()).await.unwrap_err()));
    assert_eq!(registry.close(&closed, None, None, body(b""), &digest, &author()).await.unwrap(), 4);
}
