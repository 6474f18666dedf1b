//! Requests to a registry over HTTP, as a client makes them.

use bytes::Bytes;
use futures::Stream;
use regatta::oci::Digest;
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A registry, and who asks.
#[derive(Debug, Clone)]
pub struct Remote {
    pub url: String,
    user: String,
    password: String,
    http: reqwest::Client,
}

impl Remote {
    pub fn new(url: String, user: &str, password: &str) -> Self {
        crate::program::like_main();
        Self { url, user: user.to_owned(), password: password.to_owned(), http: reqwest::Client::new() }
    }

    /// A request with the password.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        // A Location may be a whole URL.
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.http.request(method, url).basic_auth(&self.user, Some(&self.password))
    }

    /// A request with a token.
    pub fn with_token(&self, token: &str, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(token).header("accept", MANIFEST)
    }

    /// The same, with a new connection for each request.
    pub fn without_keeping(self) -> Self {
        Self { http: reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap(), ..self }
    }

    /// Begins an upload; where it goes on.
    pub async fn begin(&self, repository: &str) -> reqwest::Result<String> {
        let answer = self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/")).send().await?;
        Ok(location(&answer.error_for_status()?))
    }

    /// Sends what is left of a blob, and closes the upload.
    pub async fn finish(&self, location: &str, digest: &Digest, body: impl Into<Body>) -> reqwest::Result<()> {
        let question = if location.contains('?') { '&' } else { '?' };
        let request = self.request(Method::PUT, &format!("{location}{question}digest={digest}"));
        let answer = request.header("content-type", "application/octet-stream").body(body).send().await?;
        answer.error_for_status().map(drop)
    }

    /// Pushes a blob.
    pub async fn push_blob(&self, repository: &str, bytes: Bytes) -> reqwest::Result<Digest> {
        let digest = Digest::sha256(&bytes);
        let location = self.begin(repository).await?;
        self.finish(&location, &digest, bytes).await?;
        Ok(digest)
    }

    /// Pushes an image of these layers under a tag; its digest.
    pub async fn push_image(&self, repository: &str, tag: &str, layers: &[Bytes]) -> reqwest::Result<Digest> {
        let config = config(tag);
        self.push_blob(repository, config.clone()).await?;
        for layer in layers {
            self.push_blob(repository, layer.clone()).await?;
        }
        let manifest = manifest(&config, layers);
        let answer = self.put_manifest(repository, tag, &manifest).await?;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await?);
        Ok(Digest::sha256(manifest.as_bytes()))
    }

    pub async fn put_manifest(&self, repository: &str, reference: &str, manifest: &str) -> reqwest::Result<Response> {
        let request = self.request(Method::PUT, &format!("/v2/{repository}/manifests/{reference}"));
        request.header("content-type", MANIFEST).body(manifest.to_owned()).send().await
    }

    /// The bytes of a blob, if it is there.
    pub async fn blob(&self, repository: &str, digest: &Digest) -> reqwest::Result<Option<Bytes>> {
        let answer = self.request(Method::GET, &format!("/v2/{repository}/blobs/{digest}")).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.error_for_status()?.bytes().await.map(Some)
    }
}

/// Where an upload goes on.
fn location(answer: &Response) -> String {
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// A body of a known length that comes in pieces.
pub fn body(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures::StreamExt as _;
    Body::wrap_stream(pieces.map(Ok::<_, std::io::Error>))
}

/// The config of the image that is pushed under a tag.
pub fn config(tag: &str) -> Bytes {
    json!({ "architecture": "amd64", "os": "linux", "tag": tag }).to_string().into()
}

/// The text of an image's manifest.
pub fn manifest(config: &Bytes, layers: &[Bytes]) -> String {
    let descriptor = |media: &str, bytes: &Bytes| json!({ "mediaType": media, "digest": Digest::sha256(bytes), "size": bytes.len() });
    let layers: Vec<Value> = layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers })
        .to_string()
}

/// Bytes that nothing compresses away and that nobody else has.
pub fn random(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).unwrap();
    bytes.into()
}
