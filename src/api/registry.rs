//! Registry: an OCI registry that the operator deploys (`managed`), or one that runs elsewhere (`external`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::references::LocalRef;

/// What a registry should be.
#[derive(Debug, Clone, PartialEq, Default, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "regatta.dev",
    version = "v1alpha1",
    kind = "Registry",
    plural = "registries",
    shortname = "reg",
    category = "regatta",
    namespaced,
    status = "RegistryStatus",
    derive = "PartialEq",
    doc = "An OCI registry: one that the operator deploys (managed), or one that runs elsewhere (external).",
    printcolumn = r#"{"name":"URL", "type":"string", "jsonPath":".status.url"}"#,
    printcolumn = r#"{"name":"Replicas", "type":"integer", "jsonPath":".status.readyReplicas"}"#,
    printcolumn = r#"{"name":"Home", "type":"string", "jsonPath":".spec.homeCluster", "priority":1}"#,
    printcolumn = r#"{"name":"Message", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].message", "priority":1}"#,
    printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason", "type":"string", "jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name of a Registry must be at most 40 characters of a-z, 0-9 and '-', and begin with a letter: its Service is named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.homeCluster) || has(self.managed) != has(self.external)")
        .message("exactly one of spec.managed and spec.external must be set; both only together with spec.homeCluster"),
    validation = Rule::new("!has(self.homeCluster) || (has(self.managed) && has(self.external))")
        .message("spec.homeCluster needs both spec.managed, which its home uses, and spec.external, which all other clusters use"),
    validation = Rule::new("has(self.homeCluster) == has(oldSelf.homeCluster) && (!has(self.homeCluster) || self.homeCluster == oldSelf.homeCluster)")
        .message("spec.homeCluster cannot be changed; make a new Registry and replicate to it"),
    validation = Rule::new("has(self.managed) == has(oldSelf.managed)")
        .message("spec.managed cannot be added or removed; make a new Registry and replicate to it"),
    validation = Rule::new("!has(self.managed) || !has(oldSelf.managed) || has(self.managed.storage.existingClaim) == has(oldSelf.managed.storage.existingClaim)")
        .message("spec.managed.storage cannot be changed to another kind of storage; make a new Registry and replicate to it"),
)]
pub struct RegistrySpec {
    /// The cluster that runs this registry, as its operator's --cluster-name has it. There `managed` is used, in all
    /// other clusters `external`, so that the same manifests go to every cluster. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub home_cluster: Option<String>,
    /// Where the registry is reached from outside its home, or that runs elsewhere altogether.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// The registry that the operator deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
    /// Whether the volume claim that the operator made goes with the Registry. Deleting the namespace deletes claims
    /// whatever this says.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// While true nothing of the deployment is changed. The access document is still brought up to date.
    #[serde(default)]
    pub suspend: bool,
}

/// A registry as it is reached from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.url.matches('^https?://([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?|[[][0-9a-fA-F:.]+[]])(:[0-9]{1,5})?$') && isURL(self.url) && (url(self.url).getPort() == '' || int(url(self.url).getPort()) <= 65535)")
        .message("spec.external.url must be https://host[:port], or http://host[:port] together with insecure, without a path"),
    validation = Rule::new("!self.url.startsWith('http://') || (has(self.insecure) && self.insecure)")
        .message("spec.external.url with http:// needs spec.external.insecure: true, because passwords travel readably"),
)]
pub struct External {
    /// `https://host[:port]`.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// A Secret of type kubernetes.io/basic-auth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalRef>,
    /// A Secret whose key `ca.crt` has the certificates to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
    /// Allow plain HTTP, and certificates that do not verify.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// A registry that the operator deploys.
#[derive(Debug, Clone, PartialEq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas <= 1 || !has(self.storage.claimTemplate) || self.storage.claimTemplate.accessModes.exists(m, m == 'ReadWriteMany')")
        .message("spec.managed.replicas greater than 1 needs 'ReadWriteMany' in spec.managed.storage.claimTemplate.accessModes"),
)]
pub struct Managed {
    /// How many pods serve. More than one needs storage that many nodes can write.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 32))]
    pub replicas: i32,
    /// The image; the operator's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^(([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?|[[][0-9a-fA-F:.]+[]])(:[0-9]{1,5})?/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?$')")
        .message("spec.managed.image must be an image's name, such as registry.example/regatta:0.1.0"))]
    pub image: Option<String>,
    /// What the registry's container asks for and may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where the data is kept.
    pub storage: Storage,
    /// How clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    /// The certificate that clients see; plain HTTP where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Who may log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

fn one() -> i32 {
    1
}

/// A container's resources.
#[derive(Debug, Clone, PartialEq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.requests) || !has(self.limits) || ['cpu', 'memory', 'ephemeral-storage'].all(r, !(r in self.requests) || !(r in self.limits) || !isQuantity(string(self.requests[r])) || !isQuantity(string(self.limits[r])) || quantity(string(self.requests[r])).compareTo(quantity(string(self.limits[r]))) <= 0)")
        .message("spec.managed.resources.requests must not be greater than spec.managed.resources.limits"),
)]
pub struct Resources {
    /// What is asked for, by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "additionalProperties" = amount()))]
    pub requests: BTreeMap<String, Quantity>,
    /// What may be used, by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "additionalProperties" = amount()))]
    pub limits: BTreeMap<String, Quantity>,
}

/// The schema of a quantity that is not negative. A rule of its own, so that what is refused is named by its place; and
/// no pattern, whose message would be the pattern.
fn amount() -> serde_json::Value {
    serde_json::json!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "isQuantity(string(self)) && !string(self).startsWith('-')",
            "message": "must be a quantity such as 500m or 512Mi",
        }],
    })
}

/// Where the data is kept: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.existingClaim) != has(self.claimTemplate)")
        .message("exactly one of spec.managed.storage.existingClaim and spec.managed.storage.claimTemplate must be set"),
)]
pub struct Storage {
    /// A PersistentVolumeClaim that is there already, and is never deleted. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.managed.storage.existingClaim cannot be changed; make a new Registry and replicate to it"))]
    pub existing_claim: Option<LocalRef>,
    /// The operator makes a claim like this, named `<name>-registry`. Cannot be changed, except that it may grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_template: Option<ClaimTemplate>,
}

/// A claim to make.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.accessModes == oldSelf.accessModes && has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName) && has(self.volumeName) == has(oldSelf.volumeName) && (!has(self.volumeName) || self.volumeName == oldSelf.volumeName)")
        .message("spec.managed.storage.claimTemplate cannot be changed, except that resources.requests.storage may grow"),
    validation = Rule::new("self.accessModes.all(m, m == 'ReadWriteOnce' || m == 'ReadWriteMany')")
        .message("spec.managed.storage.claimTemplate.accessModes may have ReadWriteOnce and ReadWriteMany only: with ReadWriteOncePod no collection could ever run"),
)]
pub struct ClaimTemplate {
    /// ReadWriteMany for more than one replica; ReadWriteOnce allows one.
    #[schemars(length(min = 1, max = 2), inner(length(max = 32)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub access_modes: Vec<String>,
    /// The cluster's default class where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// A particular volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub volume_name: Option<String>,
    /// Its size.
    pub resources: ClaimResources,
}

/// The size of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClaimResources {
    /// What is asked for.
    pub requests: ClaimRequests,
}

/// What a claim asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
pub struct ClaimRequests {
    /// A quantity of bytes, such as `100Gi`. May only grow.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
            .message("spec.managed.storage.claimTemplate.resources.requests.storage must be a quantity of bytes such as 100Gi"),
        validation = Rule::new("!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("spec.managed.storage.claimTemplate.resources.requests.storage may grow, never shrink"),
    )]
    pub storage: String,
}

/// What a volume's access mode means for a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// One node: one replica, replaced and not rolled.
    ReadWriteOnce,
    /// Many nodes.
    ReadWriteMany,
}

/// How clients reach the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// The Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceExposure>,
    /// The URL that clients use. Where absent, `external.url`, or else the Service's name in the cluster.
    #[serde(default, rename = "externalURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?|[[][0-9a-fA-F:.]+[]])(:[0-9]{1,5})?$') && isURL(self) && (url(self).getPort() == '' || int(url(self).getPort()) <= 65535)")
        .message("spec.managed.expose.externalURL must be https://host[:port] or http://host[:port], without a path"))]
    pub external_url: Option<String>,
}

/// The Service that clients reach.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.nodePort) || self.type != 'ClusterIP'")
    .message("spec.managed.expose.service.nodePort needs spec.managed.expose.service.type NodePort or LoadBalancer"))]
pub struct ServiceExposure {
    /// ClusterIP, NodePort or LoadBalancer.
    #[serde(default, rename = "type")]
    pub service_type: ServiceType,
    /// The port on every node; chosen by the cluster where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

/// Kinds of Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// In the cluster only.
    #[default]
    ClusterIP,
    /// A port on every node.
    NodePort,
    /// The cloud's load balancer.
    LoadBalancer,
}

/// The certificate that clients see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A Secret of type kubernetes.io/tls, polled for change.
    pub secret_ref: LocalRef,
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.admins) || self.admins.size() == 0 || has(self.htpasswdSecretRef)")
    .message("spec.managed.auth.admins are users of the htpasswd file: set spec.managed.auth.htpasswdSecretRef"))]
pub struct Auth {
    /// A Secret whose key `htpasswd` has users and bcrypt hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub htpasswd_secret_ref: Option<LocalRef>,
    /// Users of the htpasswd file who may do everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = r"^[^:\s]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub admins: Vec<String>,
    /// Who may replicate from and to this registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub replicators: Vec<Replicator>,
}

/// A replicator's credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replicator {
    /// A Secret of type kubernetes.io/basic-auth; the other side's `external.credentialsSecretRef` holds the same.
    pub secret_ref: LocalRef,
}

/// What happens to the operator's own volume claim when its Registry is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays; a Registry made again under the same name adopts it.
    #[default]
    Retain,
    /// It goes too.
    Delete,
}

/// How a registry stands.
#[derive(Debug, Clone, PartialEq, Default, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// The generation that this is about; -1 before the operator saw the object.
    #[serde(default)]
    pub observed_generation: i64,
    /// The newest value of the annotation regatta.dev/requested-at that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request: Option<String>,
    /// Where clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub url: Option<String>,
    /// Where the operator and the replicator reach it in the cluster.
    #[serde(default, rename = "internalURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub internal_url: Option<String>,
    /// The image that its pods run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// The version of the server, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Pods wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Pods ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The generation of the access document that is in force in every serving pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_generation: Option<i64>,
    /// Ready, Reconciling, Stalled, AccessInForce, and StoreConsistent where that is False.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}
