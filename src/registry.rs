//! The registry's domain: blobs, uploads, manifests, tags, referrers, catalog, the change journal. Free of HTTP.
//!
//! Everything that changes is a *register*: a directory of numbered versions, of which creating the next one is the
//! moment of the write (see [`register`]). Everything else is bytes, written once and named by their digest. Nothing is
//! true only in this process, so any number of them may serve one store.
//!
//! A write goes: bytes first, then a journal record that names the registers about to change (see [`journal`]), then
//! the registers. What is answered with success is on disk.

pub mod access;
pub mod blobs;
pub mod catalog;
mod contents;
pub mod edges;
pub mod enumerate;
pub mod error;
pub mod find;
mod heads;
pub mod hold;
pub mod identity;
pub mod journal;
pub mod layout;
pub mod lookups;
pub mod manifests;
mod references;
pub mod referrers;
pub mod register;
pub mod runs;
pub mod sweep;
pub mod tags;
pub mod trash;
pub mod uploads;
pub mod versions;

use std::sync::Arc;

use crate::clock::{Clock, TimeSource};
use crate::store::Store;
pub(crate) use crate::store::nonce;

pub use error::RegistryError;
pub use heads::Current;
pub use identity::StoreIdentity;
pub use journal::Journal;
pub use layout::Register;
pub use lookups::{CacheFigures, Lookups};
pub use register::{Author, Cause, Entry, Head, Op};

/// What this room's functions answer.
pub type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// A registry over a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    journal: Journal,
    identity: StoreIdentity,
    heads: heads::Heads,
    contents: contents::Contents,
    /// Names this process: hash states are trusted, and clocks told apart, by it.
    origin: String,
}

impl Registry {
    /// Opens the registry in a store; gives a new store its identity. Needs a tokio runtime: the journal's writer is
    /// a task.
    pub async fn open(store: Store, time: Arc<dyn TimeSource>) -> Result<Self> {
        let identity = identity::open(&store).await?;
        let origin = nonce();
        let clock = Clock::new(&origin, time);
        let journal = Journal::start(store.clone(), clock.clone());
        let (heads, contents) = Default::default();
        Ok(Self { inner: Arc::new(Inner { store, clock, journal, identity, heads, contents, origin }) })
    }

    /// The store's identity and format.
    pub fn identity(&self) -> &StoreIdentity {
        &self.inner.identity
    }

    /// The change journal.
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// The store underneath: for the collector.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What is kept in memory, and how often it was of use.
    pub fn caches(&self) -> [CacheFigures; 2] {
        [self.inner.heads.figures(), self.inner.contents.figures()]
    }

    /// This process's clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }
}

#[cfg(test)]
pub(crate) mod tests;
