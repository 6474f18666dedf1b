//! Following: the edges of one registry, for ever.
//!
//! The [`supervisor`] long-polls the edges document and keeps one task an edge. An edge's [`session`] compares in
//! full at its start, on request and hourly, and in between follows the source's journal by long poll. Compare and
//! journal only say *where to look*: both fill one [`queue`], and what is taken from it acts on the source's head of
//! that moment. So they may overlap, repeat themselves and come late without doing harm.

pub mod board;
pub mod home;
pub mod memory;
pub mod queue;
pub mod session;
pub mod supervisor;
pub mod unsettled;
pub mod work;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    admin::{Edge, EdgeStatus},
    replicate::{Ends, ReplicateError},
};

pub use home::{Home, HomeError};
pub use supervisor::supervise;

/// How the follower takes its time. Tests take less.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a poll may wait for news.
    pub poll: Duration,
    /// How often everything is compared.
    pub compare_every: Duration,
    /// How often at most an edge's status is written.
    pub publish_every: Duration,
    /// How often an edge's status is written anew though it has not changed.
    pub renew_every: Duration,
    /// How often at most the destination's cursor is written.
    pub save_every: Duration,
    /// The first and the longest pause after something failed that is about a registry as a whole.
    pub backoff: (Duration, Duration),
    /// How often timers are looked at.
    pub tick: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(25),
            compare_every: Duration::from_hours(1),
            publish_every: Duration::from_secs(2),
            renew_every: Duration::from_secs(30),
            save_every: Duration::from_secs(10),
            backoff: (Duration::from_secs(1), Duration::from_secs(30)),
            tick: Duration::from_millis(500),
        }
    }
}

/// Makes the clients of an edge's two ends.
pub trait Remotes: Send + Sync + 'static {
    /// Called at each start of an edge, so that rotated certificates are read.
    fn ends(&self, edge: &Edge) -> Result<Ends, ReplicateError>;
}

/// What all edges of a follower share.
#[derive(Debug)]
pub struct Shared<H, R> {
    /// The registry at which they run.
    pub home: H,
    /// Makes clients.
    pub remotes: R,
    /// Time.
    pub timing: Timing,
    /// Images that an edge works on at a time.
    pub workers: usize,
    /// How the edges stand, for metrics.
    pub statuses: Statuses,
}

/// How the edges of a follower stand now.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Arc<Mutex<BTreeMap<String, EdgeStatus>>>);

impl Statuses {
    /// All of them, ordered by id.
    pub fn all(&self) -> Vec<EdgeStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn set(&self, status: EdgeStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(status.id.clone(), status);
    }

    fn remove(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
