//! The access document: Projects and RoleBindings of a registry, compiled and put to every one of its pods.
//!
//! The registry's store allocates generations and terms ("Why nothing is un-revoked" in docs/explanation/access.md):
//! this operator reads generation G, puts G+1 with `If-Match: G`, and on 412 lists afresh, compiles anew and tries
//! again. A document of a lower term than the greatest is refused; then another process leads, and this one ends.

pub mod board;
pub mod compile;
mod publish;
pub mod robots;
mod snapshot;

use std::time::Duration;

use kube::ResourceExt;

use super::context::Context;
use super::documents::Document;
use super::failure::Failure;
use super::reach::Target;
use crate::api::Registry;
use board::AccessReport;
pub use publish::Published;

/// The access document of each registry.
pub struct Access;

impl Document for Access {
    const NAME: &'static str = "AccessDocument";

    async fn bring_up(context: &Context, registry: &Registry, target: &Target) -> Result<Duration, Failure> {
        let in_force = publish::publish(context, registry, target).await?;
        report(context, target, AccessReport::InForce(in_force));
        Ok(context.resync())
    }

    fn failed(context: &Context, target: &Target, failure: &Failure) {
        report(context, target, AccessReport::of(failure));
    }
}

/// Notes the report, and tells those whose status it is about.
fn report(context: &Context, target: &Target, report: AccessReport) {
    if !context.access.put(&target.uid, report) {
        return;
    }
    context.bus.registry(&target.namespace, &target.name);
    for project in context.caches.projects_in(&target.namespace) {
        if project.spec.registry_ref.name == target.name {
            context.bus.project(&target.namespace, &project.name_any());
        }
    }
    for binding in context.caches.bindings_in(&target.namespace) {
        context.bus.binding(&target.namespace, &binding.name_any());
    }
}
