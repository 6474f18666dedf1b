//! Health and readiness.
//!
//! Alive is who answers. Ready is who looked at the store lately, has the greatest access document if there is one,
//! and is not going away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::{Fault, Server};

/// A pod that could not look at the store for this long is not ready, and refuses writes: it might act on a document
/// that is long revoked.
pub const BLIND_AFTER: Duration = Duration::from_secs(30);

/// When the store was looked at last.
#[derive(Debug)]
pub(super) struct StoreSeen {
    start: Instant,
    /// Milliseconds since `start`, plus one; 0 for never.
    at: AtomicU64,
}

impl Default for StoreSeen {
    fn default() -> Self {
        Self { start: Instant::now(), at: AtomicU64::new(0) }
    }
}

impl StoreSeen {
    pub(super) fn now(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.at.store(millis + 1, Ordering::Relaxed);
    }

    fn is_recent(&self) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at > 0 && self.start.elapsed() < Duration::from_millis(at - 1) + BLIND_AFTER
    }
}

/// `/healthz` and `/readyz`.
pub fn router(server: Server) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(server)
}

async fn ready(State(server): State<Server>) -> (StatusCode, String) {
    match server.readiness().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

impl Server {
    /// Whether clients may be sent here, or why not.
    pub async fn readiness(&self) -> Result<(), &'static str> {
        if self.is_draining() {
            return Err("the server is going away");
        }
        if !self.inner.store_seen.is_recent() {
            return Err("the store could not be read for 30 seconds");
        }
        if self.inner.settings.registry_uid.is_none() {
            return Ok(());
        }
        // Read again at this very moment: a pod that turns ready with yesterday's document would un-revoke.
        if self.poll_documents().await.is_err() {
            return Err("the store could not be read");
        }
        match self.registry().access_generation().await {
            Ok(newest) if newest == self.gate().generation => Ok(()),
            Ok(_) => Err("the newest access document is not in force"),
            Err(_) => Err("the store could not be read"),
        }
    }

    /// Whether the server is going away.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// Writes need a document that is not older than half a minute.
    pub(super) fn require_writable(&self) -> Result<(), Fault> {
        if self.inner.store_seen.is_recent() {
            return Ok(());
        }
        Err(Fault::unavailable("the registry could not read its store for 30 seconds; try again later"))
    }
}
