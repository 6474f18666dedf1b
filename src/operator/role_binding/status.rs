//! status: whether the binding is in force. Once its content was acknowledged by every serving pod it stays so,
//! whatever else is published after.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::dereference::Found;
use crate::api::conditions::reason;
use crate::api::{InForce, Registry, RoleBinding, RoleBindingStatus};
use crate::operator::access::board::AccessReport;
use crate::operator::access::compile;
use crate::operator::context::Context;
use crate::operator::driver::{Settled, Standing};
use crate::operator::failure::Failure;

type Fingerprints = BTreeMap<(String, String), Vec<String>>;

pub(super) fn not_managed(registry: &Registry) -> Failure {
    let message = format!(
        "the Project's Registry {} runs elsewhere: roles are bound in managed Registries only",
        registry.name_any()
    );
    Failure::stalled(reason::REGISTRY_NOT_MANAGED, message)
}

pub(super) fn settle(
    context: &Context,
    binding: &RoleBinding,
    found: &Found,
    mut fingerprints: Fingerprints,
    others: Fingerprints,
    status: &mut RoleBindingStatus,
) -> Settled {
    fingerprints.extend(others);
    let hash = compile::hash(binding, &found.project.spec.name, &fingerprints);
    let name = found.registry.name_any();
    status.registries.retain(|registry| registry.name == name && registry.content == hash);
    let message = format!("in force in {name}");
    if !status.registries.is_empty() {
        return Standing::ready(message).into();
    }
    let (why, waiting) = match context.access.get(&found.registry.uid().unwrap_or_default()) {
        Some(AccessReport::InForce(in_force)) => {
            if in_force.bindings.get(&binding.uid().unwrap_or_default()) == Some(&hash) {
                status.registries = vec![InForce { name, since: whole_second(context), content: hash }];
                return Standing::ready(message).into();
            }
            (reason::NOT_ACKNOWLEDGED, "not yet in the access document".to_owned())
        }
        Some(AccessReport::Not { reason, message }) => (reason, message),
        None => (reason::NOT_ACKNOWLEDGED, "the registry has not been asked yet".to_owned()),
    };
    Standing::Progressing { ready: false, reason: why, message: waiting }.into()
}

/// The API server keeps what it is given; a fraction of a second says nothing here.
fn whole_second(context: &Context) -> jiff::Timestamp {
    jiff::Timestamp::from_second(context.now().as_second()).unwrap_or_else(|_| context.now())
}
