//! ReplicationPolicy: a topology compiled to edges. Those whose source is at home here are put into that registry's
//! edges document (see `operator::edges`); here it is said how they stand.

mod build;
pub mod claims;
mod dereference;
pub mod drift;
mod status;
pub mod topology;
mod validate;

use kube::ResourceExt;

use super::context::Context;
use super::driver::{Kind, Settled};
use super::failure::Failure;
use crate::api::{ReplicationPolicy, ReplicationPolicyStatus};
pub use build::{RemoteMount, edges_of, remotes_of};

impl Kind for ReplicationPolicy {
    type Status = ReplicationPolicyStatus;

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn without_numbers(status: &Self::Status) -> Self::Status {
        status::without_numbers(status)
    }

    async fn steps(&self, context: &Context, status: &mut Self::Status) -> Result<Settled, Failure> {
        let namespace = self.namespace().unwrap_or_default();
        let pairs = topology::pairs(&self.spec.topology).map_err(|error| validate::refused(&error))?;
        validate::trigger(self.spec.trigger.as_ref())?;
        let registries = dereference::registries(context, self, &namespace, &pairs)?;
        let policies = context.caches.policies_in(&namespace);
        let claims = claims::Claims::of(policies.iter().map(|policy| &**policy));
        let placed = validate::placed(&self.name_any(), &pairs, &registries, &claims, &context.settings)?;
        let (settled, corrections) = status::settle(context, self, &placed, status);
        let again = drift::tell(context, self, &corrections).await;
        let again = settled.again.into_iter().chain(again).min();
        Ok(Settled { again, ..settled })
    }
}
