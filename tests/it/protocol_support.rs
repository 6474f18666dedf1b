//! Registry servers over every store, plain and over TLS, and requests to them: what the suites of the protocol share.

use std::sync::Arc;
use std::time::Duration;

use regatta::admin::KeySet;
use regatta::auth::{Configured, Identity};
use regatta::clock::System;
use regatta::registry::{Registry, layout};
use regatta::server::listen::Listener;
use regatta::server::tls::Certificate;
use regatta::server::{Server, Settings, dispatch};
use regatta::store::Store;
use regatta::store::fs::FsStore;
use regatta::store::memory::MemoryStore;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use tokio_util::sync::CancellationToken;

use crate::registry_support::{Looks, UID, Watch, document, people};
use crate::stores_support::{self, S3Server};

/// A fresh store, and what it lies in.
pub struct Backend {
    pub name: &'static str,
    pub store: Store,
    /// Goes when the store does: a directory, a server.
    place: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Backend {
    /// A store of the test's.
    pub fn over(name: &'static str, store: Store) -> Self {
        Self { name, store, place: None }
    }
}

/// A fresh store of every kind that is served here: the one list of them.
pub async fn backends() -> Vec<Backend> {
    let server = S3Server::start().await;
    let bucket = stores_support::open(&server.url).await;
    vec![
        filesystem(),
        Backend::over("memory", Arc::new(MemoryStore::default())),
        Backend { name: "S3", store: Arc::new(bucket), place: Some(Box::new(server)) },
    ]
}

/// A store on a directory.
pub fn filesystem() -> Backend {
    let root = tempfile::tempdir().unwrap();
    let store = FsStore::open(root.path(), layout::temporaries()).unwrap();
    Backend { name: "filesystem", store: Arc::new(store), place: Some(Box::new(root)) }
}

/// A running server.
pub struct World {
    pub server: Server,
    /// Without a slash at its end.
    pub url: String,
    /// `host:port`
    pub authority: String,
    /// What it shows over TLS, in PEM.
    pub certificate: Option<String>,
    http: reqwest::Client,
    /// Goes when the world does.
    _place: Option<Box<dyn std::any::Any + Send + Sync>>,
    stop: CancellationToken,
    _watch: Option<Watch>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A certificate for 127.0.0.1, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

impl World {
    /// Over plain HTTP.
    pub async fn plain(backend: Backend, settings: Settings) -> Self {
        Self::start(backend, settings, false, "127.0.0.1:0").await
    }

    /// Over a directory, with the settings that servers have.
    pub async fn usual() -> Self {
        Self::plain(filesystem(), Settings::default()).await
    }

    pub async fn start(backend: Backend, settings: Settings, tls: bool, address: &str) -> Self {
        Self::bind(backend, settings, tls, address, Looks::Always).await
    }

    /// Over a store whose calls are counted: it looks at the store only when it is told to.
    pub async fn unwatched(backend: Backend) -> Self {
        Self::bind(backend, Settings::default(), false, "127.0.0.1:0", Looks::WhenTold).await
    }

    async fn bind(backend: Backend, settings: Settings, tls: bool, address: &str, looks: Looks) -> Self {
        crate::program::like_main();
        let registry = Registry::open(backend.store, Arc::new(System)).await.unwrap();
        let pem = tls.then(certificate);
        let certificate = pem.as_ref().map(|(chain, key)| Certificate::new(chain.as_bytes(), key.as_bytes()).unwrap());
        let config = certificate.map(|certificate| certificate.server_config().unwrap());
        let listener = Listener::bind(address.parse().unwrap(), config).await.unwrap().at_least(settings.limits.least);
        let authority = listener.address().unwrap().to_string();
        let url = format!("{}://{authority}", if tls { "https" } else { "http" });
        let settings = Settings { external_urls: vec![url.clone()], registry_uid: Some(UID.into()), ..settings };
        let configured =
            Configured { htpasswd: people(), admins: [Identity::htpasswd("root")].into(), ..Configured::default() };
        let keys = KeySet::generate();
        let server = Server::new(registry, settings, keys.clone(), configured);
        server.poll_documents().await.unwrap();
        server.put_access(document(1, 1).sign(&keys).unwrap(), 0).await.unwrap();
        let watch = looks.at_store_of(&server);
        let stop = CancellationToken::new();
        let router = axum::Router::new().fallback(dispatch::serve).with_state(server.clone());
        tokio::spawn(listener.serve(router, stop.clone(), Duration::from_secs(5)));
        let mut http = reqwest::Client::builder();
        if let Some((chain, _)) = &pem {
            http = http.add_root_certificate(reqwest::Certificate::from_pem(chain.as_bytes()).unwrap());
        }
        let certificate = pem.map(|(chain, _)| chain);
        let http = http.build().unwrap();
        Self { server, url, authority, certificate, http, _place: backend.place, stop, _watch: watch }
    }

    /// A request as somebody, with his name for his password; `""` is nobody.
    pub fn request(&self, who: &str, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match who {
            "" => request,
            "robot" => request.basic_auth("robot+apps+ci", Some("robots-secret")),
            name => request.basic_auth(name, Some(name)),
        }
    }

    pub async fn get(&self, who: &str, path: &str) -> reqwest::Response {
        self.request(who, Method::GET, path).send().await.unwrap()
    }

    pub async fn status(&self, who: &str, method: Method, path: &str) -> u16 {
        self.request(who, method, path).send().await.unwrap().status().as_u16()
    }

    /// Answers a challenge as clients do: asks the realm for the scope, as somebody.
    pub async fn token(&self, who: &str, challenge: &str) -> String {
        let part = |name: &str| {
            let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"').unwrap().0.to_owned())
        };
        let mut query = vec![("service", part("service").unwrap())];
        query.extend(part("scope").map(|scope| ("scope", scope)));
        let query = query.iter().map(|(key, value)| format!("{key}={}", value.replace(' ', "%20")));
        let url = format!("{}?{}", part("realm").unwrap(), query.collect::<Vec<_>>().join("&"));
        let answer = self.http.get(url).basic_auth(who, Some(who)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: serde_json::Value = answer.json().await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// A blob, as the administrator.
    pub async fn push_blob(&self, name: &str, bytes: impl Into<Vec<u8>>) -> regatta::oci::Digest {
        let bytes = bytes.into();
        let digest = regatta::oci::Digest::sha256(&bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.request("root", Method::POST, &path).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }

    /// A manifest, as the administrator; gives its digest.
    pub async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        manifest: &serde_json::Value,
    ) -> regatta::oci::Digest {
        let text = manifest.to_string();
        let digest = regatta::oci::Digest::sha256(text.as_bytes());
        let reference = if reference.is_empty() { digest.as_str() } else { reference };
        let media_type = manifest["mediaType"].as_str().unwrap().to_owned();
        let request = self.request("root", Method::PUT, &format!("/v2/{name}/manifests/{reference}"));
        let answer = request.header(header::CONTENT_TYPE, media_type).body(text).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        digest
    }
}
