//! An edge's status: written at its registry when it changed, and not more often than it should be.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use super::{Home, Remotes, Shared};
use crate::admin::{Edge, EdgeState, EdgeStatus};

/// How long the last status may take to be written when everything ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Where a session writes how it stands.
pub struct Board<H, R> {
    shared: Arc<Shared<H, R>>,
    status: watch::Sender<EdgeStatus>,
    publisher: JoinHandle<()>,
}

impl<H: Home, R: Remotes> Board<H, R> {
    /// Goes on from what was known before.
    pub fn new(shared: Arc<Shared<H, R>>, before: EdgeStatus) -> Self {
        shared.statuses.set(before.clone());
        let (status, receiver) = watch::channel(before);
        let publisher = tokio::spawn(publish(shared.clone(), receiver));
        Self { shared, status, publisher }
    }

    /// The status of now.
    pub fn status(&self) -> EdgeStatus {
        self.status.borrow().clone()
    }

    /// Changes the status; what is equal is not written.
    pub fn update(&self, change: impl FnOnce(&mut EdgeStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            let changed = *status != before;
            if changed {
                self.shared.statuses.set(status.clone());
            }
            changed
        });
    }

    /// Writes the last status and ends.
    pub async fn close(self) {
        self.publisher.abort();
        let status = self.status();
        let put = tokio::time::timeout(LAST_WORDS, self.shared.home.put_status(&status)).await;
        if !matches!(put, Ok(Ok(()))) {
            tracing::warn!(edge = status.id, "the last status could not be written");
        }
    }
}

async fn publish<H: Home, R: Remotes>(shared: Arc<Shared<H, R>>, mut status: watch::Receiver<EdgeStatus>) {
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().clone();
        if let Err(error) = shared.home.put_status(&now).await {
            tracing::debug!(edge = now.id, %error, "the status could not be written");
            status.mark_changed();
        }
        tokio::time::sleep(shared.timing.publish_every).await;
    }
}

/// The status of an edge of which nothing is known yet.
pub fn fresh(edge: &Edge) -> EdgeStatus {
    EdgeStatus {
        id: edge.id.clone(),
        policy_generation: edge.policy.generation,
        state: EdgeState::Starting,
        last_handled_request: None,
        last_sync: None,
        last_compare: None,
        lag_seconds: 0,
        pending: 0,
        in_flight: 0,
        failed: 0,
        totals: crate::admin::Totals::default(),
        recent_drift: Vec::new(),
        last_error: None,
        withheld: None,
        cursor: None,
    }
}
