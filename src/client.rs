//! The outbound OCI client: how a registry is asked, by whatever name its operator gave it.
//!
//! Protocol: OCI distribution-spec 1.1.1, Docker's token flow, RFC 9110 (ranges, `Retry-After`), RFC 8288 (`Link`).
//! What it promises, whatever the other side answers:
//! - credentials go to the configured scheme, host and port, or to a token realm on the same host (or an allowed token
//!   host), and nowhere else: redirects and foreign upload locations are followed without them;
//! - link-local and metadata addresses are refused, after the name was resolved too;
//! - what is read is hashed, and bytes that are not what was asked for are an error;
//! - `urls` of a descriptor are never followed.
//!
//! It knows nothing of replication, of policies or of Kubernetes.

pub mod address;
pub mod auth;
pub mod blobs;
pub mod challenge;
pub mod credentials;
pub mod error;
pub mod extension;
pub mod lists;
pub mod manifests;
pub mod reader;
pub mod referrers;
pub mod retry;
pub mod tls;
pub mod transport;
pub mod uploads;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

pub use address::Endpoint;
pub use auth::Scope;
pub use credentials::{CredentialSource, Credentials, DirectoryCredentials};
pub use error::ClientError;
pub use manifests::{Deleted, FetchedManifest, PutManifest};
pub use reader::BlobReader;
pub use referrers::Referrers;
pub use retry::RetryPolicy;
pub use tls::Trust;
pub use uploads::{Started, Upload};

use auth::Authenticator;

/// How a registry is reached.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Who asks; `None` is anonymous.
    pub credentials: Option<Arc<dyn CredentialSource>>,
    /// Hosts beside the registry's own that may be sent the credentials in exchange for a token.
    pub token_hosts: Vec<String>,
    /// Send Basic credentials with every request instead of asking for tokens: to Regattas, which accept it.
    pub basic: bool,
    /// How often and how patiently a failed request is repeated.
    pub retry: RetryPolicy,
}

impl ClientConfig {
    /// An anonymous client of this endpoint that trusts the public certificate authorities.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            trust: Trust::Public,
            credentials: None,
            token_hosts: Vec::new(),
            basic: false,
            retry: RetryPolicy::default(),
        }
    }
}

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one registry. Cheap to clone: all clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    http: reqwest::Client,
    auth: Authenticator,
    retry: RetryPolicy,
    /// Whether the registry said that it is a Regatta.
    regatta: AtomicBool,
    /// What is known of the referrers API: see [`referrers`].
    referrers_api: AtomicU8,
    /// Held while that is being found out: one question is enough.
    referrers_asked: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.inner.endpoint)
    }
}

impl Client {
    /// Makes a client. Nothing is asked yet.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let ClientConfig { endpoint, trust, credentials, token_hosts, basic, retry } = config;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&trust)?)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(address::GuardedResolver)
            .connect_timeout(CONNECT_TIMEOUT)
            // One connection a transfer: a broken one costs one transfer, and no window is shared.
            .http1_only()
            .no_proxy()
            .user_agent(concat!("regatta/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Build)?;
        let auth = Authenticator::new(endpoint.clone(), http.clone(), credentials, token_hosts, basic);
        Ok(Self {
            inner: Arc::new(Inner {
                endpoint,
                http,
                auth,
                retry,
                regatta: AtomicBool::new(false),
                referrers_api: AtomicU8::new(0),
                referrers_asked: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Where the registry is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Whether the registry has shown itself to be a Regatta: it then mounts from any repository, takes Basic
    /// credentials, and takes large blobs in parts. Known after [`Client::extension_get`].
    pub fn is_regatta(&self) -> bool {
        self.inner.regatta.load(Ordering::Relaxed)
    }

    fn saw_regatta(&self) {
        if !self.inner.regatta.swap(true, Ordering::Relaxed) {
            self.inner.auth.prefer_basic();
        }
    }
}
