//! Clients of a registry whose store fails, and clients that err.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use regatta::oci::{Digest, MediaType};
use regatta::registry::layout;
use regatta::store::Key;
use regatta::store::faulty::{FaultyStore, Operation};
use regatta::store::fs::FsStore;
use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use crate::registry_support::{Fixture, OCI_MANIFEST, code, descriptor, image};

/// Where an upload goes on, from the answer that says so.
fn location(answer: &Response) -> String {
    answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

async fn begin(fixture: &Fixture) -> String {
    let answer = fixture.request("root", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    location(&answer)
}

async fn send(fixture: &Fixture, method: Method, path: &str, body: &[u8]) -> Response {
    fixture.request("root", method, path).body(body.to_vec()).send().await.unwrap()
}

async fn range(fixture: &Fixture, upload: &str) -> String {
    fixture.get("root", upload).await.headers()[header::RANGE].to_str().unwrap().to_owned()
}

async fn pull(fixture: &Fixture, digest: &Digest) -> Vec<u8> {
    let answer = fixture.get("root", &format!("/v2/team/app/blobs/{digest}")).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_in_the_middle_of_a_patch_keeps_nothing_of_it() {
    const NEVER: usize = usize::MAX;
    let writes_left = Arc::new(AtomicUsize::new(NEVER));
    let left = Arc::clone(&writes_left);
    let fixture = Fixture::start_judged(move |operation, _| {
        operation != Operation::Write
            || left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                    NEVER => Some(NEVER),
                    left => left.checked_sub(1),
                })
                .is_ok()
    })
    .await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (first, second) = bytes.split_at(100_000);
    let digest = Digest::sha256(&bytes);
    let upload = begin(&fixture).await;
    assert_eq!(send(&fixture, Method::PATCH, &upload, first).await.status(), 202);

    // A body of 2.9 MB comes in many pieces.
    writes_left.store(3, Ordering::SeqCst);
    assert_eq!(send(&fixture, Method::PATCH, &upload, second).await.status(), 500);
    assert_eq!(writes_left.load(Ordering::SeqCst), 0, "it failed in the middle");
    assert_eq!(range(&fixture, &upload).await, "0-99999");
    writes_left.store(NEVER, Ordering::SeqCst);
    assert_eq!(send(&fixture, Method::PATCH, &upload, second).await.status(), 202);
    assert_eq!(send(&fixture, Method::PUT, &format!("{upload}?digest={digest}"), b"").await.status(), 201);
    assert!(pull(&fixture, &digest).await == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_put_with_the_wrong_bytes_can_be_sent_again() {
    let fixture = Fixture::start().await;
    let digest = Digest::sha256(b"abcdef");
    for first in [b"".as_slice(), b"abc"] {
        let upload = begin(&fixture).await;
        if !first.is_empty() {
            assert_eq!(send(&fixture, Method::PATCH, &upload, first).await.status(), 202);
        }
        let before = range(&fixture, &upload).await;
        let rest = b"abcdef".strip_prefix(first).unwrap();
        let closing = format!("{upload}?digest={digest}");
        for _ in 0..2 {
            let refused = send(&fixture, Method::PUT, &closing, &rest.to_ascii_uppercase()).await;
            assert_eq!((refused.status().as_u16(), code(refused).await.as_str()), (400, "DIGEST_INVALID"));
            assert_eq!(range(&fixture, &upload).await, before);
        }
        assert_eq!(send(&fixture, Method::PUT, &closing, rest).await.status(), 201);
        // An answer that was lost is asked for again.
        assert_eq!(send(&fixture, Method::PUT, &closing, rest).await.status(), 201);
        assert_eq!(pull(&fixture, &digest).await, b"abcdef");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_closes_at_once_each_is_answered_with_201() {
    let fixture = Fixture::start().await;
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let digest = Digest::sha256(&bytes);
    for _ in 0..5 {
        let upload = begin(&fixture).await;
        for part in bytes.chunks(300_000) {
            assert_eq!(send(&fixture, Method::PATCH, &upload, part).await.status(), 202);
        }
        let closing = format!("{upload}?digest={digest}");
        let closes = (0..4).map(|_| send(&fixture, Method::PUT, &closing, b""));
        for answer in futures::future::join_all(closes).await {
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        }
    }
}

/// A list without what could not be read would say that an image is not signed.
#[tokio::test(flavor = "multi_thread")]
async fn referrers_that_cannot_be_read_are_an_error_and_never_left_out() {
    let fixture = Fixture::start().await;
    let config = fixture.push_blob("team/app", b"{}").await;
    let subject = fixture.put_manifest("team/app", "v1", &image(&config, &[])).await;
    let mut signature = image(&config, &[]);
    signature["subject"] = descriptor(OCI_MANIFEST, &subject);
    let signature = fixture.put_manifest("team/app", "signature", &signature).await;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": [descriptor(OCI_MANIFEST, &signature)],
    });
    let (tag, index) = (subject.as_str().replace(':', "-"), index.to_string());
    let put = fixture.put("team/app", &tag, MediaType::OCI_INDEX, index.clone()).await;
    assert_eq!(put.status(), 201);
    let index = Digest::sha256(index.as_bytes());
    // As if it had been pushed before there was a referrers API: only the index lists it.
    let (name, registry) = ("team/app".parse().unwrap(), fixture.server.registry());
    for hint in registry.all_hints(&name).await.unwrap() {
        assert!(registry.forget_hint(&name, &hint).await.unwrap());
    }
    let listed = format!("/v2/team/app/referrers/{subject}");
    let sound = fixture.get("root", &listed).await.json::<Value>().await.unwrap();
    assert_eq!(sound["manifests"][0]["digest"], signature.as_str());
    for unreadable in [&signature, &index] {
        let hex = unreadable.hex().to_owned();
        let directory = FsStore::open(fixture.root(), layout::temporaries()).unwrap();
        let fails = move |operation, key: &Key| {
            !(matches!(operation, Operation::Open | Operation::Read) && key.as_str().contains(&hex))
        };
        // It has nothing in memory yet.
        let replica = fixture.replica_over(Arc::new(FaultyStore::new(Arc::new(directory), fails))).await;
        assert_eq!(replica.get("root", &listed).await.status(), 500, "the store fails");
        let file = fixture.root().join(layout::blob_data(unreadable).as_str());
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[1..]).unwrap();
        assert_eq!(fixture.replica().await.get("root", &listed).await.status(), 500, "it is damaged");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(fixture.replica().await.get("root", &listed).await.status(), 500, "it is gone");
        std::fs::write(&file, &bytes).unwrap();
    }
}
