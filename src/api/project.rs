//! Project: a path prefix of repository names inside a registry.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::references::LocalRef;

/// What a project should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "regatta.dev",
    version = "v1alpha1",
    kind = "Project",
    plural = "registryprojects",
    singular = "registryproject",
    shortname = "rproj",
    category = "regatta",
    namespaced,
    status = "ProjectStatus",
    derive = "PartialEq",
    doc = "A path prefix of repository names inside a registry, with members and visibility of its own.",
    printcolumn = r#"{"name":"Registry", "type":"string", "jsonPath":".spec.registryRef.name"}"#,
    printcolumn = r#"{"name":"Project", "type":"string", "jsonPath":".spec.name"}"#,
    printcolumn = r#"{"name":"Public", "type":"boolean", "jsonPath":".spec.public"}"#,
    printcolumn = r#"{"name":"Message", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].message", "priority":1}"#,
    printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSpec {
    /// The Registry that it is in. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.registryRef cannot be changed; make a new Project"))]
    pub registry_ref: LocalRef,
    /// The prefix: covers the repository of this very name and all below it. Cannot be changed.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*)*$')")
            .message("spec.name must be a repository path: components of a-z and 0-9, joined inside by '.', '_', '__' or '-', and separated by '/'"),
        validation = Rule::new("self == oldSelf").message("spec.name cannot be changed; make a new Project"),
    )]
    pub name: String,
    /// Whether everybody may pull without logging in.
    #[serde(default)]
    pub public: bool,
}

/// How a project stands.
#[derive(Debug, Clone, PartialEq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    /// The generation that this is about; -1 before the operator saw the object.
    #[serde(default)]
    pub observed_generation: i64,
    /// The newest value of the annotation regatta.dev/requested-at that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request: Option<String>,
    /// The UID of the Registry that this is about: another one of its name knows nothing of the project yet.
    #[serde(default, rename = "registryUID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub registry_uid: Option<String>,
    /// Ready, Reconciling, Stalled.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}
