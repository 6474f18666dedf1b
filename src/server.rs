//! The registry over HTTP: a pure route parser, thin handlers, the access document in force, TLS, metrics, probes.
//!
//! Up to four listeners: serving (`/v2/`, `/token`), internal (the admin API and `/v2/`, always TLS), metrics and
//! health. The serving and internal ones share everything but their challenge: within the cluster it is Basic, so that
//! a replicator needs no external name.

pub mod access_log;
pub mod blobs;
mod catalog;
mod compress;
pub mod connection;
pub mod dispatch;
pub mod documents;
pub mod extension;
pub mod fault;
pub mod forwarded;
pub mod gate;
mod hashing;
mod held;
mod inbound;
pub mod internal;
pub mod journal;
pub mod limits;
mod linger;
pub mod listen;
pub mod listing;
pub mod manifests;
pub mod metrics;
mod mounts;
pub mod open_uploads;
pub mod probes;
mod ranges;
mod room;
pub mod route;
pub mod spans;
pub mod tls;
pub mod token;
mod trace;
pub mod uploads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify};

use crate::admin::KeySet;
use crate::auth::Configured;
use crate::registry::{Registry, RegistryError};

pub use fault::Fault;
pub use gate::Gate;
#[cfg(feature = "otel")]
pub use trace::TARGET as TRACES;

/// What the server is told once.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The endpoints that clients use, `scheme://host[:port]`; the first is the default. Realms of challenges.
    pub external_urls: Vec<String>,
    /// The UID of the Registry object; absent outside a cluster.
    pub registry_uid: Option<String>,
    /// Whether manifests may name what their repository does not have.
    pub sparse: bool,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: forwarded::TrustedProxies,
    /// What one client may take.
    pub limits: limits::Limits,
    /// What is counted of the store, where it is.
    pub store_figures: Option<crate::store::metered::Figures>,
}

/// A registry server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    settings: Settings,
    gate: ArcSwap<Gate>,
    documents: Mutex<documents::Documents>,
    store_seen: probes::StoreSeen,
    draining: AtomicBool,
    /// Another replica may write, and this one may not.
    is_another_writing: AtomicBool,
    edges_changed: Notify,
    open_uploads: open_uploads::OpenUploads,
    room: room::Room,
    metrics: metrics::Metrics,
    /// Random, once a process: with a counter it names requests.
    process: String,
    requests: AtomicU64,
}

impl Server {
    /// A server that lets in nobody but those configured until it has a document: call [`Server::poll_documents`].
    pub fn new(registry: Registry, settings: Settings, keys: KeySet, configured: Configured) -> Self {
        let documents = documents::Documents::new(keys, configured);
        let gate = documents.gate(&settings);
        let metrics = metrics::Metrics::new(settings.store_figures.as_ref());
        let inner = Inner {
            registry,
            settings,
            gate: ArcSwap::from_pointee(gate),
            documents: Mutex::new(documents),
            store_seen: probes::StoreSeen::default(),
            draining: AtomicBool::new(false),
            is_another_writing: AtomicBool::new(false),
            edges_changed: Notify::new(),
            open_uploads: open_uploads::OpenUploads::default(),
            room: room::Room::default(),
            metrics,
            process: crate::registry::nonce(),
            requests: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The registry that is served.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// What the server was told.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// What decisions are made from now.
    pub fn gate(&self) -> Arc<Gate> {
        self.inner.gate.load_full()
    }

    /// How many uploads this process began that are open, as far as it knows.
    fn open_uploads(&self) -> usize {
        self.inner.open_uploads.total()
    }

    /// Finds out which of them ended elsewhere. To be called now and then.
    pub async fn look_at_open_uploads(&self) -> Result<(), RegistryError> {
        self.inner.open_uploads.look_at_all(&self.inner.registry).await
    }

    /// From now on not ready: no new clients are to be sent here.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Whether writes are refused because another replica may be the one that writes, where only one may.
    pub fn leave_writing_to_another(&self, leave: bool) {
        self.inner.is_another_writing.store(leave, Ordering::SeqCst);
    }

    /// Names a request in answers and in the log.
    fn next_request_id(&self) -> String {
        format!("{}-{:x}", &self.inner.process[..12], self.inner.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// The metrics.
    pub fn metrics(&self) -> &metrics::Metrics {
        &self.inner.metrics
    }
}
