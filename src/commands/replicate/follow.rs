//! Following: the edges of a registry, for ever; health and metrics beside it.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Args, Error,
    home::{AdminHome, HomeFiles, MountedRemotes},
    once::interrupted,
};
use crate::{
    admin::EdgeStatus,
    replicate::follow::{Shared, Statuses, Timing, supervise},
};

pub(super) async fn run(args: &Args) -> Result<(), Error> {
    let files = HomeFiles {
        url: args.internal_url.clone().ok_or(Error::Missing("--internal-url"))?,
        ca: args.internal_ca.clone().ok_or(Error::Missing("--internal-ca"))?,
        credentials: args.credentials_dir.clone().ok_or(Error::Missing("--credentials-dir"))?,
    };
    let statuses = Statuses::default();
    let shared = Arc::new(Shared {
        home: AdminHome::new(files.clone())?,
        remotes: MountedRemotes { home: files, directory: args.remotes_dir.clone() },
        timing: Timing::default(),
        workers: usize::from(args.workers),
        statuses: statuses.clone(),
    });
    let (ready, is_ready) = watch::channel(false);
    let listeners = listen(args, &statuses, &is_ready).await?;
    let stop = CancellationToken::new();
    let following = tokio::spawn(supervise(shared, stop.clone(), ready));
    interrupted().await;
    tracing::info!("ending: cursors and statuses are written");
    stop.cancel();
    let ended = following.await;
    listeners.iter().for_each(JoinHandle::abort);
    ended.map_err(|error| Error::Home(error.to_string()))
}

async fn listen(args: &Args, statuses: &Statuses, ready: &watch::Receiver<bool>) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut listeners = Vec::new();
    if let Some(address) = args.health_listen {
        listeners.push(serve(address, health(ready.clone())).await?);
    }
    if let Some(address) = args.metrics_listen {
        listeners.push(serve(address, metrics(statuses.clone())).await?);
    }
    Ok(listeners)
}

async fn serve(address: SocketAddr, router: Router) -> Result<JoinHandle<()>, Error> {
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, %address, "nothing is served any more");
        }
    }))
}

/// Alive while it runs; ready once the edges have been read.
fn health(ready: watch::Receiver<bool>) -> Router {
    let readyz = move || {
        let ready = *ready.borrow();
        async move {
            if ready {
                (StatusCode::OK, "ok\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "the edges were not read yet\n")
            }
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(readyz))
}

fn metrics(statuses: Statuses) -> Router {
    let answer = move || {
        let text = exposition(&statuses.all());
        async move { ([("content-type", "text/plain; version=0.0.4")], text).into_response() }
    };
    Router::new().route("/metrics", get(answer))
}

type Value = fn(&EdgeStatus) -> u64;

/// Name, kind, help and value of each metric. The one label is the edge's id: as many as there are edges.
const METRICS: [(&str, &str, &str, Value); 11] = [
    ("lag_seconds", "gauge", "Age of the oldest change that is not at the destination", |s| s.lag_seconds),
    ("pending", "gauge", "Tags and digests that differ and wait", |s| s.pending),
    ("in_flight", "gauge", "Tags and digests that are worked on", |s| s.in_flight),
    ("failed", "gauge", "Tags and digests that failed and will be tried again", |s| s.failed),
    ("withheld", "gauge", "Deletions that wait for an approval", |s| s.withheld.as_ref().map_or(0, |w| w.deletions)),
    ("blobs_total", "counter", "Blobs that were sent", |s| s.totals.blobs),
    ("mounted_total", "counter", "Blobs that were mounted", |s| s.totals.mounted),
    ("bytes_total", "counter", "Bytes of blobs that were sent", |s| s.totals.bytes),
    ("tags_set_total", "counter", "Tags that were set", |s| s.totals.tags_set),
    ("deleted_total", "counter", "Tags and digests that were deleted", |s| s.totals.deleted),
    ("drift_corrected_total", "counter", "Changes at the destination that were put right", |s| {
        s.totals.drift_corrected
    }),
];

/// What `/metrics` says of these edges.
pub fn exposition(statuses: &[EdgeStatus]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in METRICS {
        let _ = writeln!(text, "# HELP regatta_replication_{name} {help}\n# TYPE regatta_replication_{name} {kind}");
        for status in statuses {
            let _ = writeln!(text, "regatta_replication_{name}{{edge=\"{}\"}} {}", status.id, value(status));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_edge_as_their_only_label() {
        let edge = serde_json::json!({
            "id": "0123456789abcdef", "policyGeneration": 1, "state": "Following", "lagSeconds": 7,
            "pending": 1, "inFlight": 2, "failed": 3,
        });
        let text = exposition(&[serde_json::from_value(edge).unwrap()]);
        assert!(text.contains("\nregatta_replication_lag_seconds{edge=\"0123456789abcdef\"} 7\n"), "{text}");
        assert!(text.contains("# TYPE regatta_replication_bytes_total counter\n"), "{text}");
    }
}
