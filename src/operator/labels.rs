//! Names and labels of what the operator makes.
//!
//! Never `app.kubernetes.io/instance`, and never a copy of the owner's labels or annotations: Argo CD would take the
//! children for its own and prune them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use sha2::{Digest, Sha256};

use super::conditions::shorten;
use crate::api::{LABEL_REGISTRY, LABEL_REGISTRY_UID};

/// The field manager of everything that the operator applies.
pub const MANAGER: &str = "regatta";

/// Who made an object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What an object is part of.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";

/// What an object is.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";

/// The most characters of a label's value.
const LONGEST_VALUE: usize = 63;

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

/// An object's name as a label's value, which has at most 63 characters and ends in a letter or a digit. A longer name is
/// cut and ends in a hash of the whole, so that no two are told apart only behind the cut.
pub fn label_value(name: &str) -> String {
    if name.len() <= LONGEST_VALUE {
        return name.to_owned();
    }
    let hash = hex::encode(&Sha256::digest(name)[..4]);
    let head = shorten(name, LONGEST_VALUE - hash.len() - 1);
    format!("{}-{hash}", head.trim_end_matches(['-', '.']))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_name_is_its_own_label_and_long_ones_stay_apart() {
        assert_eq!(label_value("team.a-1"), "team.a-1");
        let common = "a".repeat(70);
        assert_ne!(label_value(&format!("{common}b")), label_value(&format!("{common}c")));
        assert_eq!(label_value(&format!("{}-{}", "a".repeat(53), "b".repeat(20))).len(), 62);
    }

    proptest! {
        /// As the API server has it: `(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?`, of at most 63 characters.
        #[test]
        fn any_name_makes_a_label_that_the_api_server_takes(name in "[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?") {
            let value = label_value(&name);
            prop_assert!(value.len() <= 63, "{value}");
            prop_assert!(value.starts_with(|c: char| c.is_ascii_alphanumeric()), "{value}");
            prop_assert!(value.ends_with(|c: char| c.is_ascii_alphanumeric()), "{value}");
        }
    }
}
