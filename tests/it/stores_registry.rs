//! The registry over HTTP, with a bucket under it that fails now and then; and what its requests cost there.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use regatta::oci::Digest;
use regatta::store::Store;
use regatta::store::bucket::Requests;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use crate::registry_support::{Fixture, OCI_MANIFEST, image};
use crate::stores_support::{Fault, Head, S3Server, open};

/// The same numbers every time.
fn dice(mut state: u64) -> impl FnMut() -> u64 + Send {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    }
}

/// One request in eight meets one of the faults.
fn weather(seed: u64) -> impl FnMut(&Head) -> Fault + Send {
    let mut dice = dice(seed);
    move |head| match dice() % 48 {
        0 => Fault::Lose,
        1 => Fault::Refuse(500, "InternalError"),
        2 | 3 => Fault::Refuse(503, "SlowDown"),
        4 if head.method == Method::PUT => Fault::Refuse(409, "ConditionalRequestConflict"),
        5 if head.method == Method::GET && !head.target.contains("list-type") => Fault::Truncate(3),
        _ => Fault::None,
    }
}

/// What a client was told has happened.
#[derive(Debug, Default)]
struct Promised {
    blobs: Vec<Vec<u8>>,
    tags: Vec<(String, Digest, String)>,
    deleted: Vec<Digest>,
}

/// A client that tries everything again until it is told that it has happened: nothing else counts.
struct Client {
    fixture: Arc<Fixture>,
    number: usize,
}

impl Client {
    async fn until(&self, good: &[u16], request: impl Fn(&Fixture) -> RequestBuilder) -> u16 {
        let mut last = None;
        for _ in 0..60 {
            match request(&self.fixture).send().await {
                Ok(answer) if good.contains(&answer.status().as_u16()) => return answer.status().as_u16(),
                Ok(answer) => {
                    let status = answer.status();
                    last = Some(format!("{status} {}", answer.text().await.unwrap_or_default()));
                    assert!(status.is_server_error(), "client {}: {last:?}", self.number);
                }
                Err(error) => last = Some(error.to_string()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("client {}: {good:?} was never answered, but {last:?}", self.number);
    }

    async fn push(&self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::sha256(&bytes);
        let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
        self.until(&[201], |fixture| fixture.request("root", Method::POST, &path).body(bytes.clone())).await;
        digest
    }

    async fn put(&self, reference: &str, text: &str) {
        let path = format!("/v2/team/app/manifests/{reference}");
        let request = |fixture: &Fixture| {
            fixture.request("root", Method::PUT, &path).header("content-type", OCI_MANIFEST).body(text.to_owned())
        };
        self.until(&[201], request).await;
    }

    /// Pushes an image, moves a tag, and deletes every other image again.
    async fn round(&self, round: usize, promised: &mut Promised) {
        let layer = format!("layer {round} of client {}", self.number).repeat(500).into_bytes();
        let config = format!("{{\"client\":{},\"round\":{round}}}", self.number).into_bytes();
        let (layer_digest, config_digest) = (self.push(layer.clone()).await, self.push(config.clone()).await);
        let text = image(&config_digest, &[&layer_digest]).to_string();
        let digest = Digest::sha256(text.as_bytes());
        let tag = format!("c{}-{round}", self.number);
        self.put(&tag, &text).await;
        promised.blobs.extend([layer, config]);
        if round.is_multiple_of(2) {
            promised.tags.push((tag, digest, text));
            return;
        }
        // Deleted, or found deleted by an earlier try.
        let path = format!("/v2/team/app/manifests/{digest}");
        self.until(&[202, 404], |fixture| fixture.request("root", Method::DELETE, &path)).await;
        promised.deleted.push(digest);
    }
}

async fn check(fixture: &Fixture, promised: &Promised) {
    for blob in &promised.blobs {
        let path = format!("/v2/team/app/blobs/{}", Digest::sha256(blob));
        let answer = fixture.get("root", &path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.bytes().await.unwrap() == *blob, "{path}");
    }
    for (tag, digest, text) in &promised.tags {
        for reference in [tag.as_str(), digest.as_str()] {
            let answer = fixture.get("root", &format!("/v2/team/app/manifests/{reference}")).await;
            assert_eq!(answer.status(), StatusCode::OK, "{reference}");
            assert_eq!(answer.text().await.unwrap(), *text);
        }
    }
    for digest in &promised.deleted {
        assert_eq!(fixture.get("root", &format!("/v2/team/app/manifests/{digest}")).await.status(), 404, "{digest}");
    }
    let listed: Value = fixture.get("root", "/v2/team/app/tags/list").await.json().await.unwrap();
    let mut expected: Vec<&str> = promised.tags.iter().map(|(tag, ..)| tag.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(listed["tags"], serde_json::json!(expected));
}

/// Faults of a bucket: what a client was told has happened, has happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_promised_is_lost_in_a_bucket_that_fails_now_and_then() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let store: Store = Arc::new(open(&proxy.url).await);
    let fixture = Arc::new(Fixture::over(store).await);
    proxy.calm();
    proxy.plan(weather(0x5EED_CAFE));
    let clients = (0..4).map(|number| {
        let client = Client { fixture: Arc::clone(&fixture), number };
        tokio::spawn(async move {
            let mut promised = Promised::default();
            for round in 0..4 {
                client.round(round, &mut promised).await;
            }
            promised
        })
    });
    let mut promised = Promised::default();
    for client in futures::future::join_all(clients).await {
        let Promised { blobs, tags, deleted } = client.unwrap();
        promised.blobs.extend(blobs);
        promised.tags.extend(tags);
        promised.deleted.extend(deleted);
    }
    let seen = proxy.calm();
    let faults = seen.iter().filter(|(_, fault)| *fault != Fault::None).count();
    println!("{} requests to the bucket, {faults} of them met a fault", seen.len());
    assert!(faults > seen.len() / 20, "{faults} of {}", seen.len());
    check(&fixture, &promised).await;
    // Another replica, by way of another connection, sees the same.
    let replica = fixture.replica_over(Arc::new(open(&server.url).await)).await;
    check(&replica, &promised).await;
}

/// What a bucket says, a client is told.
#[tokio::test]
async fn a_bucket_that_is_busy_or_full_is_not_the_registrys_defect() {
    static LONG: [u8; 100_000] = [7; 100_000];
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let fixture = Fixture::over(Arc::new(open(&proxy.url).await)).await;
    let digest = fixture.push_blob("team/app", &LONG).await;
    let push = async || {
        let path = format!("/v2/team/app/blobs/uploads/?digest={}", Digest::sha256(b"other"));
        let answer = fixture.request("root", Method::POST, &path).body("other").send().await.unwrap();
        let wait = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), wait, answer.json::<Value>().await.unwrap()["errors"][0]["code"].clone())
    };
    for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")] {
        proxy.plan(move |head| if head.method == Method::PUT { Fault::Refuse(status, code) } else { Fault::None });
        assert_eq!(push().await, (503, true, "UNAVAILABLE".into()), "{status} {code}");
        proxy.plan(move |_| Fault::Refuse(status, code));
        let answer = fixture.get("root", &format!("/v2/team/app/blobs/{digest}")).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{status} {code}");
        assert!(answer.headers().contains_key("retry-after"));
    }
    for (status, code) in [(507, "XMinioStorageFull"), (403, "QuotaExceeded"), (507, "SomethingElse")] {
        proxy.plan(move |head| if head.method == Method::PUT { Fault::Refuse(status, code) } else { Fault::None });
        assert_eq!(push().await, (507, false, "UNAVAILABLE".into()), "{status} {code}");
    }
    proxy.calm();
    assert_eq!(fixture.push_blob("team/app", b"other").await, Digest::sha256(b"other"));
}

#[tokio::test]
async fn less_than_a_whole_blob_costs_less() {
    let server = S3Server::start().await;
    let bucket = open(&server.url).await;
    let fixture = Fixture::unwatched_over(Arc::new(bucket.clone())).await;
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect();
    let content: &'static [u8] = content.leak();
    let digest = fixture.push_blob("team/app", content).await;
    let path = format!("/v2/team/app/blobs/{digest}");
    let ask = async |name: &str, value: String| {
        let answer = fixture.request("root", Method::GET, &path).header(name, value).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let mut answers = Vec::new();
    let several: Vec<String> = (0..32).map(|n| format!("{}-{}", n * 1_000, n * 1_000 + 9)).collect();
    ask("accept", "*/*".to_owned()).await;
    // Each looks for a later version of the link too, which was read before.
    for (name, value, status, (head, read)) in [
        ("range", "bytes=1000000-1000009".to_owned(), 206, (2, 1)),
        ("range", "bytes=0-9".to_owned(), 206, (2, 1)),
        ("range", "bytes=-10".to_owned(), 206, (2, 1)),
        ("range", format!("bytes={}", several.join(",")), 206, (2, 32)),
        ("range", "bytes=3000000-".to_owned(), 416, (2, 0)),
        ("if-none-match", format!("\"{digest}\""), 304, (2, 0)),
        ("accept", "*/*".to_owned(), 200, (1, 1)),
    ] {
        fixture.server.poll_documents().await.unwrap();
        let mut answer = None;
        let cost = cost(&bucket, async { answer = Some(ask(name, value.clone()).await) }).await;
        let (answered, bytes) = answer.unwrap();
        assert_eq!(answered, status, "{value}");
        assert_eq!((cost.head, cost.read, cost.total()), (head, read, head + read), "{value}: {cost:?}");
        answers.push(bytes);
    }
    assert_eq!(answers[0], content[1_000_000..1_000_010]);
    assert_eq!(answers[2], content[content.len() - 10..]);
    assert!(answers[3].windows(10).any(|window| window == &content[31_000..31_010]));
    assert!(answers[6] == content);
}

/// Budgets: what a request of a client costs in the bucket. Cheaper is welcome; dearer is to be a decision.
async fn cost(bucket: &regatta::store::bucket::Bucket, request: impl Future<Output = ()>) -> Requests {
    let before = bucket.requests();
    request.await;
    bucket.requests().since(&before)
}

#[tokio::test]
async fn requests_cost_no_more_than_their_budget() {
    let server = S3Server::start().await;
    let bucket = open(&server.url).await;
    let fixture = Fixture::unwatched_over(Arc::new(bucket.clone())).await;
    let layers: Vec<Vec<u8>> = (0..10).map(|n| format!("layer {n}").into_bytes()).collect();
    let config = fixture.push_blob("team/app", b"{}").await;
    let push = async |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
        let answer = fixture.request("root", Method::POST, &path).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    };
    let mut digests = Vec::new();
    for layer in &layers[1..] {
        digests.push(push(layer).await);
    }
    fixture.server.poll_documents().await.unwrap();
    let pushed = cost(&bucket, async { digests.push(push(&layers[0]).await) }).await;
    let manifest = image(&config, &digests.iter().collect::<Vec<_>>());
    fixture.server.poll_documents().await.unwrap();
    let put = cost(&bucket, async {
        fixture.put_manifest("team/app", "v1", &manifest).await;
    })
    .await;
    let get = async |path: String| {
        let answer = fixture.get("root", &path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap();
    };
    let tag = cost(&bucket, get("/v2/team/app/manifests/v1".into())).await;
    let blob = cost(&bucket, get(format!("/v2/team/app/blobs/{}", digests[0]))).await;
    println!("a layer pushed: {} {pushed:?}", pushed.total());
    println!("a manifest of ten layers put: {} {put:?}", put.total());
    println!("a pull by tag: {} {tag:?}", tag.total());
    println!("a pull of a blob: {} {blob:?}", blob.total());
    assert!(pushed.total() <= 19, "a layer pushed: {pushed:?}");
    assert!(put.total() <= 96, "a manifest of ten layers put: {put:?}");
    // The register's newest version, and what it names.
    assert_eq!((tag.list, tag.read, tag.total()), (1, 2, 3), "a pull by tag: {tag:?}");
    assert_eq!((blob.list, blob.read, blob.total()), (1, 2, 3), "a pull of a blob: {blob:?}");
}
