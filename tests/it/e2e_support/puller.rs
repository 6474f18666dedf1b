//! Clients that pull one image again and again, as real ones do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use regatta::oci::Digest;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::client::{MANIFEST, Remote};
use super::stage::Stage;

/// What is pulled: the tag `v1` of this.
pub const REPOSITORY: &str = "shop/demo";

/// One for each of the two pods that go and each of the two pullers that keep connections: what is idle is closed at
/// last, and a request may just then be on its way.
const CLOSED: usize = 4;

/// What the pullers saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: BTreeMap<&'static str, usize>,
    pub images: usize,
    pub refused: usize,
    /// Kept connections that were closed in the moment of a request.
    pub closed: usize,
    pub failures: Vec<String>,
}

impl Seen {
    /// Nobody was told of an error, and there were enough who could have been.
    pub fn without_error(&self) {
        println!(
            "{} images in {:?} requests; {} connections were refused, and {} closed that had been kept",
            self.images, self.requests, self.refused, self.closed
        );
        assert_eq!(self.failures, Vec::<String>::new());
        assert!(self.images > 20, "hardly anything was pulled");
        assert!(self.closed <= CLOSED, "{} kept connections were closed under a request", self.closed);
    }

    fn add(mut self, other: Self) -> Self {
        for (kind, count) in other.requests {
            *self.requests.entry(kind).or_default() += count;
        }
        self.images += other.images;
        self.refused += other.refused;
        self.closed += other.closed;
        self.failures.extend(other.failures);
        self
    }
}

/// A client that pulls one image again and again.
struct Puller {
    remote: Remote,
    /// Fetches tokens, rather than sending the password with each request.
    by_token: bool,
    /// Uses a connection for many requests.
    keeps: bool,
    seen: Seen,
}

impl Puller {
    fn new(remote: Remote, by_token: bool, keeps: bool) -> Self {
        let remote = if keeps { remote } else { remote.without_keeping() };
        Self { remote, by_token, keeps, seen: Seen::default() }
    }

    async fn pull_until(mut self, stop: Arc<AtomicBool>) -> Seen {
        while !stop.load(Ordering::Relaxed) && self.seen.failures.len() < 20 {
            if let Err(failure) = self.pull().await {
                self.seen.failures.push(failure);
            }
        }
        self.seen
    }

    /// A token where tokens are used, the manifest, and every blob that it names.
    async fn pull(&mut self) -> Result<(), String> {
        let token = if self.by_token { Some(self.token().await?) } else { None };
        let manifest = self.fetch("manifest", token.as_deref(), &format!("/v2/{REPOSITORY}/manifests/v1")).await?;
        let manifest: Value = serde_json::from_slice(&manifest).map_err(|error| error.to_string())?;
        for layer in manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]) {
            let digest = layer["digest"].as_str().unwrap_or_default();
            let bytes = self.fetch("blob", token.as_deref(), &format!("/v2/{REPOSITORY}/blobs/{digest}")).await?;
            if Digest::sha256(&bytes).as_str() != digest {
                return Err(format!("{digest}: other bytes came"));
            }
        }
        self.seen.images += 1;
        Ok(())
    }

    async fn token(&mut self) -> Result<String, String> {
        let path = format!("/token?service=any&scope=repository:{REPOSITORY}:pull");
        let request = self.remote.request(Method::GET, &path);
        let answer: Value = serde_json::from_slice(&self.send("token", request).await?).map_err(|it| it.to_string())?;
        Ok(answer["token"].as_str().unwrap_or_default().to_owned())
    }

    async fn fetch(&mut self, kind: &'static str, token: Option<&str>, path: &str) -> Result<Bytes, String> {
        let request = match token {
            Some(token) => self.remote.with_token(token, path),
            None => self.remote.request(Method::GET, path).header("accept", MANIFEST),
        };
        self.send(kind, request).await
    }

    /// A connection that is refused is tried once more; so is one that was kept and closed before any answer came, as
    /// Go's client does. Nothing else is.
    async fn send(&mut self, kind: &'static str, request: RequestBuilder) -> Result<Bytes, String> {
        *self.seen.requests.entry(kind).or_default() += 1;
        let again = request.try_clone().unwrap();
        let answer = match request.send().await {
            Err(error) if error.is_connect() => {
                self.seen.refused += 1;
                again.send().await
            }
            Err(error) if self.keeps && error.is_request() && !error.is_timeout() => {
                self.seen.closed += 1;
                again.send().await
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| format!("{kind} (kept: {}): {}", self.keeps, causes(&error)))?;
        if !answer.status().is_success() {
            return Err(format!("{kind}: {} {}", answer.status(), answer.text().await.unwrap_or_default()));
        }
        answer.bytes().await.map_err(|error| format!("{kind}: {}", causes(&error)))
    }
}

/// An error with what caused it: "error sending request" alone says nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", causes(source)));
    format!("{error}{}", source.unwrap_or_default())
}

/// Robots and users, with connections that are kept and with a new one for each request.
pub async fn pull_meanwhile(stage: &Stage, port: u16, change: impl AsyncFnOnce()) -> Seen {
    let (robot, secret) = stage.robot("pull").await;
    let url = format!("http://{}:{port}", stage.cluster.address);
    let robot = || Remote::new(url.clone(), &robot, &secret);
    let user = || stage.remote(port, "gustav");
    let pullers = [
        Puller::new(robot(), true, true),
        Puller::new(robot(), true, false),
        Puller::new(user(), false, true),
        Puller::new(user(), false, false),
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let pulling: Vec<_> =
        pullers.into_iter().map(|puller| tokio::spawn(puller.pull_until(Arc::clone(&stop)))).collect();
    change().await;
    stop.store(true, Ordering::Relaxed);
    let mut seen = Seen::default();
    for puller in pulling {
        seen = seen.add(puller.await.unwrap());
    }
    seen
}
