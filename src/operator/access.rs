//! The access document: Projects and RoleBindings of a registry, compiled and put to every one of its pods.
//!
//! The registry's store allocates generations and terms (ACCESS rules, section 1): this operator reads generation G,
//! puts G+1 with `If-Match: G`, and on 412 lists afresh, compiles anew and tries again. A document of a lower term
//! than the greatest is refused; then another process leads, and this one ends.

pub mod board;
pub mod compile;
mod publish;
pub mod robots;
mod snapshot;

use std::sync::Arc;

use futures::FutureExt;
use futures::channel::mpsc::UnboundedReceiver;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};

use super::bus::Guarded;
use super::context::Context;
use super::driver::{Unsettled, run_loop, unsettled};
use super::failure::Failure;
use super::reach::Target;
use super::registry::validate::is_managed_here;
use crate::api::Registry;
use board::AccessReport;
pub use publish::Published;

/// Brings the access document of every registry that the queue names up to date, for ever.
pub async fn drive(
    context: Arc<Context>,
    store: Store<Guarded<Registry>>,
    queue: UnboundedReceiver<ObjectRef<Guarded<Registry>>>,
) {
    run_loop("AccessDocument".to_owned(), context, store, queue, |object, context| {
        async move { reconcile(&object, &context).await }.boxed()
    })
    .await;
}

async fn reconcile(object: &Guarded<Registry>, context: &Context) -> Result<Action, Unsettled> {
    let Ok(registry) = &object.0 else { return Ok(Action::await_change()) };
    if registry.metadata.deletion_timestamp.is_some() || !is_managed_here(registry, &context.settings) {
        return Ok(Action::await_change());
    }
    let target = target_of(registry);
    let key = format!("access/{}", target.uid);
    match publish::publish(context, registry, &target).await {
        Ok(in_force) => {
            context.succeeded(&key);
            report(context, &target, AccessReport::InForce(in_force));
            Ok(Action::requeue(context.resync()))
        }
        Err(failure) => {
            report(context, &target, AccessReport::of(&failure));
            Err(unsettled(context, &key, &failure))
        }
    }
}

/// The way to a Registry.
pub fn target_of(registry: &Registry) -> Target {
    Target {
        namespace: registry.namespace().unwrap_or_default(),
        name: registry.name_any(),
        uid: registry.uid().unwrap_or_default(),
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

/// Nobody leads twice.
fn not_leading(context: &Context, failure: &Failure) {
    context.end(&format!("a registry knows a newer leader: {failure}"));
}
