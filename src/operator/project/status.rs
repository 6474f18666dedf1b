//! status: whether the project is in the access document that is in force.

use kube::ResourceExt;

use super::dereference::{Whose, whose};
use crate::api::conditions::reason;
use crate::api::{Project, ProjectStatus, Registry};
use crate::operator::access::board::{AccessReport, Holder};
use crate::operator::conditions::was_ready;
use crate::operator::context::Context;
use crate::operator::driver::{Settled, Standing};
use crate::operator::failure::Failure;

/// Whether the object was said to be ready as it is now, in this very Registry: a new process has not heard from it
/// yet.
fn was_ready_in(project: &Project, registry: &Registry) -> bool {
    let same = project.status.as_ref().is_some_and(|status| status.registry_uid == registry.metadata.uid);
    same && was_ready(project.status.as_ref(), project.metadata.generation)
}

pub(super) fn settle(
    context: &Context,
    project: &Project,
    registry: &Registry,
    status: &mut ProjectStatus,
) -> Result<Settled, Failure> {
    status.registry_uid.clone_from(&registry.metadata.uid);
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
        Whose::Ours(registry) => in_registry(context, project, &registry).map(Settled::from),
    }
}

fn in_registry(context: &Context, project: &Project, registry: &Registry) -> Result<Standing, Failure> {
    let name = registry.name_any();
    let ready = || Standing::ready(format!("in force in {name}"));
    let report = context.access.get(&registry.uid().unwrap_or_default());
    let (why, message) = match report {
        Some(AccessReport::InForce(in_force)) => match in_force.holder(project) {
            Holder::This { public } if public == project.spec.public => return Ok(ready()),
            Holder::Another(owner) => {
                let message = format!(
                    "spec.name {} is held by the Project {}/{}: delete that one, or make this one with another name",
                    project.spec.name, owner.namespace, owner.name
                );
                return Err(Failure::stalled(reason::NAME_TAKEN, message));
            }
            Holder::This { .. } | Holder::Pending => {
                (reason::NOT_ACKNOWLEDGED, "not yet in the access document".to_owned())
            }
        },
        Some(AccessReport::Not { reason, message }) => (reason, message),
        None => (reason::NOT_ACKNOWLEDGED, "the registry has not been asked yet".to_owned()),
    };
    if was_ready_in(project, registry) {
        return Ok(ready());
    }
    Ok(Standing::Progressing { ready: false, reason: why, message })
}
