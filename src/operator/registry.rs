//! Registry: a Deployment with its Service, claim, keys and budget, and the replicator where an edge runs here.

mod apply;
pub mod build;
mod dereference;
mod obstacle;
pub mod rolling;
mod status;
pub mod validate;

use kube::ResourceExt;

use super::context::Context;
use super::driver::{Kind, Settled};
use super::failure::Failure;
use super::replication_policy;
use crate::api::{Registry, RegistryStatus};
use validate::Plan;

impl Kind for Registry {
    type Status = RegistryStatus;

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    async fn steps(&self, context: &Context, status: &mut Self::Status) -> Result<Settled, Failure> {
        let namespace = self.namespace().unwrap_or_default();
        match validate::plan(self, &context.settings)? {
            Plan::Delegated(plan) => Ok(status::delegated(self, &plan, status)),
            Plan::External(plan) => {
                dereference::external(context, self, &plan).await?;
                Ok(status::external(self, &plan, status))
            }
            Plan::Managed(plan) => {
                status::access(self, context, &plan, status);
                if plan.suspend {
                    return Ok(status::suspended(self, &plan, status));
                }
                let remotes =
                    replication_policy::remotes_of(&context.caches, &context.settings, &namespace, &plan.name);
                let found = dereference::managed(context, &plan).await?;
                let strategy = validate::strategy(&plan, found.claim.as_ref())?;
                let image = context.rolling.choose(context, &plan, found.deployment.as_ref())?;
                let children = build::children(&plan, strategy, &image, &remotes);
                let applied = Box::pin(apply::all(context, &plan, children)).await?;
                let secrets = dereference::managed_secrets(context, &plan).await;
                let obstacle = obstacle::obstacle(context, &plan, &applied.deployment).await?;
                status::managed(self, &plan, &applied, secrets, obstacle, status)
            }
        }
    }
}
