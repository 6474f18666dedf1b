//! dereference: the Project, its Registry, and the other bindings of the namespace.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::validate::{NamedRobot, robot_secrets};
use crate::api::conditions::reason;
use crate::api::{Project, Registry, RoleBinding};
use crate::operator::access::robots;
use crate::operator::caches::Shared;
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::secrets;

/// What a binding refers to.
pub(super) struct Found {
    pub(super) project: Shared<Project>,
    pub(super) registry: Shared<Registry>,
    /// All bindings of the namespace that are not being deleted.
    pub(super) bindings: Vec<Shared<RoleBinding>>,
}

pub(super) fn referred(context: &Context, binding: &RoleBinding) -> Result<Found, Failure> {
    let namespace = binding.namespace().unwrap_or_default();
    let key = format!("{}/project", binding.uid().unwrap_or_default());
    let name = &binding.spec.project_ref.name;
    let Some(project) = context.caches.project(&namespace, name) else {
        let message =
            format!("spec.projectRef names the Project {name}, which does not exist in this namespace: make it");
        return Err(context.missing(&key, reason::REFERENCE_NOT_FOUND, message));
    };
    let name = &project.spec.registry_ref.name;
    let Some(registry) = context.caches.registry(&namespace, name) else {
        let message = format!("the Project's Registry {name} does not exist in this namespace: make it");
        return Err(context.missing(&key, reason::REFERENCE_NOT_FOUND, message));
    };
    context.found(&key);
    let mut bindings = context.caches.bindings_in(&namespace);
    bindings.retain(|other| other.metadata.deletion_timestamp.is_none());
    Ok(Found { project, registry, bindings })
}

/// Fingerprints of this binding's robots whose Secrets another binding looks after.
pub(super) async fn other_robots(
    context: &Context,
    binding: &RoleBinding,
    all: &[Shared<RoleBinding>],
    own: &[NamedRobot],
) -> Result<BTreeMap<(String, String), Vec<String>>, Failure> {
    let namespace = binding.namespace().unwrap_or_default();
    let all: Vec<&RoleBinding> = all.iter().map(|other| &**other).collect();
    let secret_names = robot_secrets(&all);
    let mut found = BTreeMap::new();
    for robot in binding.spec.subjects.iter().filter_map(|subject| subject.robot.as_ref()) {
        if own.iter().any(|named| named.name == robot.name) {
            continue;
        }
        let Some(secret_name) = secret_names.get(&robot.name) else { continue };
        let Some(secret) = secrets::get(context, &namespace, secret_name).await? else { continue };
        if let Some(value) = robots::read(&secret, &robots::login(&namespace, &robot.name)) {
            found.insert((namespace.clone(), robot.name.clone()), vec![robots::fingerprint(&value)]);
        }
    }
    Ok(found)
}
