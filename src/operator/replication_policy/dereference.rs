//! dereference: the Registries that a topology names.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::topology::Pair;
use crate::api::conditions::reason;
use crate::api::{Registry, ReplicationPolicy};
use crate::operator::caches::Shared;
use crate::operator::context::Context;
use crate::operator::failure::Failure;

/// By name. One that is not there may be on its way.
pub(super) fn registries(
    context: &Context,
    policy: &ReplicationPolicy,
    namespace: &str,
    pairs: &[Pair],
) -> Result<BTreeMap<String, Shared<Registry>>, Failure> {
    let key = format!("{}/registries", policy.uid().unwrap_or_default());
    let mut found = BTreeMap::new();
    for name in pairs.iter().flat_map(|pair| [&pair.source, &pair.destination]) {
        let Some(registry) = context.caches.registry(namespace, name) else {
            let message =
                format!("spec.topology names the Registry {name}, which does not exist in this namespace: make it");
            return Err(context.missing(&key, reason::REFERENCE_NOT_FOUND, message));
        };
        found.insert(name.clone(), registry);
    }
    context.found(&key);
    Ok(found)
}
