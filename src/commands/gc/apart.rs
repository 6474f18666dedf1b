//! Keeping a collection and the only replica of a store apart.
//!
//! A store that does not refuse to create what exists has one writer: a collection beside it would claim its journals and
//! end versions that it is about to write, and both would be told that they were first. So a collection holds the lease of
//! the only replica itself, or there is none. Where the store does refuse, as this process sees it, another may have found
//! that it does not; its lease is then heeded here as it is by replicas, before and while things are written; while it
//! cannot be seen, nothing is written.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::commands::sole::{LookOut, Seen, Sole};
use crate::commands::store::Opened;
use crate::registry::RegistryError;

/// By what right a collection writes.
pub(super) enum Apart {
    /// It writes nothing, or any number of processes may write to a directory.
    Free,
    /// Nobody had the lease when this was looked at.
    Sharer(Sole, Instant),
    /// It has the lease.
    Only(Sole),
}

impl Apart {
    /// None where a replica has the lease.
    pub(super) async fn from_replicas(opened: &Opened, dry_run: bool) -> Result<Option<Self>, RegistryError> {
        if dry_run || !opened.is_bucket() {
            return Ok(Some(Self::Free));
        }
        let sole = Sole::new(opened.store.clone());
        let looked = Instant::now();
        if sole.is_anothers().await? {
            return Ok(None);
        }
        if opened.alone().is_none() {
            return Ok(Some(Self::Sharer(sole, looked)));
        }
        tracing::info!(store = %opened.name, "taking the lease of the only replica until the collection ends");
        Ok(sole.take(opened.others_may_share()).await?.then_some(Self::Only(sole)))
    }

    /// Whose turn to write it is from now on.
    pub(super) fn turn(&self) -> Turn<'_> {
        let (by, to_end) = match self {
            Self::Free => (By::Nobody, Duration::ZERO),
            Self::Sharer(sole, looked) => (By::Looks(sole.look_out(*looked)), sole.to_end()),
            Self::Only(sole) => (By::Lease(sole), sole.to_end()),
        };
        Turn { by, to_end, seen: Seen::Free }
    }

    /// Replicas need not wait any longer.
    pub(super) async fn end(self) {
        if let Self::Only(sole) = self {
            sole.end().await;
        }
    }
}

/// Tells whether it is another's turn to write.
pub(super) struct Turn<'a> {
    by: By<'a>,
    /// How long may be written when another has the lease.
    pub(super) to_end: Duration,
    /// What was seen last; only while that is `Free` anything is written.
    pub(super) seen: Seen,
}

/// How that is found out.
enum By<'a> {
    /// It never is.
    Nobody,
    Looks(LookOut<'a>),
    /// By having it, until it is lost.
    Lease(&'a Sole),
}

impl Turn<'_> {
    /// What is seen next.
    pub(super) async fn next(&mut self) -> Seen {
        self.seen = match &mut self.by {
            By::Nobody => std::future::pending().await,
            By::Looks(look_out) => look_out.next().await,
            By::Lease(sole) => {
                sole.hold().await;
                Seen::Anothers
            }
        };
        self.seen
    }

    /// What comes of something that writes, unless it stops being known before that nobody else may write. The look-out
    /// comes first: a process that stood still is to find out before it goes on.
    pub(super) async fn while_ours<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        while self.seen == Seen::Free {
            tokio::select! {
                biased;
                _ = self.next() => {}
                done = &mut work => return Some(done),
            }
        }
        None
    }

    /// Whether it is found out by looking, which may fail.
    pub(super) fn looks_out(&self) -> bool {
        matches!(self.by, By::Looks(_))
    }

    /// Whether a look failed before the one that has seen something.
    pub(super) fn has_failed(&self) -> bool {
        matches!(&self.by, By::Looks(look_out) if look_out.has_failed())
    }

    /// Why nothing was seen.
    pub(super) fn cause(&self) -> &str {
        match &self.by {
            By::Nobody | By::Lease(_) => "nobody looked",
            By::Looks(look_out) => look_out.cause(),
        }
    }
}
