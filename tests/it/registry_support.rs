//! A registry server in this process, with people in it, and requests to it.

use std::sync::Arc;
use std::time::Duration;

use regatta::admin::{AccessDocument, Binding, Grant, KeySet, OwnerRef, ProjectAccess, Robot, Role, Subject};
use regatta::auth::htpasswd::{Htpasswd, hash};
use regatta::auth::{Configured, Identity};
use regatta::clock::{System, TimeSource};
use regatta::oci::Digest;
use regatta::registry::{Registry, layout};
use regatta::server::documents::Refused;
use regatta::server::listen::Listener;
use regatta::server::{Server, Settings, dispatch};
use regatta::store::faulty::{FaultyStore, Operation};
use regatta::store::fs::FsStore;
use regatta::store::{Key, Store};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const UID: &str = "uid-of-the-registry";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Everybody's password is his name.
pub const PEOPLE: [&str; 6] = ["limited", "guest", "dev", "keeper", "stranger", "root"];

/// When a server looks at its store. One that has not done so for 8 seconds is not ready, and after 30 seconds it takes no
/// writes: so long may a test be held up on a busy machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Every other second, as in the program.
    Always,
    /// Where calls of the store are counted, or a look is what is tested.
    WhenTold,
}

/// A server's looks at its store, until this is dropped.
pub struct Watch(JoinHandle<()>);

impl Looks {
    pub fn at_store_of(self, server: &Server) -> Option<Watch> {
        let server = server.clone();
        (self == Self::Always).then(|| Watch(tokio::spawn(async move { server.watch_store().await })))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A server, and the directory that it serves.
pub struct Fixture {
    pub server: Server,
    pub url: String,
    pub keys: KeySet,
    root: Arc<TempDir>,
    stop: CancellationToken,
    http: reqwest::Client,
    _watch: Option<Watch>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The access document that most tests begin with.
pub fn document(generation: u64, term: u64) -> AccessDocument {
    let binding = |role, name: &str| Binding {
        uid: format!("binding-{name}"),
        grant: Grant { role, subjects: vec![Subject::User { source: "htpasswd".into(), name: name.into() }] },
    };
    let robot = Subject::Robot { namespace: "apps".into(), name: "ci".into() };
    let owner = |name: &str| OwnerRef { namespace: "apps".into(), name: name.into(), uid: format!("project-{name}") };
    let mut bindings = vec![
        binding(Role::LimitedGuest, "limited"),
        binding(Role::Guest, "guest"),
        binding(Role::Developer, "dev"),
        binding(Role::Maintainer, "keeper"),
    ];
    bindings.push(Binding { uid: "binding-ci".into(), grant: Grant { role: Role::Developer, subjects: vec![robot] } });
    AccessDocument {
        registry_uid: UID.into(),
        generation,
        term,
        take_over: None,
        projects: vec![
            ProjectAccess { name: "open".into(), owner: owner("open"), public: true, bindings: vec![] },
            ProjectAccess { name: "team".into(), owner: owner("team"), public: false, bindings },
        ],
        robots: vec![Robot {
            namespace: "apps".into(),
            name: "ci".into(),
            secret_sha256: vec![Digest::sha256(b"robots-secret").hex().to_owned()],
        }],
    }
}

pub fn people() -> Htpasswd {
    static LINES: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let lines = LINES.get_or_init(|| PEOPLE.map(|name| hash(name, name).unwrap()).join("\n"));
    Htpasswd::parse(lines).0
}

fn fs_store(root: &TempDir) -> Store {
    Arc::new(FsStore::open(root.path(), layout::temporaries()).unwrap())
}

impl Fixture {
    /// With everybody's role in force.
    pub async fn start() -> Self {
        let fixture = Self::start_bare().await;
        fixture.put_access(&document(1, 1)).await.unwrap();
        fixture
    }

    /// Without an access document.
    pub async fn start_bare() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), KeySet::generate(), Arc::new(System)).await
    }

    /// With everybody's role in force, and a clock of the test's.
    pub async fn start_at(time: Arc<dyn TimeSource>) -> Self {
        let fixture = Self::open(Arc::new(tempfile::tempdir().unwrap()), KeySet::generate(), time).await;
        fixture.put_access(&document(1, 1)).await.unwrap();
        fixture
    }

    /// Another replica on the same directory, with the same keys.
    pub async fn replica(&self) -> Self {
        Self::open(Arc::clone(&self.root), self.keys.clone(), Arc::new(System)).await
    }

    /// The same, that looks at the store only when it is told to.
    pub async fn unwatched_replica(&self) -> Self {
        let store = fs_store(&self.root);
        Self::bind(Arc::clone(&self.root), store, self.keys.clone(), Arc::new(System), Looks::WhenTold).await
    }

    /// A server on the same directory with other keys: a Registry made again.
    pub async fn made_again(&self) -> Self {
        Self::open(Arc::clone(&self.root), KeySet::generate(), Arc::new(System)).await
    }

    /// With everybody's role in force, over a store that does what `judge` lets it.
    pub async fn start_judged(judge: impl Fn(Operation, &Key) -> bool + Send + Sync + 'static) -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        let store = FaultyStore::new(fs_store(&root), judge);
        let fixture = Self::serve(root, Arc::new(store), KeySet::generate(), Arc::new(System)).await;
        fixture.put_access(&document(1, 1)).await.unwrap();
        fixture
    }

    /// With everybody's role in force, over a store of the test's.
    pub async fn over(store: Store) -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        let fixture = Self::serve(root, store, KeySet::generate(), Arc::new(System)).await;
        fixture.put_access(&document(1, 1)).await.unwrap();
        fixture
    }

    /// The same, and it looks at the store only when it is told to.
    pub async fn unwatched_over(store: Store) -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        let fixture = Self::bind(root, store, KeySet::generate(), Arc::new(System), Looks::WhenTold).await;
        fixture.put_access(&document(1, 1)).await.unwrap();
        fixture
    }

    /// Another replica with the same keys, over a store of the test's that holds the same.
    pub async fn replica_over(&self, store: Store) -> Self {
        Self::serve(Arc::clone(&self.root), store, self.keys.clone(), Arc::new(System)).await
    }

    async fn open(root: Arc<TempDir>, keys: KeySet, time: Arc<dyn TimeSource>) -> Self {
        let store = fs_store(&root);
        Self::serve(root, store, keys, time).await
    }

    async fn serve(root: Arc<TempDir>, store: Store, keys: KeySet, time: Arc<dyn TimeSource>) -> Self {
        Self::bind(root, store, keys, time, Looks::Always).await
    }

    async fn bind(root: Arc<TempDir>, store: Store, keys: KeySet, time: Arc<dyn TimeSource>, looks: Looks) -> Self {
        let registry = Registry::open(store, time).await.unwrap();
        let configured =
            Configured { htpasswd: people(), admins: [Identity::htpasswd("root")].into(), ..Configured::default() };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let url = format!("http://{}", listener.address().unwrap());
        let settings =
            Settings { external_urls: vec![url.clone()], registry_uid: Some(UID.into()), ..Settings::default() };
        let server = Server::new(registry, settings, keys.clone(), configured);
        server.poll_documents().await.unwrap();
        let router = axum::Router::new().fallback(dispatch::serve).with_state(server.clone());
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(router, stop.clone(), Duration::from_secs(5)));
        crate::program::like_main();
        let watch = looks.at_store_of(&server);
        Self { server, url, keys, root, stop, http: reqwest::Client::new(), _watch: watch }
    }

    /// The directory that is served.
    pub fn root(&self) -> &std::path::Path {
        self.root.path()
    }

    pub async fn put_access(&self, document: &AccessDocument) -> Result<(), Refused> {
        let signed = document.sign(&self.keys).unwrap();
        self.server.put_access(signed, document.generation - 1).await.map(drop)
    }

    /// A request as somebody; `""` is nobody.
    pub fn request(&self, who: &str, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match who {
            "" => request,
            "robot" => request.basic_auth("robot+apps+ci", Some("robots-secret")),
            name => request.basic_auth(name, Some(name)),
        }
    }

    pub async fn get(&self, who: &str, path: &str) -> Response {
        self.request(who, Method::GET, path).send().await.unwrap()
    }

    /// The status of a request without a body.
    pub async fn status(&self, who: &str, method: Method, path: &str) -> u16 {
        self.request(who, method, path).send().await.unwrap().status().as_u16()
    }

    /// Uploads a blob as the administrator.
    pub async fn push_blob(&self, name: &str, bytes: &'static [u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.request("root", Method::POST, &path).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }

    /// Puts a manifest as the administrator; gives its digest.
    pub async fn put_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Digest {
        let text = manifest.to_string();
        let digest = Digest::sha256(text.as_bytes());
        let reference = if reference.is_empty() { digest.as_str() } else { reference };
        let answer = self.put(name, reference, OCI_MANIFEST, text).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        digest
    }

    pub async fn put(&self, name: &str, reference: &str, media_type: &str, text: impl Into<reqwest::Body>) -> Response {
        let path = format!("/v2/{name}/manifests/{reference}");
        let request = self.request("root", Method::PUT, &path).header("content-type", media_type);
        request.body(text).send().await.unwrap()
    }

    /// An image of a config and a layer under a tag; gives its digest.
    pub async fn push_image(&self, name: &str, tag: &str, layer: &'static [u8]) -> Digest {
        let (config, layer) = (self.push_blob(name, b"{}").await, self.push_blob(name, layer).await);
        self.put_manifest(name, tag, &image(&config, &[&layer])).await
    }
}

pub fn descriptor(media_type: &str, digest: &Digest) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": 2 })
}

pub fn image(config: &Digest, layers: &[&Digest]) -> Value {
    let layer = |digest: &&Digest| descriptor("application/vnd.oci.image.layer.v1.tar", digest);
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

/// An error's body without what tells every request from every other.
pub fn without_id(body: &str) -> Value {
    let mut body: Value = serde_json::from_str(body).unwrap();
    let detail = body["errors"][0]["detail"].as_object_mut().unwrap();
    assert!(detail.remove("requestId").unwrap().is_string());
    body
}

/// The first code of an error's body.
pub async fn code(answer: Response) -> String {
    let body: Value = answer.json().await.unwrap();
    body["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
}
