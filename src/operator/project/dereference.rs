//! dereference: the Registry, and who looks after it.

use kube::ResourceExt;

use crate::api::conditions::reason;
use crate::api::{Project, Registry};
use crate::operator::caches::Shared;
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::registry::validate::is_home;

/// Who looks after a Registry.
#[derive(Debug, Clone)]
pub enum Whose {
    /// This operator: it deploys it.
    Ours(Box<Registry>),
    /// The operator of another cluster.
    Delegated {
        /// That cluster.
        home: String,
    },
    /// Nobody here: it is only reached.
    External,
}

/// Who looks after a Registry.
pub fn whose(context: &Context, registry: &Registry) -> Whose {
    if !is_home(registry, &context.settings) {
        return Whose::Delegated { home: registry.spec.home_cluster.clone().unwrap_or_default() };
    }
    if registry.spec.managed.is_some() { Whose::Ours(Box::new(registry.clone())) } else { Whose::External }
}

/// The Registry of a Project. One that is not there may be on its way.
pub(super) fn registry(context: &Context, project: &Project) -> Result<Shared<Registry>, Failure> {
    let name = &project.spec.registry_ref.name;
    let key = format!("{}/registry", project.uid().unwrap_or_default());
    let Some(found) = context.caches.registry(&project.namespace().unwrap_or_default(), name) else {
        let message =
            format!("spec.registryRef names the Registry {name}, which does not exist in this namespace: make it");
        return Err(context.missing(&key, reason::REFERENCE_NOT_FOUND, message));
    };
    context.found(&key);
    Ok(found)
}
