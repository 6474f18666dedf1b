//! Keeping a collection and the only replica of a store apart.
//!
//! A store that does not refuse to create what exists has one writer: a collection beside it would claim its journals and
//! end versions that it is about to write, and both would be told that they were first. So a collection holds the lease of
//! the only replica itself, or there is none. Where the store does refuse, as this process sees it, another may have found
//! that it does not; its lease is then heeded here as it is by replicas, before and while things are written.

use crate::commands::sole::Sole;
use crate::commands::store::Opened;
use crate::registry::RegistryError;

/// By what right a collection writes.
pub(super) enum Apart {
    /// It writes nothing, or any number of processes may write to a directory.
    Free,
    /// Nobody has the lease.
    Sharer(Sole),
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
        if sole.is_anothers().await? {
            return Ok(None);
        }
        if opened.alone().is_none() {
            return Ok(Some(Self::Sharer(sole)));
        }
        tracing::info!(store = %opened.name, "taking the lease of the only replica until the collection ends");
        Ok(sole.take(opened.others_may_share()).await?.then_some(Self::Only(sole)))
    }

    /// Returns when nothing may be written any more.
    pub(super) async fn lost(&self) {
        match self {
            Self::Free => std::future::pending().await,
            Self::Sharer(sole) => sole.met().await,
            Self::Only(sole) => sole.hold().await,
        }
    }

    /// Replicas need not wait any longer.
    pub(super) async fn end(self) {
        if let Self::Only(sole) = self {
            sole.end().await;
        }
    }
}
