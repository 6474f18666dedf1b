//! RoleBinding: a grant in a registry's access document, and the Secrets of its robots.

mod apply;
mod build;
mod dereference;
mod status;
pub mod validate;

use kube::ResourceExt;

use super::conditions::requested_at;
use super::context::Context;
use super::driver::{Kind, Settled, Standing};
use super::failure::Failure;
use super::project::{Whose, whose};
use crate::api::conditions::reason;
use crate::api::{InForce, RoleBinding, RoleBindingStatus};

impl Kind for RoleBinding {
    type Status = RoleBindingStatus;

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    async fn steps(&self, context: &Context, status: &mut Self::Status) -> Result<Settled, Failure> {
        status.last_handled_request = requested_at(self.annotations());
        // Whatever ends this: what was not found to be in force is not said to be. Only who could not look says nothing.
        let known = std::mem::take(&mut status.registries);
        let outcome = look(self, context, &known, status).await;
        if let Err(Failure::Kubernetes(_) | Failure::Registry(_) | Failure::Json(_)) = &outcome {
            status.registries = known;
        }
        outcome
    }
}

async fn look(
    binding: &RoleBinding,
    context: &Context,
    known: &[InForce],
    status: &mut RoleBindingStatus,
) -> Result<Settled, Failure> {
    let found = dereference::referred(context, binding)?;
    let registry = match whose(context, &found.registry) {
        Whose::Delegated { home } => {
            let message = format!("looked after by the operator of cluster {home}");
            return Ok(Standing::Ready { reason: reason::DELEGATED, message }.into());
        }
        Whose::External => return Err(status::not_managed(&found.registry)),
        Whose::Ours(registry) => registry,
    };
    let all: Vec<&RoleBinding> = found.bindings.iter().map(|binding| &**binding).collect();
    let robots = validate::robots(binding, &all)?;
    let wanted = build::pull_secrets(binding, &registry, &robots, &context.settings)?;
    let mut fingerprints = apply::pull_secrets(context, binding, &registry, wanted).await?;
    fingerprints.extend(dereference::other_robots(context, binding, &found.bindings, &robots).await?);
    status::settle(context, binding, &found, &fingerprints, known, status)
}
