//! `regatta operator`: reconciles the five kinds in the cluster of the kubeconfig, or of the pod that it runs in.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::operator::lease::LeaseSettings;
use crate::operator::metrics::Metrics;
use crate::operator::{self, Health, OperatorError, Settings};

/// Options of `regatta operator`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// This cluster's name: Registries whose homeCluster it is are managed here. Those without a homeCluster always are.
    #[arg(long, env = "REGATTA_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// The image of registries that name none.
    #[arg(long, env = "REGATTA_REGISTRY_IMAGE", value_name = "IMAGE")]
    pub registry_image: Option<String>,
    /// Namespace of the Lease by which the leader is chosen.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_name = "NAMESPACE")]
    pub lease_namespace: String,
    /// Name of the Lease.
    #[arg(long, default_value = "regatta-operator", value_name = "NAME")]
    pub lease_name: String,
    /// What this process is called in the Lease; a random name where absent.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,
    /// Where /healthz and /readyz are served.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDR")]
    pub health_listen: SocketAddr,
    /// Where /metrics is served.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDR")]
    pub metrics_listen: SocketAddr,
    /// How many objects of a kind are reconciled at once.
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub concurrency: u16,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorCommandError {
    /// No cluster.
    #[error("no cluster: set KUBECONFIG, or run in a pod")]
    Configuration(#[source] kube::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    /// The operator itself.
    #[error(transparent)]
    Operator(#[from] OperatorError),
}

/// Runs until SIGTERM or SIGINT, or until the Lease is lost.
pub async fn run(args: Args) -> Result<(), OperatorCommandError> {
    let client = Client::try_default().await.map_err(OperatorCommandError::Configuration)?;
    let (health, metrics) = (Health::default(), Arc::new(Metrics::default()));
    serve(args.health_listen, health_routes(health.clone())).await?;
    serve(args.metrics_listen, metrics_routes(&metrics)).await?;
    let stop = stopped()?;
    Ok(operator::run(client, settings(&args), health, metrics, stop).await?)
}

fn settings(args: &Args) -> Settings {
    let identity = args.identity.clone().unwrap_or_else(|| format!("regatta-{}", std::process::id()));
    // Two pods may have one name: a StatefulSet's after a node was lost.
    let unique = format!("{identity}_{}", hex::encode(getrandom::u64().unwrap_or_default().to_be_bytes()));
    Settings {
        cluster_name: args.cluster_name.clone().filter(|name| !name.is_empty()),
        registry_image: args.registry_image.clone().filter(|image| !image.is_empty()),
        concurrency: args.concurrency.max(1),
        ..Settings::new(LeaseSettings::new(&args.lease_namespace, &args.lease_name, unique))
    }
}

fn health_routes(health: Health) -> Router {
    let ready = move || {
        let ready = health.is_ready();
        async move {
            if ready {
                (StatusCode::OK, "ok\n")
            } else {
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the custom resource definitions are missing or too old; see the log\n",
                )
            }
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

fn metrics_routes(metrics: &Metrics) -> Router {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let registry = Arc::new(registry);
    let scrape = move || {
        let mut text = String::new();
        let encoded = prometheus_client::encoding::text::encode(&mut text, &registry);
        let status = if encoded.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        async move { (status, [(http::header::CONTENT_TYPE, kind)], text) }
    };
    Router::new().route("/metrics", get(scrape))
}

async fn serve(address: SocketAddr, routes: Router) -> Result<(), OperatorCommandError> {
    let listen = |source| OperatorCommandError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%address, %error, "a listener ended");
        }
    });
    Ok(())
}

fn stopped() -> Result<impl Future<Output = ()>, OperatorCommandError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(OperatorCommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(OperatorCommandError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
    })
}
