//! ReplicationPolicy: a topology of registries, compiled to edges.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::references::{Empty, LocalRef};

/// What replicates where.
#[derive(Debug, Clone, PartialEq, Eq, Default, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "regatta.dev",
    version = "v1alpha1",
    kind = "ReplicationPolicy",
    plural = "replicationpolicies",
    shortname = "rrp",
    category = "regatta",
    namespaced,
    status = "ReplicationPolicyStatus",
    derive = "PartialEq",
    doc = "A topology of registries and what is replicated along it.",
    printcolumn = r#"{"name":"Edges", "type":"integer", "jsonPath":".status.edgeCount"}"#,
    printcolumn = r#"{"name":"Lag", "type":"string", "jsonPath":".status.lag"}"#,
    printcolumn = r#"{"name":"Synced", "type":"string", "jsonPath":".status.conditions[?(@.type=='Synced')].status"}"#,
    printcolumn = r#"{"name":"Message", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].message", "priority":1}"#,
    printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationPolicySpec {
    /// Who replicates to whom.
    pub topology: Topology,
    /// What starts a run; `event` where absent. With `event` a full compare is done at the start, every hour, and on
    /// the annotation regatta.dev/requested-at; with `manual` only on that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerSpec>,
    /// What is covered; everything where absent. Of two policies that mirror different sources to the same
    /// repositories of a destination the first by name has it, and the other is Stalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<FilterSpec>,
    /// Whether what is deleted at a source is deleted at its destinations.
    #[serde(default)]
    pub deletions: DeletionMode,
    /// While true nothing is read or written.
    #[serde(default)]
    pub suspend: bool,
}

/// Who replicates to whom: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.fanOut) != has(self.tree)")
    .message("exactly one of spec.topology.fanOut and spec.topology.tree must be set"))]
pub struct Topology {
    /// One source, many destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_out: Option<FanOut>,
    /// Headquarters, province, city: each node replicates from its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
}

/// One source, many destinations.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.destinations.all(d, d.name != self.source.name)")
    .message("spec.topology.fanOut.destinations must not name the source: a registry does not replicate to itself"))]
pub struct FanOut {
    /// The Registry that is the authority.
    pub source: LocalRef,
    /// The Registries that are made equal to it.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub destinations: Vec<LocalRef>,
}

/// Nodes, each with its parent.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    /// The nodes. The root has no parentRef.
    #[schemars(length(min = 2, max = 128))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(n, !has(n.parentRef) || n.parentRef.name != n.registryRef.name)")
            .message("spec.topology.tree.nodes must not have a node that is its own parent"),
    )]
    pub nodes: Vec<TreeNode>,
}

/// A node of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TreeNode {
    /// The Registry of this node.
    pub registry_ref: LocalRef,
    /// The Registry that it replicates from; absent at the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<LocalRef>,
}

/// What starts a run: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.event) != has(self.manual)")
    .message("exactly one of spec.trigger.event and spec.trigger.manual must be set"))]
pub struct TriggerSpec {
    /// The source's journal is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Empty>,
    /// Only the annotation regatta.dev/requested-at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Empty>,
}

/// What is covered. Empty lists cover everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterSpec {
    /// Globs over repository names: `*` within a path component, `**` across components, `?` one character.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^[a-z0-9._/*?-]+$")))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(g, g.matches('^[a-z0-9*?]([a-z0-9._*?-]*[a-z0-9*?])?(/[a-z0-9*?]([a-z0-9._*?-]*[a-z0-9*?])?)*$') && !g.contains('..') && !g.contains('***'))")
            .message("each of spec.filters.repositories must be a glob that a repository path can fit, such as shop/** or */base: components of a-z, 0-9, '.', '_', '-', '*', '**' and '?', that begin and end with a letter, a digit, '*' or '?', separated by single '/'"),
    )]
    pub repositories: Vec<String>,
    /// Globs over tags: `*` any characters, `?` one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9._*?-]+$")))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(g, g.matches('^[A-Za-z0-9_*?]') && !g.contains('***'))")
            .message("each of spec.filters.tags must be a glob that a tag can fit, such as v1.* or latest: it begins with a letter, a digit, '_', '*' or '?', and has no more than two '*' in a row"),
    )]
    pub tags: Vec<String>,
}

/// Whether deletions travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionMode {
    /// They do.
    #[default]
    Propagate,
    /// What is deleted at the source stays at the destinations.
    Ignore,
}

/// How a policy stands.
#[derive(Debug, Clone, PartialEq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationPolicyStatus {
    /// The generation that this is about; -1 before the operator saw the object.
    #[serde(default)]
    pub observed_generation: i64,
    /// The newest value of the annotation regatta.dev/requested-at that every edge here has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request: Option<String>,
    /// How many edges the topology has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_count: Option<i32>,
    /// The greatest lag of the edges that run here, for people; at most 30 s old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub lag: Option<String>,
    /// The edges, by source and destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub edges: Vec<EdgeReport>,
    /// Ready, Reconciling, Stalled, Synced.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// How an edge stands. Numbers are at most 30 s old.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeReport {
    /// Stable for the life of the policy, and the same in every cluster.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Name of the source Registry.
    #[schemars(length(max = 253))]
    pub source: String,
    /// Name of the destination Registry.
    #[schemars(length(max = 253))]
    pub destination: String,
    /// Starting, Comparing, Following, Idle, DeletionsWithheld, Failing, Suspended, Delegated, Refused (another policy
    /// has the destination) or Unknown.
    #[schemars(length(max = 32))]
    pub state: String,
    /// The cluster whose operator runs the edge, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub runner: Option<String>,
    /// When the destination was last known to be equal to its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_sync: Option<Timestamp>,
    /// When the last full compare ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_compare: Option<Timestamp>,
    /// Age in seconds of the oldest source change that is not yet at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// Tags and digests that are known to differ and wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<i64>,
    /// Those being worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<i64>,
    /// Those that failed and will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<i64>,
    /// Bytes of blobs that were sent since the edge began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Blobs that were sent since the edge began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<i64>,
    /// Tags that were set since the edge began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags_set: Option<i64>,
    /// Tags and digests that were deleted since the edge began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<i64>,
    /// Changes at the destination that were put right since the edge began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_corrected: Option<i64>,
    /// The newest error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_error: Option<String>,
    /// Deletions that wait for the annotation regatta.dev/approve-deletions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<WithheldReport>,
}

/// Deletions that wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WithheldReport {
    /// FirstCompare, SourceStoreChanged, SourceRestored or SourceEmpty.
    #[schemars(length(max = 32))]
    pub reason: String,
    /// The value of the annotation that approves them.
    #[schemars(length(max = 64))]
    pub plan_hash: String,
    /// How many.
    pub deletions: i64,
    /// Some of them.
    #[schemars(length(max = 10), inner(length(max = 512)))]
    pub sample: Vec<String>,
}
