//! What a run tells its operator: the compact JSON summary in a Job's termination message (at most 4,000 bytes). The
//! whole of it is kept in the registry's store under the run's name, and served on the internal port: a pod may be gone
//! before anybody has read what it left.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most bytes that a summary may have: the kubelet keeps 4,096 of a termination message.
pub const SUMMARY_LIMIT: usize = 4_000;

/// The environment's variable in which a run is told its name. Not a flag: an image of an older release ends at one that it
/// does not know.
pub const RUN_VARIABLE: &str = "REGATTA_RUN";

/// What one garbage collection did, or, of a dry run, would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionSummary {
    /// Whether it ran to its end.
    pub succeeded: bool,
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Things looked at.
    pub scanned: CollectionCounts,
    /// Unreached things that were put into the trash in this run.
    pub condemned: CollectionCounts,
    /// Things that were found needed again and taken back.
    pub rescued: CollectionCounts,
    /// Things that were removed for good.
    pub purged: CollectionCounts,
    /// Bytes that came free with what was purged.
    pub bytes_freed: u64,
    /// Things that could not be looked at or removed; each is kept, and logged.
    pub errors: u64,
    /// The first error, or why the run ended early; what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// True where `message` was cut to fit [`SUMMARY_LIMIT`].
    #[serde(default)]
    pub truncated: bool,
}

/// Counts by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionCounts {
    /// Manifests in repositories.
    pub manifests: u64,
    /// Links from repositories to blobs.
    pub links: u64,
    /// Blobs' data (of manifests too).
    pub blobs: u64,
}
