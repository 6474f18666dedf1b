//! Uploads that fail, are tried again, or overlap.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;

use super::watched::Watched;
use super::{author, body, replicas, repository};
use crate::oci::Digest;
use crate::registry::uploads::Upload;
use crate::registry::{Registry, RegistryError, layout};
use crate::store::faulty::Operation;

async fn again(registry: &Registry, upload: &Upload) -> Upload {
    registry.upload(&repository("a"), upload.id(), "me").await.unwrap()
}

/// An upload with these parts.
async fn upload(registry: &Registry, parts: &[&'static [u8]]) -> Upload {
    let mut upload = registry.begin_upload(&repository("a"), "me").await.unwrap();
    for part in parts {
        upload = registry.append(&upload, None, None, body(part)).await.unwrap();
    }
    upload
}

async fn content(registry: &Registry, digest: &Digest) -> Bytes {
    registry.open_blob(&repository("a"), digest).await.unwrap().read().await.unwrap()
}

/// The files that lie beside an upload.
async fn files(registry: &Registry, upload: &Upload) -> usize {
    let children = registry.store().children(&layout::upload(upload.id()), None, usize::MAX).await.unwrap();
    children.iter().filter(|child| layout::is_upload_part(&child.name)).count()
}

#[tokio::test]
async fn a_second_close_that_overlaps_the_first_ends_the_same() {
    let cases: [(&[&'static [u8]], &'static [u8]); 3] =
        [(&[b"single part"], b""), (&[b"two ", b"parts"], b""), (&[b"two ", b"parts and "], b"a body")];
    for (parts, last) in cases {
        let (one, other) = replicas().await;
        let whole = [parts.concat().as_slice(), last].concat();
        let digest = Digest::sha256(&whole);
        // What the second one has read of the upload is from before the first one's end.
        let upload = upload(&one, parts).await;
        for replica in [&one, &one, &other] {
            let size = replica.close(&upload, None, None, body(last), &digest, &author()).await.unwrap();
            assert_eq!(size, whole.len() as u64);
        }
        assert_eq!(content(&other, &digest).await, whole);
    }
}

#[tokio::test]
async fn a_close_ends_the_upload_whatever_was_appended_meanwhile() {
    let (one, other) = replicas().await;
    let closing = upload(&one, &[b"blob"]).await;
    other.append(&again(&other, &closing).await, Some(4), None, body(b" and more")).await.unwrap();
    let digest = Digest::sha256(b"blob");
    one.close(&closing, None, None, body(b""), &digest, &author()).await.unwrap();
    let closed = again(&other, &closing).await;
    assert_eq!(other.close(&closed, None, None, body(b""), &digest, &author()).await.unwrap(), 4);
}

#[tokio::test]
async fn a_close_with_the_wrong_bytes_leaves_the_upload_as_it_was() {
    let (one, other) = replicas().await;
    let digest = Digest::sha256(b"abcdef");
    let cases: [&[&[u8]]; 2] = [&[b"abc"], &[b"a", b"bc"]];
    for parts in cases {
        let upload = upload(&one, parts).await;
        for replica in [&one, &other] {
            let refused = replica.close(&upload, None, None, body(b"deX"), &digest, &author()).await;
            assert!(matches!(refused, Err(RegistryError::DigestMismatch { .. })), "{refused:?}");
            assert_eq!(again(replica, &upload).await.size(), 3);
            assert_eq!(files(replica, &upload).await, parts.len());
        }
        let upload = again(&other, &upload).await;
        assert_eq!(other.close(&upload, None, None, body(b"def"), &digest, &author()).await.unwrap(), 6);
        assert_eq!(content(&one, &digest).await, "abcdef");
    }
}

#[tokio::test]
async fn a_close_with_the_wrong_bytes_leaves_what_was_kept_of_a_broken_body() {
    let (registry, _) = replicas().await;
    let upload = upload(&registry, &[]).await;
    let broken = stream::iter([Ok(Bytes::from_static(b"abc")), Err(std::io::Error::other("hung up"))]);
    registry.append(&upload, None, None, broken).await.unwrap_err();
    let digest = Digest::sha256(b"abcdef");
    let refused =
        registry.close(&again(&registry, &upload).await, None, None, body(b"abcdeX"), &digest, &author()).await;
    assert!(matches!(refused, Err(RegistryError::DigestMismatch { .. })), "{refused:?}");
    registry.keep(&again(&registry, &upload).await).await.unwrap();
    let upload = again(&registry, &upload).await;
    registry.close(&upload, Some(3), None, body(b"def"), &digest, &author()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_of_a_chunk_lands_nothing_of_it() {
    for failing in [Operation::Temporary, Operation::Write, Operation::Finish] {
        let watched = Watched::open().await;
        let registry = &watched.registry;
        let upload = upload(registry, &[b"one "]).await;
        watched.before(Operation::Write, &layout::uploads(), || {});
        watched.fail(failing, &layout::uploads());
        let chunks = || stream::iter([b"two ".as_slice(), b"three"].map(|chunk| Ok(Bytes::from_static(chunk))));
        let refused = registry.append(&upload, Some(4), Some(9), chunks()).await;
        assert!(matches!(refused, Err(RegistryError::Store(_))), "{failing:?}: {refused:?}");
        let upload = again(registry, &upload).await;
        assert_eq!((upload.size(), files(registry, &upload).await), (4, 1), "{failing:?}");
        let upload = registry.append(&upload, Some(4), Some(9), chunks()).await.unwrap();
        let digest = Digest::sha256(b"one two three");
        registry.close(&upload, None, None, body(b""), &digest, &author()).await.unwrap();
        assert_eq!(content(registry, &digest).await, "one two three");
    }
}

/// Versions beyond the 64th clear away old ones; of an upload every one counts, however slow it is.
#[tokio::test]
async fn an_upload_of_many_parts_over_days_is_never_compacted() {
    let watched = Watched::open().await;
    let registry = &watched.registry;
    let mut upload = upload(registry, &[]).await;
    for _ in 0..130 {
        watched.store.advance(Duration::from_hours(25));
        upload = registry.append(&again(registry, &upload).await, None, None, body(b"part ")).await.unwrap();
    }
    assert_eq!(again(registry, &upload).await.size(), 650);
    let digest = Digest::sha256("part ".repeat(130).as_bytes());
    registry.close(&upload, None, None, body(b""), &digest, &author()).await.unwrap();
    let closed = again(registry, &upload).await;
    assert_eq!(registry.close(&closed, None, None, body(b""), &digest, &author()).await.unwrap(), 650);
}
