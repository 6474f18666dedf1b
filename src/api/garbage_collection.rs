//! GarbageCollection: frees what nothing reaches any more in a registry.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::collection_status::{CollectionRun, Counts, RunningCollection};
use super::references::LocalRef;

/// What is collected, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "regatta.dev",
    version = "v1alpha1",
    kind = "GarbageCollection",
    plural = "garbagecollections",
    shortname = "rgc",
    category = "regatta",
    namespaced,
    status = "GarbageCollectionStatus",
    derive = "PartialEq",
    doc = "Frees what nothing reaches any more in a registry. It runs when the annotation regatta.dev/requested-at gets a new value.",
    printcolumn = r#"{"name":"Registry", "type":"string", "jsonPath":".spec.registryRef.name"}"#,
    printcolumn = r#"{"name":"Last", "type":"string", "jsonPath":".status.conditions[?(@.type=='LastRunSucceeded')].status"}"#,
    printcolumn = r#"{"name":"Freed", "type":"integer", "jsonPath":".status.lastRun.bytesFreed"}"#,
    printcolumn = r#"{"name":"Message", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].message", "priority":1}"#,
    printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GarbageCollectionSpec {
    /// The Registry to collect.
    pub registry_ref: LocalRef,
    /// ReadOnly: the registry takes no pushes during a run.
    pub mode: CollectionMode,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Also collect manifests that no tag, index or referrer reaches.
    #[serde(default)]
    pub untagged: bool,
    /// What is younger than this is never touched. Such as 24h or 1h30m.
    #[serde(default = "a_day")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$')")
        .message("spec.gracePeriod must be a duration such as 24h, 1h30m or 0s, of at most 99999h"))]
    pub grace_period: String,
    /// What was condemned stays in the trash for so long before it is removed.
    #[serde(default = "a_day")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$')")
        .message("spec.undeleteWindow must be a duration such as 24h, 1h30m or 0s, of at most 99999h"))]
    pub undelete_window: String,
    /// While true no run is started.
    #[serde(default)]
    pub suspend: bool,
}

fn a_day() -> String {
    "24h".to_owned()
}

/// How a collection keeps clear of pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum CollectionMode {
    /// The registry takes no pushes during a run.
    #[default]
    ReadOnly,
}

/// How a collection stands.
#[derive(Debug, Clone, PartialEq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GarbageCollectionStatus {
    /// The generation that this is about; -1 before the operator saw the object.
    #[serde(default)]
    pub observed_generation: i64,
    /// The newest value of the annotation regatta.dev/requested-at whose run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request: Option<String>,
    /// The run that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningCollection>,
    /// The newest run that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<CollectionRun>,
    /// The newest runs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub history: Vec<CollectionRun>,
    /// Ready, Reconciling, Stalled, LastRunSucceeded.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}
