//! The domain, over a store in memory and one in a directory.

mod bounded;
mod damaged;
mod deleting;
mod durability;
mod given_up;
mod landing;
mod mounting;
mod once;
pub(crate) mod time;
mod uploading;
mod watched;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;

use super::manifests::Incoming;
use super::register::{Author, Cause, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, hold, journal};
use crate::clock::System;
use crate::oci::{Digest, MediaType, Reference, RepositoryName};
use crate::store::{Durability, Key, Store, fs::FsStore, memory::MemoryStore};

pub(crate) fn author() -> Author {
    Author { actor: "htpasswd:tester".into(), cause: Cause::Client }
}

pub(crate) fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn body(bytes: &'static [u8]) -> impl super::uploads::Body {
    stream::iter([Ok(Bytes::from_static(bytes))])
}

/// Two registries on one store, as two replicas.
async fn replicas() -> (Registry, Registry) {
    let store: Store = Arc::new(MemoryStore::default());
    (
        Registry::open(store.clone(), Arc::new(System)).await.unwrap(),
        Registry::open(store, Arc::new(System)).await.unwrap(),
    )
}

pub(crate) async fn registry() -> Registry {
    replicas().await.0
}

pub(crate) async fn push_blob(registry: &Registry, repository: &RepositoryName, bytes: &'static [u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    registry.put_blob(repository, &digest, Some(bytes.len() as u64), body(bytes), &author()).await.unwrap();
    digest
}

pub(crate) fn image(config: &Digest, layers: &[&Digest]) -> Bytes {
    let descriptor =
        |digest: &Digest| serde_json::json!({"mediaType": "application/vnd.example", "digest": digest, "size": 1});
    let layers: Vec<_> = layers.iter().map(|digest| descriptor(digest)).collect();
    serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": descriptor(config), "layers": layers})
        .to_string()
        .into()
}

pub(crate) async fn put(
    registry: &Registry,
    repository: &RepositoryName,
    reference: &str,
    bytes: Bytes,
) -> super::Result<Digest> {
    let reference: Reference = reference.parse().unwrap();
    let incoming = Incoming::new(repository, &reference, Some(&MediaType::oci_manifest()), bytes)?;
    registry.put_manifest(&incoming, &author()).await?;
    Ok(incoming.digest)
}

pub(crate) async fn push_image(
    registry: &Registry,
    repository: &RepositoryName,
    tag: &str,
    layer: &'static [u8],
) -> Digest {
    let (config, layer) = (push_blob(registry, repository, b"{}").await, push_blob(registry, repository, layer).await);
    put(registry, repository, tag, image(&config, &[&layer])).await.unwrap()
}

#[tokio::test]
async fn a_blob_is_read_only_where_it_is_linked() {
    let registry = registry().await;
    let (here, there) = (repository("here"), repository("there"));
    let digest = push_blob(&registry, &here, b"hello").await;
    assert_eq!(registry.blob(&here, &digest).await.unwrap().size, 5);
    assert!(matches!(registry.blob(&there, &digest).await, Err(RegistryError::BlobUnknown { .. })));
    assert!(registry.mount(&there, &here, &digest, &author()).await.unwrap());
    registry.delete_blob(&here, &digest, &author()).await.unwrap();
    assert!(matches!(registry.open_blob(&here, &digest).await, Err(RegistryError::BlobUnknown { .. })));
    assert_eq!(registry.open_blob(&there, &digest).await.unwrap().read().await.unwrap(), "hello");
    assert!(!registry.mount(&there, &here, &digest, &author()).await.unwrap(), "a deleted link lends nothing");
}

#[tokio::test]
async fn an_upload_goes_on_and_is_closed_at_another_replica() {
    let (one, other) = replicas().await;
    let repository = repository("a");
    let upload = one.begin_upload(&repository, "me").await.unwrap();
    one.append(&upload, Some(0), Some(3), body(b"abc")).await.unwrap();
    let upload = other.upload(&repository, upload.id(), "me").await.unwrap();
    assert_eq!(upload.size(), 3);
    other.append(&upload, Some(3), None, body(b"def")).await.unwrap();
    let upload = one.upload(&repository, upload.id(), "me").await.unwrap();
    let digest = Digest::sha256(b"abcdefghi");
    one.close(&upload, None, None, body(b"ghi"), &digest, &author()).await.unwrap();
    assert_eq!(other.open_blob(&repository, &digest).await.unwrap().read().await.unwrap(), "abcdefghi");
    // A close whose answer was lost is repeated.
    let upload = other.upload(&repository, upload.id(), "me").await.unwrap();
    assert_eq!(other.close(&upload, None, None, body(b""), &digest, &author()).await.unwrap(), 9);
}

#[tokio::test]
async fn an_upload_is_bound_to_its_repository_and_its_identity() {
    let registry = registry().await;
    let upload = registry.begin_upload(&repository("a"), "me").await.unwrap();
    for (repository, id, actor) in
        [("b", upload.id(), "me"), ("a", upload.id(), "you"), ("a", "../../store", "me"), ("a", "", "me")]
    {
        let found = registry.upload(&repository.parse().unwrap(), id, actor).await;
        assert!(matches!(found, Err(RegistryError::UploadUnknown(_))), "{repository} {id} {actor}");
    }
    registry.cancel(&upload).await.unwrap();
    assert!(registry.upload(&repository("a"), upload.id(), "me").await.is_err());
}

#[tokio::test]
async fn a_chunk_out_of_order_is_told_where_the_upload_is() {
    let registry = registry().await;
    let upload = registry.begin_upload(&repository("a"), "me").await.unwrap();
    let grown = registry.append(&upload, Some(0), None, body(b"abc")).await.unwrap();
    for stale in [&upload, &grown] {
        let refused = registry.append(stale, Some(9), None, body(b"x")).await;
        assert!(matches!(refused, Err(RegistryError::UploadRange { .. })));
    }
    // Two chunks at one offset: the second is told.
    assert!(matches!(
        registry.append(&upload, Some(0), None, body(b"xyz")).await,
        Err(RegistryError::UploadRange { .. })
    ));
}

#[tokio::test]
async fn a_client_whose_body_broke_off_may_send_everything_again_or_go_on_where_it_was() {
    let registry = registry().await;
    let repository = repository("a");
    let digest = Digest::sha256(b"whole blob");
    let broken = || stream::iter([Ok(Bytes::from_static(b"whole ")), Err(std::io::Error::other("hung up"))]);
    let again = |id: String| {
        let (registry, repository) = (registry.clone(), repository.clone());
        async move { registry.upload(&repository, &id, "me").await.unwrap() }
    };
    let upload = registry.begin_upload(&repository, "me").await.unwrap();
    assert!(matches!(registry.append(&upload, None, None, broken()).await, Err(RegistryError::Body(_))));
    let upload = again(upload.id().to_owned()).await;
    registry.close(&upload, None, Some(10), body(b"whole blob"), &digest, &author()).await.unwrap();

    let upload = registry.begin_upload(&repository, "me").await.unwrap();
    assert!(registry.append(&upload, None, None, broken()).await.is_err());
    let upload = again(upload.id().to_owned()).await;
    registry.keep(&upload).await.unwrap();
    let upload = again(upload.id().to_owned()).await;
    assert_eq!(upload.size(), 6);
    registry.close(&upload, None, None, body(b"blob"), &digest, &author()).await.unwrap();
}

#[tokio::test]
async fn bytes_with_another_digest_or_length_are_refused_and_leave_nothing() {
    let registry = registry().await;
    let (repository, digest) = (repository("a"), Digest::sha256(b"expected"));
    let refused = registry.put_blob(&repository, &digest, None, body(b"actual"), &author()).await;
    assert!(matches!(refused, Err(RegistryError::DigestMismatch { .. })));
    let short = registry.put_blob(&repository, &digest, Some(9), body(b"expected"), &author()).await;
    assert!(matches!(short, Err(RegistryError::SizeInvalid { expected: 9, received: 8 })));
    assert!(registry.blob(&repository, &digest).await.is_err());
}

#[tokio::test]
async fn a_manifest_is_kept_byte_for_byte_under_tag_and_digest() {
    let (one, other) = replicas().await;
    let repository = repository("team/app");
    let digest = push_image(&one, &repository, "v1", b"layer").await;
    for reference in ["v1".parse().unwrap(), Reference::Digest(digest.clone())] {
        let (stored, object) = other.open_manifest(&repository, &reference).await.unwrap();
        assert_eq!(stored.digest, digest);
        assert_eq!(Digest::sha256(&object.read().await.unwrap()), digest);
    }
    assert_eq!(other.tags(&repository, None, 10).await.unwrap().0.len(), 1);
    assert_eq!(other.repositories(None, 10).await.unwrap(), [repository]);
}

#[tokio::test]
async fn a_manifest_that_names_what_is_missing_is_refused_with_every_name() {
    let registry = registry().await;
    let repository = repository("a");
    let config = push_blob(&registry, &repository, b"{}").await;
    let (x, y) = (Digest::sha256(b"x"), Digest::sha256(b"y"));
    let refused = put(&registry, &repository, "v1", image(&config, &[&x, &y])).await;
    let Err(RegistryError::ReferencesUnknown { missing, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(missing.len(), 2);
    assert!(matches!(registry.tags(&repository, None, 1).await, Err(RegistryError::NameUnknown(_))));
}

/// The second look is at the links too: bytes that another repository needs are there all the same.
#[tokio::test]
async fn a_link_that_is_deleted_between_the_two_looks_refuses_the_manifest() {
    let registry = registry().await;
    let (here, there) = (repository("here"), repository("there"));
    let (config, layer) = (push_blob(&registry, &here, b"{}").await, push_blob(&registry, &here, b"layer").await);
    push_blob(&registry, &there, b"layer").await;
    let bytes = image(&config, &[&layer]);
    let incoming = Incoming::new(&here, &"v1".parse().unwrap(), Some(&MediaType::oci_manifest()), bytes).unwrap();
    registry.check_references(&incoming).await.unwrap();
    registry.delete_blob(&here, &layer, &author()).await.unwrap();
    let ticket = registry.journal().record(Vec::new()).await.unwrap();
    let landed = registry.rescue_and_land(&incoming, &author(), &ticket).await;
    assert!(matches!(landed, Err(RegistryError::ReferencesUnknown { .. })), "{landed:?}");
}

#[tokio::test]
async fn deleting_a_digest_ends_every_tag_that_points_there() {
    let registry = registry().await;
    let repository = repository("a");
    let digest = push_image(&registry, &repository, "v1", b"layer").await;
    push_image(&registry, &repository, "v2", b"layer").await;
    push_image(&registry, &repository, "other", b"another layer").await;
    registry.delete_manifest(&repository, &digest, &author()).await.unwrap();
    let (tags, more) = registry.tags(&repository, None, 10).await.unwrap();
    assert_eq!((tags, more), (vec!["other".parse().unwrap()], None));
    assert!(registry.open_manifest(&repository, &digest.clone().into()).await.is_err());
    assert!(registry.delete_manifest(&repository, &digest, &author()).await.is_err());
}

#[tokio::test]
async fn deleting_a_tag_leaves_its_digest() {
    let registry = registry().await;
    let repository = repository("a");
    let digest = push_image(&registry, &repository, "v1", b"layer").await;
    registry.delete_tag(&repository, &"v1".parse().unwrap(), &author()).await.unwrap();
    assert!(registry.tag(&repository, &"v1".parse().unwrap()).await.is_err());
    assert!(registry.manifest(&repository, &digest.into()).await.is_ok());
    assert!(registry.delete_tag(&repository, &"v1".parse().unwrap(), &author()).await.is_err());
}

#[tokio::test]
async fn tags_and_repositories_are_paged_in_lexical_order() {
    let registry = registry().await;
    let names = ["a", "a-b", "a.b", "a/b", "a/b/c", "a/c", "b", "b/a"];
    for name in names {
        push_image(&registry, &repository(name), "v1", b"layer").await;
    }
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    loop {
        let page = registry.repositories(last.as_deref(), 3).await.unwrap();
        let Some(end) = page.last() else { break };
        last = Some(end.to_string());
        seen.extend(page.iter().map(ToString::to_string));
    }
    assert_eq!(seen, names);
    let repository = repository("b");
    for tag in ["a", "a-b", "a.b", "A"] {
        push_image(&registry, &repository, tag, b"layer").await;
    }
    let (first, more) = registry.tags(&repository, None, 3).await.unwrap();
    let (rest, end) = registry.tags(&repository, Some(first[2].as_str()), 3).await.unwrap();
    let all: Vec<_> = first.iter().chain(&rest).map(crate::oci::Tag::as_str).collect();
    let third = first.last().cloned();
    assert_eq!((all, more, end), (vec!["A", "a", "a-b", "a.b", "v1"], third, None));
}

#[tokio::test]
async fn a_referrer_is_listed_while_it_exists() {
    let registry = registry().await;
    let repository = repository("a");
    let subject = push_image(&registry, &repository, "v1", b"layer").await;
    let config = push_blob(&registry, &repository, b"{}").await;
    let mut signature: serde_json::Value = serde_json::from_slice(&image(&config, &[])).unwrap();
    signature["artifactType"] = "application/vnd.example.signature".into();
    signature["subject"] = serde_json::json!({"mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 1});
    let bytes = Bytes::from(signature.to_string());
    let digest = Digest::sha256(&bytes);
    put(&registry, &repository, digest.as_str(), bytes).await.unwrap();
    let listed = registry.referrers(&repository, &subject).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].artifact_type.as_deref(), Some("application/vnd.example.signature"));
    registry.delete_manifest(&repository, &digest, &author()).await.unwrap();
    assert_eq!(registry.referrers(&repository, &subject).await.unwrap(), []);
}

#[tokio::test]
async fn what_was_condemned_is_taken_back_by_a_manifest_that_names_it() {
    let registry = registry().await;
    let repository = repository("a");
    let (config, layer) =
        (push_blob(&registry, &repository, b"{}").await, push_blob(&registry, &repository, b"layer").await);
    for digest in [&config, &layer] {
        let register = Register::Link(repository.clone(), digest.clone());
        let head = registry.head(&register).await.unwrap().unwrap();
        let draft = Draft::from_entry(&head.entry, Op::Condemn);
        registry.land(&register, Some(&head), &draft, &author(), Permit::Held).await.unwrap().unwrap();
        assert!(registry.condemn_data(digest, 1).await.unwrap());
    }
    // HEAD says no, so that a pusher uploads it again; GET still serves.
    assert!(registry.blob(&repository, &layer).await.is_err());
    assert_eq!(registry.open_blob(&repository, &layer).await.unwrap().read().await.unwrap(), "layer");
    put(&registry, &repository, "v1", image(&config, &[&layer])).await.unwrap();
    assert_eq!(registry.blob(&repository, &layer).await.unwrap().size, 5);
}

#[tokio::test]
async fn of_concurrent_writers_of_one_tag_each_has_a_version_and_the_last_one_counts() {
    let (one, other) = replicas().await;
    let repository = repository("a");
    let mut digests = Vec::new();
    for layer in [b"1".as_slice(), b"2", b"3", b"4"] {
        digests.push(push_image(&one, &repository, "seed", layer).await);
    }
    let config = Digest::sha256(b"{}");
    let puts = [b"1", b"2", b"3", b"4"].into_iter().enumerate().map(|(n, layer)| {
        let registry = if n % 2 == 0 { one.clone() } else { other.clone() };
        let (repository, bytes) = (repository.clone(), image(&config, &[&Digest::sha256(layer)]));
        tokio::spawn(async move { put(&registry, &repository, "v1", bytes).await.unwrap() })
    });
    futures::future::join_all(puts).await;
    let head = one.tag(&repository, &"v1".parse().unwrap()).await.unwrap();
    assert_eq!(head.version, 4);
    assert!(digests.contains(&head.entry.digest));
    let register = Register::Tag(repository, "v1".parse().unwrap());
    let versions = super::versions::all(one.store(), &register.key()).await.unwrap();
    let clocks: Vec<_> =
        versions.iter().map(|v| serde_json::from_slice::<super::Entry>(&v.value).unwrap().clock).collect();
    assert!(clocks.is_sorted_by(|newer, older| newer > older), "{clocks:?}");
}

#[tokio::test]
async fn the_journal_tells_what_changed_once_and_what_is_unsettled_until_it_is() {
    let (one, other) = replicas().await;
    let (store, identity) = (one.store(), one.identity().identity.clone());
    let now = || one.clock().now_millis();
    let start = journal::read(store, &identity, None, now()).await.unwrap();
    assert!(start.changes.is_empty() && !start.compare);
    let repository = repository("a");
    push_image(&other, &repository, "v1", b"layer").await;
    let first = journal::read(store, &identity, Some(&start.cursor), now()).await.unwrap();
    let tag = Register::Tag(repository.clone(), "v1".parse().unwrap());
    assert!(first.changes.iter().any(|seen| seen.register == tag), "{:?}", first.changes);
    let ticket = one.journal().record(vec![tag.clone()]).await.unwrap();
    let second = journal::read(store, &identity, Some(&first.cursor), now()).await.unwrap();
    assert!(second.unsettled.iter().any(|seen| seen.register == tag));
    ticket.settle(&Ok(()));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    let mut cursor = second.cursor;
    loop {
        let read = journal::read(store, &identity, Some(&cursor), now()).await.unwrap();
        cursor = read.cursor;
        if read.unsettled.is_empty() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{:?}", read.unsettled);
        tokio::task::yield_now().await;
    }
    let last = journal::read(store, &identity, Some(&cursor), now()).await.unwrap();
    assert_eq!(last.changes, []);
}

#[tokio::test]
async fn a_cursor_of_another_store_compares_and_one_ahead_says_so() {
    let (one, _) = replicas().await;
    let repository = repository("a");
    push_image(&one, &repository, "v1", b"layer").await;
    let identity = one.identity().identity.clone();
    let read = journal::read(one.store(), &identity, None, one.clock().now_millis()).await.unwrap();
    let restored = registry().await;
    let other = restored.identity().identity.clone();
    assert!(journal::read(restored.store(), &other, Some(&read.cursor), 0).await.unwrap().compare);
    // The same identity with a shorter log: a backup was put back.
    assert!(journal::read(restored.store(), &identity, Some(&read.cursor), 0).await.unwrap().ahead);
}

/// A file that was linked and not synced: its bytes may be missing, or be zeros.
#[tokio::test]
async fn what_a_power_cut_tore_is_as_if_it_had_not_been() {
    let (one, _) = replicas().await;
    let (store, identity) = (one.store().clone(), one.identity().identity.clone());
    let repository = repository("a");
    let start = journal::read(&store, &identity, None, one.clock().now_millis()).await.unwrap();
    push_image(&one, &repository, "v1", b"layer").await;
    let origin = journal::origins(&store).await.unwrap().remove(0);
    let last = store.children(&super::layout::journal().join(&origin), None, 100).await.unwrap().len() as u64;
    for (number, torn) in [(last + 1, ""), (last + 2, "{\"at\":12\0\0\0\0"), (last + 3, "{\"at\":1,")] {
        let key = super::layout::journal_record(&origin, number);
        store.put_new(&key, torn.into(), Durability::Volatile).await.unwrap();
    }
    let read = journal::read(&store, &identity, Some(&start.cursor), one.clock().now_millis()).await.unwrap();
    let tag = Register::Tag(repository.clone(), "v1".parse().unwrap());
    assert!(read.changes.iter().any(|seen| seen.register == tag) && !read.ahead, "{read:?}");
    // The same again, with what was torn lost altogether: nobody has put a backup back.
    for number in last + 1..=last + 3 {
        store.delete(&super::layout::journal_record(&origin, number)).await.unwrap();
    }
    let again = journal::read(&store, &identity, Some(&read.cursor), one.clock().now_millis()).await.unwrap();
    assert!(!again.ahead && !again.compare, "{again:?}");
    one.sweep().await.unwrap();

    one.put_edge_status("0123456789abcdef", "\0\0\0".into()).await.unwrap();
    assert_eq!(one.edge_statuses().await.unwrap(), []);

    let upload = one.begin_upload(&repository, "tester").await.unwrap();
    let step = super::layout::upload(upload.id()).join(super::versions::name(2));
    store.put_new(&step, "{\"part\"".into(), Durability::Volatile).await.unwrap();
    let error = one.upload(&repository, upload.id(), "tester").await.unwrap_err();
    assert!(matches!(error, RegistryError::UploadUnknown(_)), "{error}");
}

#[tokio::test]
async fn under_a_hold_nothing_is_written_and_after_it_everything() {
    let (one, _) = replicas().await;
    let repository = repository("a");
    push_image(&one, &repository, "v1", b"layer").await;
    let now = one.clock().now_millis();
    assert!(hold::put(one.store(), "collector", now + 60_000, now).await.unwrap());
    assert!(!hold::put(one.store(), "another", now + 60_000, now).await.unwrap());
    journal::claim_all(one.store(), now).await.unwrap();
    let tag = "v1".parse().unwrap();
    assert!(matches!(one.delete_tag(&repository, &tag, &author()).await, Err(RegistryError::ReadOnly)));
    // A process that starts now finds the hold too.
    let fresh = Registry::open(one.store().clone(), Arc::new(System)).await.unwrap();
    assert!(matches!(fresh.delete_tag(&repository, &tag, &author()).await, Err(RegistryError::ReadOnly)));
    assert!(one.tag(&repository, &tag).await.is_ok());
    assert!(hold::put(one.store(), "collector", 0, now).await.unwrap());
    one.delete_tag(&repository, &tag, &author()).await.unwrap();
}

#[tokio::test]
async fn a_directory_opened_again_is_the_same_store_with_everything_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let open = || async {
        let store = FsStore::open(directory.path(), Key::of("regatta/v1/tmp".into())).unwrap();
        Registry::open(Arc::new(store), Arc::new(System)).await.unwrap()
    };
    let registry = open().await;
    let repository = repository("team/app");
    let digest = push_image(&registry, &repository, "v1", b"layer").await;
    let again = open().await;
    assert_eq!(again.identity(), registry.identity());
    assert_eq!(again.manifest(&repository, &"v1".parse().unwrap()).await.unwrap().digest, digest);
    let swept = again.sweep().await.unwrap();
    assert_eq!(swept, super::sweep::Swept::default(), "what is young is kept");
    let path = format!("docker/registry/v2/blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex());
    assert!(directory.path().join(path).exists(), "blobs lie where Distribution puts them");
}

#[test]
fn a_head_that_is_condemned_is_readable_and_not_set() {
    let entry = super::Entry {
        op: Op::Condemn,
        digest: Digest::sha256(b""),
        media_type: None,
        size: 0,
        clock: "1.0@a".parse().unwrap(),
        actor: String::new(),
        cause: Cause::Collection,
        nonce: String::new(),
    };
    let head = Head { version: 1, entry };
    assert!(head.is_readable() && !head.is_set());
}
