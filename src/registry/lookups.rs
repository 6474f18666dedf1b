//! How often a cache had what it was asked for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts look-ups.
#[derive(Debug, Default)]
pub struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Lookups {
    /// Counts one.
    pub fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted, with how much is in the cache now.
    pub fn figures(&self, cache: &'static str, entries: usize) -> CacheFigures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheFigures { cache, hits: get(&self.hits), misses: get(&self.misses), entries }
    }
}

/// A cache at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFigures {
    /// Its name.
    pub cache: &'static str,
    /// Look-ups that it answered.
    pub hits: u64,
    /// Look-ups that went on to what is behind it.
    pub misses: u64,
    /// What is in it.
    pub entries: usize,
}
