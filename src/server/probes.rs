//! Health and readiness.
//!
//! Alive is who answers. Ready is who looked at the store lately, has the greatest access document if there is one,
//! and is not going away. A volume that hangs makes nobody answer late, be it here or to clients: both are told. Where
//! only writes fail or hang, it is ready: what is there can be pulled, and elsewhere writes would fare no better.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::fault::chain;
use super::{Fault, Server, documents};
use crate::registry::RegistryError;
use crate::store::StoreError;

/// A pod that could not look at the store for this long is not ready, and refuses writes: it might act on a document
/// that is long revoked.
pub const BLIND_AFTER: Duration = Duration::from_secs(30);

/// Who could not look at the store for this long is not ready: no new clients are to be sent here.
pub const UNREADY_AFTER: Duration = Duration::from_secs(8);

/// A look at the store that is no older than this answers probes too: the next one comes every other second by itself, and
/// may itself take a little.
const FRESH: Duration = Duration::from_millis(2_500);

/// A store that takes longer than this for a single look does not answer, and nobody is kept waiting for it.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How far the machine's clock may be from the store's: clocks of tags are compared across replicas.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

/// When the store was looked at last.
#[derive(Debug)]
pub(super) struct StoreSeen {
    start: Instant,
    /// Milliseconds since `start`, plus one; 0 for never.
    at: AtomicU64,
    /// The generation of the newest access document then.
    newest: AtomicU64,
    /// Since when somebody is looking, in the same way; 0 while nobody is.
    looking: AtomicU64,
    /// The machine's clock and the store's are too far apart.
    clock_is_off: AtomicBool,
}

impl Default for StoreSeen {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            at: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            looking: AtomicU64::new(0),
            clock_is_off: AtomicBool::new(false),
        }
    }
}

impl StoreSeen {
    /// The store was looked at just now, and this is its newest document.
    pub(super) fn saw(&self, newest: u64) {
        self.newest.store(newest, Ordering::SeqCst);
        self.at.store(self.moment(), Ordering::SeqCst);
    }

    /// A document is in the store that no look has seen yet.
    pub(super) fn knows(&self, generation: u64) {
        self.newest.fetch_max(generation, Ordering::SeqCst);
    }

    fn moment(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn is_within(&self, moment: u64, limit: Duration) -> bool {
        self.start.elapsed() < Duration::from_millis(moment - 1) + limit
    }

    fn is_recent(&self, limit: Duration) -> bool {
        let at = self.at.load(Ordering::SeqCst);
        at > 0 && self.is_within(at, limit)
    }

    /// Whether a look has been going on for too long.
    fn hangs(&self) -> bool {
        let looking = self.looking.load(Ordering::Relaxed);
        looking > 0 && !self.is_within(looking, ANSWERS_WITHIN)
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
    /// Notes how much space there is. To be called now and then.
    pub async fn look_at_space(&self) {
        match self.registry().store().capacity().await {
            Ok(space) => self.metrics().note_space(space),
            Err(error) => tracing::warn!(error = %chain(&error), "the space in the store is not known"),
        }
    }

    /// Whether clients may be sent here, or why not.
    pub async fn readiness(&self) -> Result<(), &'static str> {
        if self.is_draining() {
            return Err("the server is going away");
        }
        if self.inner.store_seen.hangs() {
            return Err("the store does not answer");
        }
        if !self.inner.store_seen.is_recent(UNREADY_AFTER) {
            return Err("the store could not be read for 8 seconds");
        }
        if self.inner.store_seen.clock_is_off.load(Ordering::Relaxed) {
            return Err("the machine's clock is more than a minute off the store's");
        }
        if self.inner.settings.registry_uid.is_none() {
            return Ok(());
        }
        // A pod that turns ready with yesterday's document would un-revoke: what a process that was stopped remembers, or one
        // whose looks do not come through, is looked at again.
        if !self.inner.store_seen.is_recent(FRESH) {
            match tokio::time::timeout(ANSWERS_WITHIN, self.poll_documents()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err("the store could not be read"),
                Err(_) => return Err("the store does not answer"),
            }
        }
        if self.inner.store_seen.newest.load(Ordering::SeqCst) == self.gate().generation {
            Ok(())
        } else {
            Err("the newest access document is not in force")
        }
    }

    /// Looks at the store's newest document, every other second, for ever. To be run where nothing that waits for the
    /// store keeps it from running.
    pub async fn watch_store(&self) {
        let mut ticks = tokio::time::interval(documents::POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let seen = &self.inner.store_seen;
        loop {
            ticks.tick().await;
            seen.looking.store(seen.moment(), Ordering::Relaxed);
            let looked = self.poll_documents().await;
            seen.looking.store(0, Ordering::Relaxed);
            if let Err(error) = looked {
                tracing::error!(error = %chain(&error), "the store could not be read");
            }
        }
    }

    /// A request that would only wait is refused: its client turns to another replica, and nothing piles up here.
    pub(super) fn require_answering_store(&self) -> Result<(), Fault> {
        if !self.inner.store_seen.hangs() {
            return Ok(());
        }
        Err(Fault::unavailable("the registry's storage does not answer; try again later"))
    }

    /// Compares the machine's clock with the store's: a replica that is off would order its writes wrongly.
    pub async fn check_clock(&self) -> Result<(), RegistryError> {
        let registry = self.registry();
        let theirs = match registry.store().now().await {
            Ok(now) => now.duration_since(UNIX_EPOCH).unwrap_or_default(),
            // A full store takes no file to tell the time by, and no write that would need one.
            Err(StoreError::Full { .. }) => return Ok(()),
            Err(StoreError::ReadOnly { .. }) => {
                tracing::error!(
                    "the store has become read-only: nothing is written until its volume is mounted read-write"
                );
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let ours = Duration::from_millis(registry.clock().now_millis());
        let apart = ours.abs_diff(theirs);
        let is_off = apart > CLOCK_TOLERANCE;
        if is_off {
            tracing::error!(
                seconds = apart.as_secs(),
                "the machine's clock is off the store's; nothing is written until it is set"
            );
        }
        self.inner.store_seen.clock_is_off.store(is_off, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the server is going away.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// Writes need a document that is not older than half a minute, and to be this replica's where only one may write.
    pub(super) fn require_writable(&self) -> Result<(), Fault> {
        if self.inner.is_another_writing.load(Ordering::SeqCst) {
            return Err(Fault::unavailable("another replica is the one that writes; try again in a moment"));
        }
        if self.inner.store_seen.clock_is_off.load(Ordering::Relaxed) {
            return Err(Fault::unavailable(
                "the server's clock is more than a minute off its store's; nothing is written",
            ));
        }
        if self.registry().store().writes().hang {
            return Err(Fault::unavailable("the registry's storage takes no writes for now; try again later"));
        }
        if self.inner.store_seen.is_recent(BLIND_AFTER) {
            return Ok(());
        }
        Err(Fault::unavailable("the registry could not read its store for 30 seconds; try again later"))
    }
}
