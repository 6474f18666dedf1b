//! RoleBinding: a role in a project for users and robots.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::references::LocalRef;

/// Who has which role.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "regatta.dev",
    version = "v1alpha1",
    kind = "RoleBinding",
    plural = "registryrolebindings",
    singular = "registryrolebinding",
    shortname = "rrb",
    category = "regatta",
    namespaced,
    status = "RoleBindingStatus",
    derive = "PartialEq",
    doc = "A role in a project for users and robots.",
    printcolumn = r#"{"name":"Project", "type":"string", "jsonPath":".spec.projectRef.name"}"#,
    printcolumn = r#"{"name":"Role", "type":"string", "jsonPath":".spec.role"}"#,
    printcolumn = r#"{"name":"Message", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].message", "priority":1}"#,
    printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct RoleBindingSpec {
    /// The Project that the role is in. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.projectRef cannot be changed; make a new RoleBinding"))]
    pub project_ref: LocalRef,
    /// What the subjects may do.
    pub role: RoleName,
    /// Whose the role is.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub subjects: Vec<SubjectSpec>,
}

/// The five roles, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoleName {
    /// Today the same as maintainer; what will concern the project itself is for this role alone.
    ProjectAdmin,
    /// Push and delete.
    Maintainer,
    /// Push.
    Developer,
    /// Pull and list.
    Guest,
    /// Pull by name.
    LimitedGuest,
}

/// A user or a robot: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.user) != has(self.robot)")
    .message("each of spec.subjects must have exactly one of user and robot"))]
pub struct SubjectSpec {
    /// A user of the registry's htpasswd file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserSubject>,
    /// A robot of this namespace, with credentials that the operator makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robot: Option<RobotSubject>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserSubject {
    /// The name to log in with.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[^:+[:space:][:cntrl:]]+$')")
        .message("spec.subjects[].user.name must not have ':', '+' or white space: those are for robots and the system"))]
    pub name: String,
}

/// A robot. It logs in as `robot+<namespace>+<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RobotSubject {
    /// Its name, one identity in this namespace and registry: bindings that name it add up.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The Secret with its credentials, of type kubernetes.io/dockerconfigjson. One that is there already is taken
    /// as it is; otherwise it is made. Exactly one of the bindings that name a robot says which Secret it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<LocalRef>,
}

/// How a binding stands.
#[derive(Debug, Clone, PartialEq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleBindingStatus {
    /// The generation that this is about; -1 before the operator saw the object.
    #[serde(default)]
    pub observed_generation: i64,
    /// The newest value of the annotation regatta.dev/requested-at that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request: Option<String>,
    /// The registries in which it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub registries: Vec<InForce>,
    /// Ready, Reconciling, Stalled.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A registry in which a binding is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InForce {
    /// Name of the Registry.
    #[schemars(length(max = 253))]
    pub name: String,
    /// When every serving pod had acknowledged this content.
    #[schemars(with = "Time")]
    pub since: Timestamp,
    /// A hash of the content that was acknowledged.
    #[schemars(length(max = 64))]
    pub content: String,
}
