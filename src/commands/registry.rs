//! `regatta registry`: serves a directory or a bucket.

mod alone;
mod background;
mod files;
mod health;
mod named;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::background::Background;
use super::sole::Sole;
use super::store::{OpenError, Opened, StoreArgs};
use crate::admin::KeySet;
use crate::auth::Configured;
use crate::clock::System;
use crate::registry::{Registry, RegistryError};
use crate::server::listen::Listener;
use crate::server::tls::{Certificate, TlsError};
use crate::server::{Server, Settings, dispatch, internal, metrics, probes};
use crate::settings::Origin;
use crate::store::metered::{Figures, MeteredStore};
use crate::store::trouble::Trouble;
use crate::telemetry::{self, Filter};

/// Serves an OCI registry from a directory or a bucket.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Settings, in YAML: see docs/reference/settings.md.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings in force and where each came from, as a file of settings, and end.
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Where clients are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Serve TLS with this certificate chain (PEM), read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A URL that clients use, `https://host[:port]`: where they are sent for tokens. The first is the default.
    #[arg(long, value_name = "URL", value_parser = external_url)]
    external_url: Vec<String>,
    /// Serve the operator and replicators here, always over TLS.
    #[arg(long, value_name = "ADDRESS", requires = "internal_tls_cert", requires = "internal_tls_key")]
    internal_listen: Option<SocketAddr>,
    /// The internal certificate chain (PEM).
    #[arg(long, value_name = "FILE", requires = "internal_listen")]
    internal_tls_cert: Option<PathBuf>,
    /// The internal certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "internal_listen")]
    internal_tls_key: Option<PathBuf>,
    /// Serve /healthz and /readyz here rather than on --listen, where they need no login.
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<SocketAddr>,
    /// Serve /metrics here rather than on --listen, where they need no login.
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// The keys that sign tokens and access documents (JSON), read again when they change. Made anew at each start
    /// where none are given.
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
    /// The UID of the Registry object that this serves.
    #[arg(long, value_name = "UID", requires = "keys_file")]
    registry_uid: Option<String>,
    /// Users and bcrypt hashes of their passwords, read again when they change.
    #[arg(long, value_name = "FILE")]
    htpasswd_file: Option<PathBuf>,
    /// A user of the password file who may do everything. May be given several times.
    #[arg(long, value_name = "USER", requires = "htpasswd_file", value_parser = user)]
    admin: Vec<String>,
    /// Each sub-directory holds `username` and `password` of a replicator; read again when they change.
    #[arg(long, value_name = "DIR")]
    replicators_dir: Option<PathBuf>,
    /// The password of the user `admin`. Where there is neither this nor a password file, one is made and printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["htpasswd_file", "registry_uid"])]
    admin_password_file: Option<PathBuf>,
    /// Accept manifests that name what their repository does not have.
    // With a value, so that a flag can say no where a file says yes.
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    sparse: bool,
    /// A proxy, as an address or range (`10.0.0.0/8`), whose `X-Forwarded-For` says who a client is. May be given
    /// several times.
    #[arg(long, value_name = "RANGE")]
    trusted_proxy: Vec<crate::server::forwarded::Range>,
    /// How many connections there may be at once; who comes later waits until one ends. Never more than half of the
    /// files that the process may have open.
    #[arg(long, value_name = "NUMBER", default_value = "10000")]
    max_connections: NonZeroUsize,
    /// How long new connections are still taken after SIGTERM, while load balancers learn of it, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    drain_seconds: u64,
    /// How long open requests may take after that, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 580)]
    grace_seconds: u64,
    /// How much is logged: a level, or levels for targets, as in `info,regatta::access=off`.
    #[arg(long, value_name = "FILTER", env = telemetry::VARIABLE, default_value_t)]
    log_filter: Filter,
    #[arg(skip)]
    origins: HashMap<String, Origin>,
    #[arg(skip)]
    passed_over: Vec<String>,
}

impl Args {
    /// How much is to be logged.
    pub fn log_filter(&self) -> &Filter {
        &self.log_filter
    }

    /// Notes where each setting came from, by the option's id: what turns out to be wrong later is told with it.
    /// `passed_over` is what was said and is not in force.
    pub fn came_from(&mut self, origins: HashMap<String, Origin>, passed_over: Vec<String>) {
        (self.origins, self.passed_over) = (origins, passed_over);
    }

    /// Whether the settings are asked for rather than the registry.
    pub fn print_config(&self) -> bool {
        self.print_config
    }
}

/// Why there is no registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Another replica serves a store that only one may serve.
    #[error(
        "another replica serves {store}, which does not refuse to create what exists ({why}); run one replica only, and end it before the next begins"
    )]
    NotAlone {
        /// The store.
        store: String,
        /// Why only one may.
        why: String,
    },
    /// What is in it cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A configured file cannot be used.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// A certificate cannot be used.
    #[error("{path}: {source}", path = .path.display())]
    Tls {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: TlsError,
    },
    /// An address cannot be listened at.
    #[error("cannot listen at {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// What a setting says cannot be used.
    #[error("{origin}: `{key}`")]
    Setting {
        /// Where it is said.
        origin: Origin,
        /// The setting.
        key: String,
        /// What is wrong.
        source: Box<Self>,
    },
    /// A thread cannot be started, or has ended.
    #[error("a thread cannot be run")]
    Thread(#[source] std::io::Error),
    /// Signals cannot be caught.
    #[error("signals cannot be caught")]
    Signal(#[source] std::io::Error),
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), Error> {
    serve(&args).await.map_err(|error| named::named(&args, error))
}

async fn serve(args: &Args) -> Result<(), Error> {
    let mut signals = Signals::catch().map_err(Error::Signal)?;
    for why in &args.passed_over {
        tracing::warn!(why, "a setting is passed over");
    }
    // What is wrong is found before anything is made.
    let certificates = Certificates::read(args)?;
    let sources = files::Sources::new(args)?;
    let access = sources.read()?;
    let health = health::start(apart(args)).await?;
    // A store that does not answer may be waited for, for as long as it takes.
    let taking = OnceLock::new();
    let began = tokio::select! {
        began = begin(args, &certificates, access, &taking) => began.map(Some),
        () = signals.wait() => Ok(None),
    };
    if let (Ok(None) | Err(_), Some(sole)) = (&began, taking.get()) {
        sole.end().await;
    }
    let Some(began) = began? else {
        tracing::info!("told to end before it served");
        return Ok(());
    };
    let Began { opened, sole, server, listener } = began;
    sources.say_password();
    let listening = match listen(args, &server, listener, (&certificates, &opened.name), health).await {
        Ok(listening) => listening,
        Err(error) => {
            sole.end().await;
            return Err(error);
        }
    };
    let background = Background::start(&server, sources, certificates);
    let lost = tokio::select! {
        () = signals.wait() => None,
        why = alone::stays_alone(&opened, &sole, &server) => Some(why),
    };
    if lost.is_some() {
        // Not only when all have gone: another may write from now on.
        server.leave_writing_to_another(true);
        background.stop_sweeping();
    }
    let (behind, health) = listening.end(&server, Duration::from_secs(args.drain_seconds)).await;
    if behind == 0 {
        tracing::info!("all requests are finished");
    }
    // A pod has so many seconds to go: the next replica is not to wait because the probes' connections took the last ones.
    let gives_back = async {
        if lost.is_none() {
            sole.end().await;
        }
    };
    tokio::join!(health.end(), gives_back);
    background.end();
    match lost {
        Some(why) => Err(Error::NotAlone { store: opened.name, why }),
        None => Ok(()),
    }
}

/// What there is before anybody is served.
struct Began {
    opened: Opened,
    sole: Arc<Sole>,
    server: Server,
    listener: Listener,
}

/// `taking` is who may have the lease by the time that this is given up or fails.
async fn begin(
    args: &Args,
    certificates: &Certificates,
    access: (KeySet, Configured),
    taking: &OnceLock<Arc<Sole>>,
) -> Result<Began, Error> {
    let opened = patiently(&args.store, args.store.open()).await?;
    let sole = Arc::clone(taking.get_or_init(|| Arc::new(Sole::new(opened.store.clone()))));
    if let Some(why) = opened.alone()
        && !sole.take(opened.others_may_share()).await?
    {
        return Err(Error::NotAlone { store: opened.name, why });
    }
    let (registry, figures) = open(args, &opened).await?;
    let listener = bind(args.listen, certificates.serving.as_ref().map(|served| &served.certificate)).await?;
    let settings = Settings {
        external_urls: external_urls(args, &listener, certificates.serving.is_some())?,
        registry_uid: args.registry_uid.clone(),
        sparse: args.sparse,
        trusted_proxies: args.trusted_proxy.iter().copied().collect(),
        store_figures: Some(figures),
        ..Settings::default()
    };
    let server = Server::new(registry, settings, access.0, access.1);
    patiently(&args.store, async {
        server.poll_documents().await?;
        server.check_clock().await
    })
    .await?;
    if opened.is_bucket() && opened.alone().is_none() {
        server.leave_writing_to_another(sole.is_anothers().await?);
    }
    Ok(Began { opened, sole, server, listener })
}

/// Opens what is in a store.
async fn open(args: &Args, opened: &Opened) -> Result<(Registry, Figures), Error> {
    let figures = Figures::default();
    let store = Arc::new(MeteredStore::new(opened.store.clone(), figures.clone()));
    let registry = patiently(&args.store, Registry::open(store, Arc::new(System))).await?;
    if let Some(late) = registry.store().staleness() {
        tracing::warn!(
            seconds = late.as_secs(),
            store = %opened.name,
            "the volume's NFS mount remembers names: other replicas may serve what was moved or deleted for as long; mount it \
             with acdirmin=0,acdirmax=0,lookupcache=none"
        );
    }
    Ok((registry, figures))
}

/// The listeners that serve. Each ends with the number of connections that it left behind.
struct Listening {
    tasks: JoinSet<usize>,
    health: health::Health,
    stop: CancellationToken,
}

/// What has an address of its own, and is there before the rest.
fn apart(args: &Args) -> Vec<(SocketAddr, health::Made)> {
    let made: [(Option<SocketAddr>, health::Made); 2] =
        [(args.health_listen, probes::router), (args.metrics_listen, metrics::router)];
    made.into_iter().filter_map(|(address, made)| Some((address?, made))).collect()
}

async fn listen(
    args: &Args,
    server: &Server,
    listener: Listener,
    (certificates, store): (&Certificates, &str),
    mut health: health::Health,
) -> Result<Listening, Error> {
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let grace = Duration::from_secs(args.grace_seconds);
    let mut serve = |listener: Listener, router: Router| {
        tasks.spawn(listener.serve(router, stop.clone(), grace));
    };
    let mut main = Router::new().fallback(dispatch::serve).with_state(server.clone());
    for (address, made) in
        [(args.health_listen, probes::router as health::Made), (args.metrics_listen, metrics::router)]
    {
        if address.is_none() {
            main = main.merge(made(server.clone()));
        }
    }
    health.of(server);
    if let Some(address) = args.internal_listen {
        let certificate = certificates.inside.as_ref().map(|served| &served.certificate);
        serve(bind(address, certificate).await?, internal::router(server.clone()));
    }
    let address = listener.address().map_err(|source| Error::Listen { address: args.listen, source })?;
    serve(listener.at_most(connections(args.max_connections.get())), main);
    let config = args.config.as_deref().map(|path| tracing::field::display(path.display()));
    tracing::info!(%address, store, tls = certificates.serving.is_some(), config, "serving");
    Ok(Listening { tasks, health, stop })
}

impl Listening {
    /// Not ready any more; after the drain nobody new is let in, and what is open comes to its end. How many connections were
    /// left behind with a request that was not finished; and health and metrics, which come last.
    async fn end(mut self, server: &Server, drain: Duration) -> (usize, health::Health) {
        server.drain();
        tracing::info!(seconds = drain.as_secs(), "going away: not ready any more, still serving");
        tokio::time::sleep(drain).await;
        self.stop.cancel();
        let mut behind = 0;
        while let Some(left) = self.tasks.join_next().await {
            // What one that panicked left behind is not known.
            behind += left.unwrap_or(1);
        }
        (behind, self.health)
    }
}

/// How many times as long as the first word of it the next ones take.
const NOW_AND_THEN: u32 = 12;

/// Waits for a store, and says so at first, when the cause is another, and now and then: one that hangs would be waited for
/// in silence.
async fn patiently<T>(store: &StoreArgs, work: impl Future<Output = T>) -> T {
    let (trouble, mut said, mut waits) = (Trouble::default(), None, 0);
    let mut work = std::pin::pin!(trouble.of(work));
    loop {
        if let Ok(done) = tokio::time::timeout(probes::ANSWERS_WITHIN, &mut work).await {
            return done;
        }
        let cause = trouble.last();
        if waits % NOW_AND_THEN == 0 || cause != said {
            tracing::warn!(%store, place = store.described(), cause, "the store does not answer; waiting for it");
            said = cause;
        }
        waits += 1;
    }
}

async fn bind(address: SocketAddr, certificate: Option<&Certificate>) -> Result<Listener, Error> {
    let tls = certificate.map(Certificate::server_config).transpose();
    let tls = tls.map_err(|source| Error::Tls { path: PathBuf::from("the certificate"), source })?;
    Listener::bind(address, tls).await.map_err(|source| Error::Listen { address, source })
}

/// Of the two listeners that may have TLS.
struct Certificates {
    serving: Option<files::WatchedCertificate>,
    inside: Option<files::WatchedCertificate>,
}

impl Certificates {
    fn read(args: &Args) -> Result<Self, Error> {
        Ok(Self {
            serving: certificate(args.tls_cert.as_deref(), args.tls_key.as_deref())?,
            inside: certificate(args.internal_tls_cert.as_deref(), args.internal_tls_key.as_deref())?,
        })
    }
}

fn certificate(chain: Option<&Path>, key: Option<&Path>) -> Result<Option<files::WatchedCertificate>, Error> {
    let (Some(chain), Some(key)) = (chain, key) else { return Ok(None) };
    files::WatchedCertificate::read(chain, key).map(Some)
}

/// Outside a cluster clients use the very address that is listened at.
fn external_urls(args: &Args, listener: &Listener, tls: bool) -> Result<Vec<String>, Error> {
    if args.external_url.is_empty() {
        let address = listener.address().map_err(|source| Error::Listen { address: args.listen, source })?;
        let url = format!("{}://{address}", if tls { "https" } else { "http" });
        if address.ip().is_unspecified() {
            tracing::warn!(
                url,
                "clients on other machines cannot log in: they are sent to this URL for a token; say with --external-url by \
                 which one they reach this registry"
            );
        }
        return Ok(vec![url]);
    }
    Ok(args.external_url.clone())
}

/// A user's name: one that is empty or has blanks around it is nobody's, and a slip.
fn user(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("it is empty"),
        text if text.trim() != text => Err("it begins or ends with a blank"),
        text => Ok(text.to_owned()),
    }
}

/// A URL that clients use.
fn external_url(text: &str) -> Result<String, &'static str> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_wrong = |c: char| "/\"?#@,".contains(c) || c.is_whitespace();
    let is_good = host.is_some_and(|host| !host.is_empty() && !host.contains(is_wrong));
    if is_good { Ok(text.to_owned()) } else { Err("not `http://host[:port]` or `https://host[:port]`, without a path") }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Lets the process have as many files open as it may; so many connections it can have then: each may read a file.
fn connections(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = if raised.is_ok() { limit.maximum } else { limit.current };
    let most = files.map_or(usize::MAX, |files| usize::try_from(files / 2).unwrap_or(usize::MAX));
    if most < wanted {
        tracing::warn!(connections = most, wanted, "the process may have few files open: fewer connections are taken");
    }
    wanted.min(most)
}
