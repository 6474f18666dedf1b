//! status: whether the binding is in force. Once its content was acknowledged by every serving pod it stays so,
//! whatever else is published after, as long as Project and Registry are the same ones and the Project has its name.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::dereference::Found;
use crate::admin::OwnerRef;
use crate::api::conditions::reason;
use crate::api::{InForce, Project, Registry, RoleBinding, RoleBindingStatus};
use crate::operator::access::board::{AccessReport, Holder};
use crate::operator::access::compile;
use crate::operator::context::Context;
use crate::operator::driver::{Settled, Standing};
use crate::operator::failure::Failure;

/// SHA-256 of robots' secrets, by namespace and name.
type Fingerprints = BTreeMap<(String, String), Vec<String>>;

pub(super) fn not_managed(registry: &Registry) -> Failure {
    let message = format!(
        "the Project's Registry {} runs elsewhere: roles are bound in managed Registries only",
        registry.name_any()
    );
    Failure::stalled(reason::REGISTRY_NOT_MANAGED, message)
}

/// `known` is where it was said to be in force before; `status` gets where it is now.
pub(super) fn settle(
    context: &Context,
    binding: &RoleBinding,
    found: &Found,
    fingerprints: &Fingerprints,
    known: &[InForce],
    status: &mut RoleBindingStatus,
) -> Result<Settled, Failure> {
    let (name, uid) = (found.registry.name_any(), found.registry.uid().unwrap_or_default());
    let hash = compile::hash(binding, &uid, &found.project, fingerprints);
    let report = context.access.get(&uid);
    let (acknowledged, why, waiting) = match report {
        Some(AccessReport::InForce(in_force)) => {
            if let Holder::Another(owner) = in_force.holder(&found.project) {
                return Err(name_taken(&found.project, owner));
            }
            let acknowledged = in_force.bindings.get(&binding.uid().unwrap_or_default()) == Some(&hash);
            (acknowledged, reason::NOT_ACKNOWLEDGED, "not yet in the access document".to_owned())
        }
        Some(AccessReport::Not { reason, message }) => (false, reason, message),
        None => (false, reason::NOT_ACKNOWLEDGED, "the registry has not been asked yet".to_owned()),
    };
    let known = known.iter().find(|known| known.name == name && known.content == hash).cloned();
    let now = || InForce { name: name.clone(), since: whole_second(context), content: hash };
    match known.or_else(|| acknowledged.then(now)) {
        Some(in_force) => {
            status.registries = vec![in_force];
            Ok(Standing::ready(format!("in force in {name}")).into())
        }
        None => Ok(Standing::Progressing { ready: false, reason: why, message: waiting }.into()),
    }
}

fn name_taken(project: &Project, owner: &OwnerRef) -> Failure {
    let message = format!(
        "spec.projectRef names the Project {}, which does not hold its name {}: the Project {}/{} does; delete that \
         one, or bind the role in it",
        project.name_any(),
        project.spec.name,
        owner.namespace,
        owner.name
    );
    Failure::stalled(reason::NAME_TAKEN, message)
}

/// The API server keeps what it is given; a fraction of a second says nothing here.
fn whole_second(context: &Context) -> jiff::Timestamp {
    jiff::Timestamp::from_second(context.now().as_second()).unwrap_or_else(|_| context.now())
}
