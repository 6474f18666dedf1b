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
use crate::api::{RoleBinding, RoleBindingStatus};

impl Kind for RoleBinding {
    type Status = RoleBindingStatus;

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    async fn steps(&self, context: &Context, status: &mut Self::Status) -> Result<Settled, Failure> {
        status.last_handled_request = requested_at(self.annotations());
        let found = dereference::referred(context, self)?;
        let registry = match whose(context, &found.registry) {
            Whose::Delegated { home } => {
                status.registries.clear();
                let message = format!("looked after by the operator of cluster {home}");
                return Ok(Standing::Ready { reason: reason::DELEGATED, message }.into());
            }
            Whose::External => return Err(status::not_managed(&found.registry)),
            Whose::Ours(registry) => registry,
        };
        let all: Vec<&RoleBinding> = found.bindings.iter().map(|binding| &**binding).collect();
        let robots = validate::robots(self, &all)?;
        let wanted = build::pull_secrets(self, &registry, &robots, &context.settings)?;
        let fingerprints = apply::pull_secrets(context, self, &registry, wanted).await?;
        let others = dereference::other_robots(context, self, &found.bindings, &robots).await?;
        Ok(status::settle(context, self, &found, fingerprints, others, status))
    }
}
