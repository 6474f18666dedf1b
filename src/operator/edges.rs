//! The edges that run at each registry: a document of its own, put through the registry's internal port, and what its
//! replicator reports, read back from there.

pub mod board;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::mpsc::UnboundedReceiver;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};

use super::access::target_of;
use super::bus::Guarded;
use super::context::Context;
use super::driver::{Unsettled, run_loop, unsettled};
use super::failure::Failure;
use super::reach::{self, Pod, Target};
use super::registry::validate::is_managed_here;
use super::replication_policy;
use crate::admin::client::ClientError;
use crate::admin::{Edge, EdgesDocument, ProblemCode};
use crate::api::Registry;
use crate::api::conditions::reason;
use board::EdgesReport;

/// How often a replicator's report is read while there are edges.
const POLL: Duration = Duration::from_secs(3);

/// How often the document is planned anew because another one came between.
const ATTEMPTS: usize = 5;

/// Brings the edges of every registry that the queue names up to date, for ever.
pub async fn drive(
    context: Arc<Context>,
    store: Store<Guarded<Registry>>,
    queue: UnboundedReceiver<ObjectRef<Guarded<Registry>>>,
) {
    run_loop("EdgesDocument".to_owned(), context, store, queue, |object, context| {
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
    let wanted = replication_policy::edges_of(&context.caches, &context.settings, &target.namespace, &target.name);
    let key = format!("edges/{}", target.uid);
    let again = if wanted.is_empty() { context.resync() } else { POLL };
    match publish(context, &target, wanted).await {
        Ok(report) => {
            context.succeeded(&key);
            note(context, &target, report);
            Ok(Action::requeue(again))
        }
        Err(failure) => {
            note(context, &target, EdgesReport::Unreachable { message: failure.to_string() });
            Err(unsettled(context, &key, &failure))
        }
    }
}

fn note(context: &Context, target: &Target, report: EdgesReport) {
    if context.edges.put(&target.uid, report) {
        for policy in context.caches.policies_in(&target.namespace) {
            context.bus.policy(&target.namespace, &policy.name_any());
        }
    }
}

async fn publish(context: &Context, target: &Target, wanted: Vec<Edge>) -> Result<EdgesReport, Failure> {
    let keys = reach::keys(context, target).await?;
    let pods = reach::pods(context, target, &keys)?;
    let Some((pod, mut current)) = first_answer(context, target, &pods).await? else {
        return Err(Failure::waiting(Duration::from_secs(5), reason::NO_PODS, "no pod of the registry is there yet"));
    };
    for _ in 0..ATTEMPTS {
        if current.edges == wanted {
            let statuses = if wanted.is_empty() { vec![] } else { pod.client.edge_statuses().await? };
            return Ok(EdgesReport::placed(wanted, statuses));
        }
        let document = EdgesDocument { generation: current.generation + 1, edges: wanted.clone() };
        current = match pod.client.put_edges(current.generation, &document).await {
            Ok(taken) => {
                context.metrics.published("edges");
                taken
            }
            Err(error) if error.code() == Some(ProblemCode::GenerationMismatch) => {
                pod.client.edges(None, Duration::ZERO).await?
            }
            Err(error) => return Err(error.into()),
        };
    }
    Err(Failure::waiting(POLL, reason::NOT_ACKNOWLEDGED, "the edges document changes faster than it can be written"))
}

/// One pod suffices: the document lies in the store that all share.
async fn first_answer<'a>(
    context: &Context,
    target: &Target,
    pods: &'a [Pod],
) -> Result<Option<(&'a Pod, EdgesDocument)>, Failure> {
    let mut last: Option<ClientError> = None;
    for pod in pods {
        match pod.client.edges(None, Duration::ZERO).await {
            Ok(document) => return Ok(Some((pod, document))),
            Err(error) => last = Some(error),
        }
    }
    if last.as_ref().and_then(ClientError::code) == Some(ProblemCode::Unauthorized) {
        reach::forget_keys(context, target);
    }
    last.map_or(Ok(None), |error| Err(error.into()))
}
