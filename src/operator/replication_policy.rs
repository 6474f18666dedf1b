//! ReplicationPolicy: a topology compiled to edges. Those whose source is at home here are put into that registry's
//! edges document (see `operator::edges`); here it is said how they stand.

mod build;
mod dereference;
mod status;
pub mod topology;
mod validate;

use kube::ResourceExt;

use super::conditions::StatusObject;
use super::context::Context;
use super::driver::{Kind, Settled};
use super::failure::Failure;
use crate::api::{ReplicationPolicy, ReplicationPolicyStatus};
pub use build::{RemoteMount, edges_of, remotes_of};

impl StatusObject for ReplicationPolicyStatus {
    fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
        &mut self.conditions
    }

    fn observe(&mut self, generation: i64) {
        self.observed_generation = generation;
    }

    fn without_numbers(&self) -> Self {
        status::without_numbers(self)
    }
}

impl Kind for ReplicationPolicy {
    type Status = ReplicationPolicyStatus;

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    async fn steps(&self, context: &Context, status: &mut Self::Status) -> Result<Settled, Failure> {
        let namespace = self.namespace().unwrap_or_default();
        let pairs = topology::pairs(&self.spec.topology).map_err(|error| validate::refused(&error))?;
        validate::trigger(self.spec.trigger.as_ref())?;
        let registries = dereference::registries(context, self, &namespace, &pairs)?;
        let placed = validate::placed(&pairs, &registries, &context.settings)?;
        Ok(status::settle(context, self, &placed, status))
    }
}
