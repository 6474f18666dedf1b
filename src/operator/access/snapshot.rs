//! What a document is compiled from: the caches, or, when a store knows better, a fresh list.

use std::collections::BTreeMap;

use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::compile::Input;
use super::robots;
use crate::admin::Claim;
use crate::api::{Project, RoleBinding};
use crate::operator::caches::Shared;
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::reach::Target;
use crate::operator::role_binding::validate::robot_secrets;
use crate::operator::secrets;

/// Where Projects and RoleBindings come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The caches, all of which have finished their first list.
    Caches,
    /// The API server, now.
    Fresh,
}

/// What a document is compiled from.
pub async fn input(context: &Context, target: &Target, source: Source, claims: Vec<Claim>) -> Result<Input, Failure> {
    let (projects, bindings) = match source {
        Source::Caches => {
            (context.caches.projects_in(&target.namespace), context.caches.bindings_in(&target.namespace))
        }
        Source::Fresh => (list(context, &target.namespace).await?, list(context, &target.namespace).await?),
    };
    let projects: Vec<Shared<Project>> = projects
        .into_iter()
        .filter(|project: &Shared<Project>| project.spec.registry_ref.name == target.name && is_alive(&**project))
        .collect();
    let of_these = |binding: &Shared<RoleBinding>| {
        projects.iter().any(|project| project.name_any() == binding.spec.project_ref.name) && is_alive(&**binding)
    };
    let all: Vec<Shared<RoleBinding>> = bindings;
    let bindings: Vec<Shared<RoleBinding>> = all.iter().filter(|binding| of_these(binding)).cloned().collect();
    let robots = robot_fingerprints(context, target, &all, &bindings).await?;
    Ok(Input { registry: target.uid.clone(), projects, bindings, robots, claims })
}

fn is_alive<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}

async fn list<K>(context: &Context, namespace: &str) -> Result<Vec<Shared<K>>, Failure>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api = Api::<DeserializeGuard<K>>::namespaced(context.client.clone(), namespace);
    let found = api.list(&ListParams::default()).await?;
    Ok(found.items.into_iter().filter_map(|object| object.0.ok().map(Shared::from)).collect())
}

/// Every robot's Secret is read before anything is compiled: what cannot be read now must not be revoked by it.
async fn robot_fingerprints(
    context: &Context,
    target: &Target,
    all: &[Shared<RoleBinding>],
    bindings: &[Shared<RoleBinding>],
) -> Result<BTreeMap<(String, String), Vec<String>>, Failure> {
    let mut found = BTreeMap::new();
    let living: Vec<&RoleBinding> = all.iter().map(|binding| &**binding).filter(|binding| is_alive(*binding)).collect();
    let named: std::collections::BTreeSet<&str> = bindings
        .iter()
        .flat_map(|binding| &binding.spec.subjects)
        .filter_map(|subject| subject.robot.as_ref())
        .map(|robot| robot.name.as_str())
        .collect();
    for (robot, secret_name) in robot_secrets(&living) {
        if !named.contains(robot.as_str()) {
            continue;
        }
        let Some(secret) = secrets::get(context, &target.namespace, &secret_name).await? else { continue };
        let login = robots::login(&target.namespace, &robot);
        if let Some(value) = robots::read(&secret, &login).filter(|value| value.len() >= robots::LEAST_LENGTH) {
            found.insert((target.namespace.clone(), robot), vec![robots::fingerprint(&value)]);
        }
    }
    Ok(found)
}
