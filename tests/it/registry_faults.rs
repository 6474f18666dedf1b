//! Clients of a registry whose store fails, and clients that err.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use regatta::oci::Digest;
use regatta::store::faulty::Operation;
use reqwest::{Method, Response, header};

use crate::registry_support::{Fixture, code};

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
