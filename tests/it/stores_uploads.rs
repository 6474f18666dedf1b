//! What an upload in chunks costs in a bucket: its bytes pass through the replica once, whichever replicas took them.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::Method;
use regatta::oci::{Algorithm, Digest, Hasher};
use regatta::store::{Backend, Durability, Key, Piece};
use reqwest::StatusCode;
use tokio::sync::Notify;

use crate::program::eventually;
use crate::registry_support::Fixture;
use crate::stores_support::{Fault, Head, Proxy, S3Server, open};

/// The least that S3 takes as a part, and `OCI-Chunk-Min-Length` says.
const LEAST: usize = 5 << 20;

/// Bytes that differ from one place to the next.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at / 7 + at / 65_536) % 251).unwrap()).collect()
}

fn sha512(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

fn copies(head: &Head) -> bool {
    head.headers.contains_key("x-amz-copy-source")
}

/// What requests cost that went through the proxy.
#[derive(Debug)]
struct Cost {
    /// Bytes that were sent to the bucket.
    sent: usize,
    /// Chunks that were read from it, whole or in part.
    read: usize,
    /// Copies that it was asked for.
    copied: usize,
}

fn cost(proxy: &Proxy) -> Cost {
    let seen = proxy.calm();
    let length = |head: &Head| head.headers.get("content-length")?.to_str().ok()?.parse::<usize>().ok();
    Cost {
        sent: seen.iter().filter(|(head, _)| head.method == Method::PUT).filter_map(|(head, _)| length(head)).sum(),
        read: seen.iter().filter(|(head, _)| head.method == Method::GET && head.target.contains("/part-")).count(),
        copied: seen.iter().filter(|(head, _)| copies(head)).count(),
    }
}

/// Replicas on one bucket, behind one proxy.
struct Scene {
    _server: S3Server,
    proxy: Proxy,
    replicas: Vec<Fixture>,
}

impl Scene {
    async fn start() -> Self {
        let server = S3Server::start().await;
        let proxy = server.proxy().await;
        let first = Fixture::unwatched_over(Arc::new(open(&proxy.url).await)).await;
        let second = first.replica_over(Arc::new(open(&proxy.url).await)).await;
        second.server.poll_documents().await.unwrap();
        proxy.calm();
        Self { _server: server, proxy, replicas: vec![first, second] }
    }

    /// Begins an upload at the first replica, and sends each chunk to the next one in turn. Where it is then.
    async fn upload(&self, bytes: &[u8], chunks: &[usize], spread: bool) -> String {
        let begun = self.replicas[0].request("root", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
        let mut location = begun.headers()["location"].to_str().unwrap().to_owned();
        let mut at = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            let replica = &self.replicas[if spread { (number + 1) % self.replicas.len() } else { 0 }];
            let patch = replica.request("root", Method::PATCH, &location);
            let patch = patch.header("content-range", format!("{at}-{}", at + chunk - 1));
            let answer = patch.body(bytes[at..at + chunk].to_vec()).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::ACCEPTED, "{}", answer.text().await.unwrap());
            answer.headers()["location"].to_str().unwrap().clone_into(&mut location);
            at += chunk;
        }
        location
    }

    async fn close(&self, location: &str, digest: &Digest, last: &[u8]) -> StatusCode {
        let sign = if location.contains('?') { '&' } else { '?' };
        let put = self.replicas[0].request("root", Method::PUT, &format!("{location}{sign}digest={digest}"));
        put.body(last.to_vec()).send().await.unwrap().status()
    }

    async fn check(&self, digest: &Digest, bytes: &[u8]) {
        for replica in &self.replicas {
            let answer = replica.get("root", &format!("/v2/team/app/blobs/{digest}")).await;
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(answer.bytes().await.unwrap() == bytes, "other bytes than were pushed");
        }
    }

    /// Pushes in chunks, the last of which comes with the closing request; what it cost.
    async fn push(&self, chunks: &[usize], last: usize, spread: bool) -> Cost {
        let bytes = content(chunks.iter().sum::<usize>() + last);
        let location = self.upload(&bytes, chunks, spread).await;
        let digest = Digest::sha256(&bytes);
        assert_eq!(self.close(&location, &digest, &bytes[bytes.len() - last..]).await, StatusCode::CREATED);
        let cost = cost(&self.proxy);
        println!("{} bytes in {chunks:?} and {last}: {cost:?}", bytes.len());
        self.check(&digest, &bytes).await;
        cost
    }
}

/// Registers' versions and the like.
const RECORDS: usize = 64 * 1024;

/// They were read and sent once more at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_chunks_pass_through_the_replica_once() {
    let scene = Scene::start().await;
    for (chunks, last) in [(vec![LEAST; 3], 0), (vec![LEAST, 2 * LEAST, LEAST + 1], LEAST + 7), (vec![LEAST], LEAST)] {
        let whole = chunks.iter().sum::<usize>() + last;
        let cost = scene.push(&chunks, last, false).await;
        assert!(cost.sent <= whole + RECORDS, "{whole} bytes: {cost:?}");
        assert_eq!(cost.read, 0, "{cost:?}");
    }
    // The last one may be small.
    let cost = scene.push(&[LEAST, LEAST], 1_000_000, false).await;
    assert!(cost.sent <= 2 * LEAST + 2_000_000 + RECORDS && cost.read == 1, "{cost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_chunks_pass_once_though_each_came_to_another_replica() {
    let scene = Scene::start().await;
    let cost = scene.push(&[LEAST, LEAST, LEAST], LEAST, true).await;
    assert!(cost.sent <= 4 * LEAST + RECORDS && cost.read == 0, "{cost:?}");
    // As clients do it that send a blob in one request and close it with another.
    let cost = scene.push(&[LEAST], 0, true).await;
    assert!(cost.sent <= LEAST + RECORDS && cost.read == 0, "{cost:?}");
}

/// What was hashed on its way in says nothing of another algorithm's digest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_of_another_digest_is_read_to_be_verified_and_not_sent_again() {
    let scene = Scene::start().await;
    for chunks in [vec![LEAST, LEAST], vec![2 * LEAST]] {
        let bytes = content(2 * LEAST);
        let location = scene.upload(&bytes, &chunks, false).await;
        let digest = sha512(&bytes);
        assert_eq!(scene.close(&location, &sha512(b"other bytes"), b"").await, StatusCode::BAD_REQUEST);
        assert_eq!(scene.close(&location, &digest, b"").await, StatusCode::CREATED);
        let cost = cost(&scene.proxy);
        assert!(cost.sent <= 2 * LEAST + RECORDS && cost.read == 2 * chunks.len(), "{cost:?}");
        scene.check(&digest, &bytes).await;
        scene.replicas[0].status("root", Method::DELETE, &format!("/v2/team/app/blobs/{digest}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_the_digest_that_was_said_is_not_put_together() {
    let scene = Scene::start().await;
    let bytes = content(2 * LEAST);
    let location = scene.upload(&bytes, &[LEAST, LEAST], true).await;
    cost(&scene.proxy);
    assert_eq!(scene.close(&location, &Digest::sha256(b"other bytes"), b"").await, StatusCode::BAD_REQUEST);
    let cost = cost(&scene.proxy);
    assert_eq!((cost.copied, cost.read), (0, 0), "{cost:?}");
    let digest = Digest::sha256(&bytes);
    assert_eq!(scene.close(&location, &digest, b"").await, StatusCode::CREATED, "it is what it was before");
    scene.check(&digest, &bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_chunks_and_services_that_copy_no_parts_are_read_and_sent_once_more() {
    let scene = Scene::start().await;
    // The third time for its name: this server refuses no copy of what is too small for a part.
    let cost = scene.push(&[100_000; 4], 100_000, false).await;
    assert!(cost.sent <= 3 * 500_000 + RECORDS && cost.read == 6, "{cost:?}");
    // One that is small before others: what comes behind it would not make parts of its own.
    let cost = scene.push(&[3_000_000, 4 * LEAST], 0, false).await;
    assert!(cost.sent <= 2 * (3_000_000 + 4 * LEAST) + RECORDS && cost.read == 2, "{cost:?}");
    // But for the copy to its place.
    let refuse = |head: &Head| {
        let is_ours = copies(head) && head.target.contains("/part-");
        if is_ours { Fault::Refuse(501, "NotImplemented") } else { Fault::None }
    };
    scene.proxy.plan(refuse);
    let cost = scene.push(&[LEAST, LEAST + 1], 0, false).await;
    assert!(cost.sent <= 2 * (2 * LEAST + 1) + RECORDS && cost.read == 2, "{cost:?}");
}

/// What a part of an upload costs, and its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_in_chunks_costs_no_more_requests_than_its_budget() {
    let server = S3Server::start().await;
    let bucket = open(&server.url).await;
    let proxy = server.proxy().await;
    let fixture = Fixture::unwatched_over(Arc::new(bucket.clone())).await;
    let scene = Scene { _server: server, proxy, replicas: vec![fixture] };
    scene.replicas[0].server.poll_documents().await.unwrap();
    let bytes = content(4 * LEAST);
    let before = bucket.requests();
    let location = scene.upload(&bytes, &[LEAST; 4], false).await;
    let chunks = bucket.requests().since(&before);
    let before = bucket.requests();
    assert_eq!(scene.close(&location, &Digest::sha256(&bytes), b"").await, StatusCode::CREATED);
    let closed = bucket.requests().since(&before);
    println!("begun and four chunks: {} {chunks:?}", chunks.total());
    println!("closed: {} {closed:?}", closed.total());
    assert!(chunks.total() <= 20, "{chunks:?}");
    assert!(closed.total() <= 45, "{closed:?}");
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Three objects to be put together.
async fn pieces(bucket: &impl Backend) -> (Vec<Piece>, Vec<u8>) {
    let bytes = content(3 * LEAST + 10);
    let mut pieces = Vec::new();
    for (number, range) in [0..LEAST, LEAST..3 * LEAST, 3 * LEAST..bytes.len()].into_iter().enumerate() {
        let piece = Piece { key: key(&format!("tmp/piece-{number}")), size: range.len() as u64 };
        let mut writer = bucket.temporary(&piece.key).await.unwrap();
        writer.write(Bytes::copy_from_slice(&bytes[range])).await.unwrap();
        writer.finish(Durability::Volatile).await.unwrap();
        pieces.push(piece);
    }
    (pieces, bytes)
}

#[tokio::test]
async fn objects_are_put_together_despite_faults() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    let (pieces, bytes) = pieces(&bucket).await;
    let mut count = 0;
    proxy.plan(move |_| {
        count += 1;
        match count % 4 {
            1 => Fault::Refuse(503, "SlowDown"),
            3 => Fault::Lose,
            _ => Fault::None,
        }
    });
    let whole = key("tmp/whole");
    bucket.compose(&pieces, &whole).unwrap().await.unwrap();
    assert!(proxy.calm().iter().any(|(head, fault)| copies(head) && *fault != Fault::None));
    let object = bucket.open(&whole).await.unwrap().unwrap();
    let read: Vec<Bytes> = object.stream(0, bytes.len() as u64).try_collect().await.unwrap();
    assert!(read.concat() == bytes);
    // One that is gone is an error, and nothing is made.
    bucket.delete(&pieces[1].key).await.unwrap();
    let other = key("tmp/other");
    assert!(bucket.compose(&pieces, &other).unwrap().await.is_err());
    assert_eq!(bucket.head(&other).await.unwrap(), None);
}

#[tokio::test]
async fn who_gives_up_while_objects_are_put_together_leaves_no_parts() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    let (some, _) = pieces(&bucket).await;
    proxy.calm();
    let copying = Arc::new(Notify::new());
    let told = Arc::clone(&copying);
    proxy.plan(move |head| {
        if copies(head) {
            told.notify_one();
        }
        Fault::None
    });
    let many: Vec<Piece> = std::iter::repeat_n(some[0].clone(), 60).collect();
    let given_up = bucket.clone();
    let composing = tokio::spawn(async move { given_up.compose(&many, &key("tmp/whole")).unwrap().await });
    copying.notified().await;
    composing.abort();
    let clears = |(head, _): &(Head, Fault)| head.method == Method::DELETE;
    eventually("what was begun is cleared away", async || {
        let seen = proxy.calm();
        if seen.iter().any(clears) { Ok(()) } else { Err(seen.len()) }
    })
    .await;
    assert_eq!(bucket.head(&key("tmp/whole")).await.unwrap(), None);
}
