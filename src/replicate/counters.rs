//! What was done, counted while it is done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::admin::Totals;

/// Counters that all workers of an edge share.
#[derive(Debug, Default)]
pub struct Counters {
    blobs: AtomicU64,
    mounted: AtomicU64,
    bytes: AtomicU64,
    manifests: AtomicU64,
    tags_set: AtomicU64,
    deleted: AtomicU64,
    drift_corrected: AtomicU64,
}

/// The counters at one moment.
pub type Counts = Totals;

impl Counters {
    /// Going on from what was counted before.
    pub fn from_counts(counts: Counts) -> Self {
        let Counts { blobs, mounted, bytes, manifests, tags_set, deleted, drift_corrected } = counts;
        Self {
            blobs: blobs.into(),
            mounted: mounted.into(),
            bytes: bytes.into(),
            manifests: manifests.into(),
            tags_set: tags_set.into(),
            deleted: deleted.into(),
            drift_corrected: drift_corrected.into(),
        }
    }

    /// The counts of now.
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            blobs: get(&self.blobs),
            mounted: get(&self.mounted),
            bytes: get(&self.bytes),
            manifests: get(&self.manifests),
            tags_set: get(&self.tags_set),
            deleted: get(&self.deleted),
            drift_corrected: get(&self.drift_corrected),
        }
    }

    pub(super) fn blob(&self, bytes: u64) {
        self.blobs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn mounted(&self) {
        self.mounted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn manifest(&self) {
        self.manifests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tag_set(&self) {
        self.tags_set.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn deleted(&self) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drift_corrected(&self) {
        self.drift_corrected.fetch_add(1, Ordering::Relaxed);
    }
}
