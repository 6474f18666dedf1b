//! What a registry's replicator is to do (written by the operator) and what it did (written by the replicator).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All the edges that run at one registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgesDocument {
    /// Dense: 1, 2, 3 ...; 0 where none was ever written.
    pub generation: u64,
    /// The operator's term at this registry: a document of a lower term than the greatest is refused, so that one that
    /// wakes late brings back no edge. 0 where none was ever written.
    #[serde(default)]
    pub term: u64,
    /// The edges, ordered by id.
    pub edges: Vec<Edge>,
}

/// One source and one destination. The source is the registry at which the edge runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Stable for the life of the policy: a hash of the policy's namespace and name and of the two registries' names,
    /// so that it is the same in every cluster and across a restore. 16 to 64 characters of `[a-z0-9]`.
    pub id: String,
    /// The policy that it was compiled from.
    pub policy: PolicyRef,
    /// Name of the source Registry object.
    pub source: String,
    /// The other end.
    pub destination: Remote,
    /// What is covered.
    pub filters: Filters,
    /// Whether deletions travel.
    pub deletions: Deletions,
    /// What starts a run, beside the start and the hourly compare of an event edge.
    pub trigger: Trigger,
    /// True: nothing is read or written until it is false again.
    pub suspend: bool,
    /// The newest value of the annotation `regatta.dev/requested-at`: a value not seen before starts a full compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// The hash of a plan whose withheld deletions a person approved (annotation `regatta.dev/approve-deletions`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_plan: Option<String>,
}

/// The policy an edge belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
}

/// How the destination is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remote {
    /// Name of the destination Registry object. Its credentials are the files `<name>/credentials/username` and
    /// `password`, its CA `<name>/ca/ca.crt` below the replicator's directory of remotes; each may be absent.
    pub name: String,
    /// `https://host[:port]`, or `http://` where `insecure`.
    pub url: String,
    /// Plain HTTP, or TLS whose certificate is not verified, was asked for.
    #[serde(default)]
    pub insecure: bool,
}

/// Which repositories and tags an edge covers. Empty lists cover everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filters {
    /// Globs over repository names: `*` within a path component, `**` across components, `?` one character.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Globs over tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Whether what is deleted at the source is deleted at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Deletions {
    /// It is.
    #[default]
    Propagate,
    /// It stays there.
    Ignore,
}

/// What starts a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// The source's journal is followed.
    #[default]
    Event,
    /// Only `requestedAt`.
    Manual,
}

/// What an edge did and how it stands. Written by the replicator at most every few seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStatus {
    /// [`Edge::id`].
    pub id: String,
    /// [`PolicyRef::generation`] that this is about.
    pub policy_generation: i64,
    /// How it stands.
    pub state: EdgeState,
    /// [`Edge::requested_at`] of the last full compare that was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_request: Option<String>,
    /// When the replicator said this, by its clock. It says it again every half minute though nothing has changed, so
    /// that a replicator that is gone is not taken for one that has nothing to say. Absent from replicators that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
    /// When the destination was last known to be equal to its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync: Option<Timestamp>,
    /// When the last full compare ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_compare: Option<Timestamp>,
    /// The age in seconds of the oldest source change that is not yet at the destination; 0 where there is none.
    pub lag_seconds: u64,
    /// Tags and digests that are known to differ and wait.
    pub pending: u64,
    /// Those being worked on.
    pub in_flight: u64,
    /// Those that failed and will be tried again.
    pub failed: u64,
    /// What was done since the edge began.
    #[serde(default)]
    pub totals: Totals,
    /// The newest of [`Totals::drift_corrected`], newest first, at most ten: `repository:tag` or `repository@digest`, and
    /// what was done about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_drift: Vec<String>,
    /// The newest error, with the repository and reference that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Deletions that wait for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// Where this edge is in its source's journal, and in which store. Opaque but to the replicator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<DestinationCursor>,
}

/// How an edge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EdgeState {
    /// Not yet compared.
    Starting,
    /// A full compare is under way.
    Comparing,
    /// Following; the destination is equal to its source, or becoming so.
    Following,
    /// A manual edge that has nothing to do.
    Idle,
    /// Deletions wait for a person; sets go on.
    DeletionsWithheld,
    /// The destination or the source cannot be reached, or refuses. Tried again by itself.
    Failing,
    /// `suspend: true`.
    Suspended,
}

/// What was done since the edge began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Blobs that were sent, mounts aside.
    pub blobs: u64,
    /// Blobs that were mounted from a sibling repository.
    pub mounted: u64,
    /// Bytes of blobs that were sent.
    pub bytes: u64,
    /// Manifests that were put.
    pub manifests: u64,
    /// Tags that were set.
    pub tags_set: u64,
    /// Tags and digests that were deleted.
    pub deleted: u64,
    /// Changes found at the destination that had not come from the source, and were put right.
    pub drift_corrected: u64,
}

/// Deletions that were planned and not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withheld {
    /// Why.
    pub reason: WithheldReason,
    /// SHA-256 of the planned deletions, lower-case hex: the value that approves them.
    pub plan_hash: String,
    /// How many.
    pub deletions: u64,
    /// Up to ten of them, as `repository:tag` or `repository@digest`.
    pub sample: Vec<String>,
}

/// Why deletions wait for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WithheldReason {
    /// The edge's first compare met a destination that has more than its source.
    FirstCompare,
    /// The source's store is another one than at the last compare: replaced or restored.
    SourceStoreChanged,
    /// The destination's cursor is ahead of the source's log: the source was restored from a backup.
    SourceRestored,
    /// What is covered at the source is suddenly empty.
    SourceEmpty,
}

/// Where an edge is in its source's journal; kept at the runner's registry and, where it is a Regatta, at the
/// destination (`/v2/_regatta/replication/cursor/<edge id>`, replicators only). The lesser counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationCursor {
    /// The identity of the source's store.
    pub store: String,
    /// [`super::JournalPage::cursor`].
    pub cursor: String,
    /// Whether a full compare has ended since the edge began: deletions are withheld until then.
    pub compared: bool,
}
