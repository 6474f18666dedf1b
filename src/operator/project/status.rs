//! status: whether the project is in the access document that is in force.

use kube::ResourceExt;

use super::dereference::{Whose, whose};
use crate::admin::OwnerRef;
use crate::api::conditions::{READY, reason};
use crate::api::{Project, Registry};
use crate::operator::access::board::AccessReport;
use crate::operator::conditions::is_true;
use crate::operator::context::Context;
use crate::operator::driver::{Settled, Standing};
use crate::operator::failure::Failure;

/// Whether the object was said to be ready as it is now: a new process has not heard from the registry yet.
pub(super) fn was_ready(project: &Project) -> bool {
    project.status.as_ref().is_some_and(|status| {
        Some(status.observed_generation) == project.metadata.generation && is_true(&status.conditions, READY)
    })
}

pub(super) fn settle(
    context: &Context,
    project: &Project,
    registry: &Registry,
    known_ready: bool,
) -> Result<Settled, Failure> {
    match whose(context, registry) {
        Whose::Delegated { home } => {
            let message = format!("looked after by the operator of cluster {home}");
            Ok(Standing::Ready { reason: reason::DELEGATED, message }.into())
        }
        Whose::External => {
            let message = format!(
                "spec.registryRef names the Registry {}, which runs elsewhere: Projects are made in managed Registries only",
                registry.name_any()
            );
            Err(Failure::stalled(reason::REGISTRY_NOT_MANAGED, message))
        }
        Whose::Ours(registry) => in_registry(context, project, &registry, known_ready).map(Settled::from),
    }
}

fn in_registry(
    context: &Context,
    project: &Project,
    registry: &Registry,
    known_ready: bool,
) -> Result<Standing, Failure> {
    let name = registry.name_any();
    let ready = || Standing::ready(format!("in force in {name}"));
    let report = context.access.get(&registry.uid().unwrap_or_default());
    let (why, message) = match report {
        Some(AccessReport::InForce(in_force)) => match in_force.projects.get(&project.spec.name) {
            Some((owner, public)) if is_owner(owner, project) && *public == project.spec.public => return Ok(ready()),
            Some((owner, _)) if !is_owner(owner, project) => return Err(taken(project, owner)),
            Some(_) | None => (reason::NOT_ACKNOWLEDGED, "not yet in the access document".to_owned()),
        },
        Some(AccessReport::Not { reason, message }) => (reason, message),
        None => (reason::NOT_ACKNOWLEDGED, "the registry has not been asked yet".to_owned()),
    };
    if known_ready {
        return Ok(ready());
    }
    Ok(Standing::Progressing { ready: false, reason: why, message })
}

fn is_owner(owner: &OwnerRef, project: &Project) -> bool {
    Some(&owner.uid) == project.metadata.uid.as_ref()
}

fn taken(project: &Project, owner: &OwnerRef) -> Failure {
    let message = format!(
        "spec.name {} is held by the Project {}/{}: delete that one, or make this one with another name",
        project.spec.name, owner.namespace, owner.name
    );
    Failure::stalled(reason::NAME_TAKEN, message)
}
