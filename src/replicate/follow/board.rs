//! An edge's status: written at its registry when it changed, and not more often than it should be; and written anew
//! from time to time though it has not changed, which is how others see that somebody still looks after the edge.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
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
        let status = said_now(self.status());
        let put = tokio::time::timeout(LAST_WORDS, self.shared.home.put_status(&status)).await;
        if !matches!(put, Ok(Ok(()))) {
            tracing::warn!(edge = status.id, "the last status could not be written");
        }
    }
}

async fn publish<H: Home, R: Remotes>(shared: Arc<Shared<H, R>>, mut status: watch::Receiver<EdgeStatus>) {
    // An edge whose task has ended, however it ended, says nothing more: its sender is gone.
    while !matches!(tokio::time::timeout(shared.timing.renew_every, status.changed()).await, Ok(Err(_))) {
        let now = said_now(status.borrow_and_update().clone());
        if let Err(error) = shared.home.put_status(&now).await {
            tracing::debug!(edge = now.id, %error, "the status could not be written");
            status.mark_changed();
        }
        tokio::time::sleep(shared.timing.publish_every).await;
    }
}

fn said_now(status: EdgeStatus) -> EdgeStatus {
    EdgeStatus { reported_at: Some(Timestamp::now()), ..status }
}

/// The status of an edge of which nothing is known yet.
pub fn fresh(edge: &Edge) -> EdgeStatus {
    EdgeStatus {
        id: edge.id.clone(),
        policy_generation: edge.policy.generation,
        state: EdgeState::Starting,
        last_handled_request: None,
        reported_at: None,
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        admin::{Deletions, EdgesDocument, Filters, JournalPage, PolicyRef, Remote, StoreState, Trigger},
        replicate::{
            Ends, ReplicateError,
            follow::{HomeError, Statuses, Timing},
        },
    };

    /// A registry that is told how edges stand, and asked nothing else.
    struct Told(mpsc::UnboundedSender<EdgeStatus>);

    impl Home for Told {
        async fn edges(&self, _: Option<u64>, _: Duration) -> Result<EdgesDocument, HomeError> {
            unreachable!("a report is all that is asked for here")
        }

        async fn statuses(&self) -> Result<Vec<EdgeStatus>, HomeError> {
            unreachable!("a report is all that is asked for here")
        }

        async fn put_status(&self, status: &EdgeStatus) -> Result<(), HomeError> {
            self.0.send(status.clone()).map_err(|error| HomeError(error.to_string()))
        }

        async fn journal(&self, _: Option<&str>, _: Duration) -> Result<JournalPage, HomeError> {
            unreachable!("a report is all that is asked for here")
        }

        async fn store(&self) -> Result<StoreState, HomeError> {
            unreachable!("a report is all that is asked for here")
        }
    }

    struct Nowhere;

    impl Remotes for Nowhere {
        fn ends(&self, _: &Edge) -> Result<Ends, ReplicateError> {
            unreachable!("a report is all that is asked for here")
        }
    }

    fn edge() -> Edge {
        Edge {
            id: "0123456789abcdef".to_owned(),
            policy: PolicyRef { namespace: "fleet".to_owned(), name: "p".to_owned(), generation: 1 },
            source: "hq".to_owned(),
            destination: Remote { name: "city".to_owned(), url: "https://city.example".to_owned(), insecure: false },
            filters: Filters::default(),
            deletions: Deletions::Propagate,
            trigger: Trigger::Event,
            suspend: false,
            requested_at: None,
            approved_plan: None,
        }
    }

    fn board() -> (Board<Told, Nowhere>, mpsc::UnboundedReceiver<EdgeStatus>) {
        let (sender, told) = mpsc::unbounded_channel();
        let short = Duration::from_millis(10);
        let timing = Timing { publish_every: short, renew_every: short, ..Timing::default() };
        let (home, statuses) = (Told(sender), Statuses::default());
        let shared = Shared { home, remotes: Nowhere, timing, workers: 1, statuses };
        (Board::new(Arc::new(shared), fresh(&edge())), told)
    }

    async fn next(told: &mut mpsc::UnboundedReceiver<EdgeStatus>) -> Option<EdgeStatus> {
        tokio::time::timeout(Duration::from_secs(30), told.recv())
            .await
            .expect("something is told, or nothing any more")
    }

    #[tokio::test]
    async fn an_edge_that_does_not_change_is_told_again_and_when() {
        let (board, mut told) = board();
        let (first, second) = (next(&mut told).await.unwrap(), next(&mut told).await.unwrap());
        assert!(first.reported_at.is_some() && first.reported_at < second.reported_at, "{first:?} {second:?}");
        assert_eq!(EdgeStatus { reported_at: None, ..second }, board.status());
    }

    #[tokio::test]
    async fn an_edge_whose_task_has_ended_badly_is_told_no_more() {
        let (board, mut told) = board();
        next(&mut told).await.unwrap();
        drop(board);
        while next(&mut told).await.is_some() {}
    }
}
