//! The registry at which edges run, as the follower sees it: its admin API.

use std::time::Duration;

use crate::admin::{EdgeStatus, EdgesDocument, JournalPage, StoreState};

/// The admin API did not answer, or refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct HomeError(pub String);

/// What a follower asks its own registry.
pub trait Home: Send + Sync + 'static {
    /// The edges; waits up to `wait` for a generation after `after`.
    fn edges(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> impl Future<Output = Result<EdgesDocument, HomeError>> + Send;

    /// How the edges stood when somebody last said so.
    fn statuses(&self) -> impl Future<Output = Result<Vec<EdgeStatus>, HomeError>> + Send;

    /// Says how an edge stands.
    fn put_status(&self, status: &EdgeStatus) -> impl Future<Output = Result<(), HomeError>> + Send;

    /// What changed since `cursor`; waits up to `wait` for something. Without a cursor: the end as of now.
    fn journal(
        &self,
        cursor: Option<&str>,
        wait: Duration,
    ) -> impl Future<Output = Result<JournalPage, HomeError>> + Send;

    /// What the store is.
    fn store(&self) -> impl Future<Output = Result<StoreState, HomeError>> + Send;
}
