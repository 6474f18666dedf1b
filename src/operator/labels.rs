//! Names and labels of what the operator makes.
//!
//! Never `app.kubernetes.io/instance`, and never a copy of the owner's labels or annotations: Argo CD would take the
//! children for its own and prune them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use crate::api::{LABEL_REGISTRY, LABEL_REGISTRY_UID};

/// The field manager of everything that the operator applies.
pub const MANAGER: &str = "regatta";

/// Who made an object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What an object is part of.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";

/// What an object is.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";

/// The parts of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The serving pods.
    Registry,
    /// The replicator.
    Replicator,
    /// A collection's Job.
    Collector,
}

impl Component {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Replicator => "replicator",
            Self::Collector => "collector",
        }
    }
}

/// `<name>-registry`: the name of the serving Deployment, its Service, claim, service account and budget.
pub fn registry_child(registry: &str) -> String {
    format!("{registry}-registry")
}

/// `<name>-registry-keys`
pub fn keys_secret(registry: &str) -> String {
    format!("{registry}-registry-keys")
}

/// `<name>-registry-replicator`: the generated credentials, and the replicator's Deployment.
pub fn replicator_child(registry: &str) -> String {
    format!("{registry}-registry-replicator")
}

/// `<name>-registry-external`: the Service that clients outside the cluster reach.
pub fn external_service(registry: &str) -> String {
    format!("{registry}-registry-external")
}

/// The server's name in its internal certificate.
pub fn server_name(registry: &str, namespace: &str) -> String {
    format!("{}.{namespace}.svc", registry_child(registry))
}

/// The labels by which pods are found: these never change.
pub fn selector(registry: &str, component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_REGISTRY.to_owned(), registry.to_owned()),
        (LABEL_COMPONENT.to_owned(), component.as_str().to_owned()),
    ])
}

/// The labels of a child.
pub fn labels(registry: &str, uid: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector(registry, component);
    labels.insert(LABEL_REGISTRY_UID.to_owned(), uid.to_owned());
    labels.insert(LABEL_NAME.to_owned(), "regatta".to_owned());
    labels.insert(LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// A reference to the owner of a child.
pub fn owner_reference<K: Resource<DynamicType = ()>>(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
