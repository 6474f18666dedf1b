//! A registry server in this process, without sockets, on any directory, again and again.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use regatta::admin::KeySet;
use regatta::auth::secrets::SecretHash;
use regatta::auth::{Configured, Identity};
use regatta::clock::System;
use regatta::oci::Digest;
use regatta::registry::journal::{self, Cursor, JournalRead};
use regatta::registry::{Registry, RegistryError, layout};
use regatta::server::{Server, Settings, dispatch};
use regatta::store::Store;
use regatta::store::fs::FsStore;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::program::eventually;
use crate::registry_support::{Looks, OCI_MANIFEST, Watch, descriptor};

const PASSWORD: &str = "a-password";

/// A server with one administrator.
#[derive(Clone)]
pub struct Node {
    pub registry: Registry,
    pub server: Server,
    router: Router,
    /// Goes with the last of the clones.
    _watch: Option<Arc<Watch>>,
}

/// Who takes requests.
pub trait Ask: Sync {
    /// `None` where no answer came.
    fn ask(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> impl Future<Output = Option<Answer>> + Send;

    fn get(&self, path: &str) -> impl Future<Output = Option<Answer>> + Send {
        self.ask(Method::GET, path, "text/plain", Bytes::new())
    }

    /// Does what the collector does to a blob's bytes that nothing needs.
    fn condemn(&self, digest: Digest) -> impl Future<Output = ()> + Send {
        async move { panic!("only a node of this process condemns {digest}") }
    }
}

/// What a request was answered.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

fn keys() -> KeySet {
    static KEYS: std::sync::OnceLock<KeySet> = std::sync::OnceLock::new();
    KEYS.get_or_init(KeySet::generate).clone()
}

impl Node {
    /// On a directory, by the very store that the program uses.
    pub async fn start(root: &Path) -> Self {
        Self::start_with(root, |store| store).await
    }

    /// With something in between.
    pub async fn start_with(root: &Path, wrap: impl FnOnce(Store) -> Store) -> Self {
        Self::open(root, wrap, Looks::Always).await
    }

    /// Where calls are counted: it looks at the store only when it is told to.
    pub async fn unwatched(root: &Path, wrap: impl FnOnce(Store) -> Store) -> Self {
        Self::open(root, wrap, Looks::WhenTold).await
    }

    async fn open(root: &Path, wrap: impl FnOnce(Store) -> Store, looks: Looks) -> Self {
        let root = root.to_path_buf();
        let open = move || FsStore::open(&root, layout::temporaries());
        let store = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
        Self::over(wrap(Arc::new(store)), looks).await
    }

    /// On any store.
    pub async fn over(store: Store, looks: Looks) -> Self {
        let registry = Registry::open(store, Arc::new(System)).await.unwrap();
        let configured = Configured {
            local_admin: Some(("admin".into(), SecretHash::of(PASSWORD))),
            admins: [Identity::htpasswd("admin")].into(),
            ..Configured::default()
        };
        let server = Server::new(registry.clone(), Settings::default(), keys(), configured);
        server.poll_documents().await.unwrap();
        let router = Router::new()
            .fallback(dispatch::serve)
            .with_state(server.clone())
            .merge(regatta::server::probes::router(server.clone()));
        let watch = looks.at_store_of(&server).map(Arc::new);
        Self { registry, server, router, _watch: watch }
    }

    /// Looks at the store, as whoever is watched does all the time.
    pub async fn look(&self) {
        self.server.poll_documents().await.unwrap();
    }

    /// The journal, from a cursor on.
    pub async fn journal(&self, cursor: Option<&Cursor>) -> Result<JournalRead, RegistryError> {
        let registry = &self.registry;
        let now = registry.clock().now_millis();
        journal::read(registry.store(), &registry.identity().identity, cursor, now).await
    }

    /// Where the journal ends, once everything in it is settled.
    pub async fn settled(&self) -> Cursor {
        eventually("the journal is settled", async || {
            let read = self.journal(None).await.map_err(|error| error.to_string())?;
            if read.unsettled.is_empty() { Ok(read.cursor) } else { Err(format!("{:?}", read.unsettled)) }
        })
        .await
    }
}

impl Ask for Node {
    async fn ask(&self, method: Method, path: &str, media_type: &str, body: Bytes) -> Option<Answer> {
        let request = Request::builder()
            .header("host", "registry")
            .method(method)
            .uri(path)
            .header("authorization", basic("admin", PASSWORD))
            .header("content-type", media_type)
            .body(Body::from(body))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        // A body that ends early is an error that the client sees: what came is nothing.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Some(Answer { status: parts.status, headers: parts.headers, body })
    }

    async fn condemn(&self, digest: Digest) {
        let now = self.registry.clock().now_millis();
        self.registry.condemn_data(&digest, now).await.unwrap();
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// A manifest of one blob that is config and layer, told from others by a note.
pub fn manifest(blob: &Digest, note: &str) -> String {
    let value: Value = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", blob),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", blob)],
        "annotations": { "note": note },
    });
    value.to_string()
}
