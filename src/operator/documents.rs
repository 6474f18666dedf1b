//! The loop that documents of registries share: each managed Registry that the queue names is brought up to date, what
//! came of it is reported, and it is looked at again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

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

/// A kind of document that each managed registry has.
pub trait Document {
    /// For logs and metrics.
    const NAME: &'static str;

    /// Brings the document of a registry up to date and reports how it stands. Says when to look again.
    fn bring_up(
        context: &Context,
        registry: &Registry,
        target: &Target,
    ) -> impl Future<Output = Result<Duration, Failure>> + Send;

    /// Reports that it could not be.
    fn failed(context: &Context, target: &Target, failure: &Failure);
}

/// Brings the documents of every registry that the queue names up to date, for ever.
pub async fn drive<D: Document>(
    context: Arc<Context>,
    store: Store<Guarded<Registry>>,
    queue: UnboundedReceiver<ObjectRef<Guarded<Registry>>>,
) {
    run_loop(D::NAME.to_owned(), context, store, queue, |object, context| {
        async move { reconcile::<D>(&object, &context).await }.boxed()
    })
    .await;
}

async fn reconcile<D: Document>(object: &Guarded<Registry>, context: &Context) -> Result<Action, Unsettled> {
    let Ok(registry) = &object.0 else { return Ok(Action::await_change()) };
    if registry.metadata.deletion_timestamp.is_some() || !is_managed_here(registry, &context.settings) {
        return Ok(Action::await_change());
    }
    let target = target_of(registry);
    let key = format!("{}/{}", target.uid, D::NAME);
    match D::bring_up(context, registry, &target).await {
        Ok(again) => {
            context.succeeded(&key);
            Ok(Action::requeue(again))
        }
        Err(failure) => {
            D::failed(context, &target, &failure);
            Err(unsettled(context, &key, &failure))
        }
    }
}

/// The way to a Registry.
fn target_of(registry: &Registry) -> Target {
    Target {
        namespace: registry.namespace().unwrap_or_default(),
        name: registry.name_any(),
        uid: registry.uid().unwrap_or_default(),
    }
}
