//! The edges that run at each registry: a document of its own, put through the registry's internal port, and what its
//! replicator reports, read back from there.

pub mod board;

use std::time::Duration;

use kube::ResourceExt;

use super::context::Context;
use super::documents::Document;
use super::failure::Failure;
use super::reach::{self, Pod, Target};
use super::replication_policy;
use super::term;
use crate::admin::client::ClientError;
use crate::admin::{Edge, EdgesDocument, ProblemCode};
use crate::api::Registry;
use crate::api::conditions::reason;
use board::EdgesReport;

/// How often a replicator's report is read while there are edges.
const POLL: Duration = Duration::from_secs(3);

/// How often the document is planned anew because another one came between.
const ATTEMPTS: usize = 5;

/// The edges document of each registry.
pub struct Edges;

impl Document for Edges {
    const NAME: &'static str = "EdgesDocument";

    async fn bring_up(context: &Context, _registry: &Registry, target: &Target) -> Result<Duration, Failure> {
        let wanted = replication_policy::edges_of(&context.caches, &context.settings, &target.namespace, &target.name);
        let again = if wanted.is_empty() { context.resync() } else { POLL };
        let report = publish(context, target, wanted).await?;
        note(context, target, report);
        Ok(again)
    }

    fn failed(context: &Context, target: &Target, failure: &Failure) {
        note(context, target, EdgesReport::Unreachable { message: failure.to_string() });
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
        let term = term::of(context, target, &pods, &pod.client.access().await?).await?;
        let document = EdgesDocument { generation: current.generation + 1, term, edges: wanted.clone() };
        current = match pod.client.put_edges(current.generation, &document).await {
            Ok(taken) => {
                context.metrics.published("edges");
                taken
            }
            Err(error) if error.code() == Some(ProblemCode::GenerationMismatch) => {
                pod.client.edges(None, Duration::ZERO).await?
            }
            Err(error) => return Err(term::refused(context, error)),
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
