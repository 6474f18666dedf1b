//! What a run says of itself: in the termination message of its pod, or, where the pod is gone or had no room for all
//! of it, in the registry, which keeps the whole.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::dereference::given_up;
use super::status::{from_summary, without_summary};
use crate::admin::CollectionSummary;
use crate::api::conditions::reason;
use crate::api::{CollectionRun, Registry, RunningCollection};
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::reach::{self, Target};

/// When the registry is asked again.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// A Job that ended.
pub(super) struct Ended<'a> {
    /// The Job.
    pub(super) job: &'a Job,
    /// Whether it is complete; it has failed otherwise.
    pub(super) complete: bool,
    /// Those of its pods that are still there.
    pub(super) pods: &'a [Pod],
}

/// What the registry has of a run.
enum Kept {
    Whole(CollectionSummary),
    Nothing,
    /// It cannot be asked now.
    Unknown,
}

/// What a run did whose Job has ended; none where that is to be asked again.
pub(super) async fn of_ended(
    context: &Context,
    registry: &Registry,
    running: &RunningCollection,
    Ended { job, complete, pods }: &Ended<'_>,
) -> Option<CollectionRun> {
    let said = pods.iter().find_map(termination_message);
    let told = said.and_then(|said| serde_json::from_str::<CollectionSummary>(said).ok());
    if let Some(whole) = told.as_ref().filter(|told| !told.truncated) {
        return Some(from_summary(running, *complete, whole));
    }
    if let (None, Some(why)) = (said, given_up(job)) {
        return Some(without_summary(running, Some(job), false, why));
    }
    match kept(context, registry, running).await {
        Kept::Whole(whole) => Some(from_summary(running, *complete, &whole)),
        Kept::Unknown => None,
        Kept::Nothing => Some(match told {
            Some(cut) => from_summary(running, *complete, &cut),
            None => without_summary(running, Some(job), *complete, said.unwrap_or_else(|| unsaid(*complete))),
        }),
    }
}

fn unsaid(complete: bool) -> &'static str {
    if complete {
        "its Job is complete; what it did is not known, for its pod is gone and the registry has no summary of it"
    } else {
        "its pod left no summary"
    }
}

/// What a run did whose Job is gone; none where that is to be asked again.
pub(super) async fn of_deleted(
    context: &Context,
    registry: &Registry,
    running: &RunningCollection,
) -> Option<CollectionRun> {
    match kept(context, registry, running).await {
        Kept::Whole(whole) => Some(from_summary(running, true, &whole)),
        Kept::Unknown => None,
        Kept::Nothing => {
            let message = "its Job was deleted before its outcome was seen; annotate again to run it again";
            Some(without_summary(running, None, false, message))
        }
    }
}

/// Asks the registry; one that cannot be asked for long has nothing.
async fn kept(context: &Context, registry: &Registry, running: &RunningCollection) -> Kept {
    let key = format!("{}/run/{}", registry.uid().unwrap_or_default(), running.job);
    let kept = match ask(context, registry, &running.job).await {
        Ok(Some(whole)) => Kept::Whole(whole),
        Ok(None) => Kept::Nothing,
        Err(failure) => {
            tracing::debug!(job = running.job, %failure, "the summary of a run cannot be read from its registry");
            if context.waited(&key) < context.settings.summary_patience { Kept::Unknown } else { Kept::Nothing }
        }
    };
    if !matches!(kept, Kept::Unknown) {
        context.found(&key);
    }
    kept
}

/// One pod suffices: what a run did lies in the store that all share.
async fn ask(context: &Context, registry: &Registry, job: &str) -> Result<Option<CollectionSummary>, Failure> {
    let target = Target {
        namespace: registry.namespace().unwrap_or_default(),
        name: registry.name_any(),
        uid: registry.uid().unwrap_or_default(),
    };
    let keys = reach::keys(context, &target).await?;
    let mut failure = Failure::waiting(AGAIN, reason::NO_PODS, "no pod of the registry is there yet");
    for pod in reach::pods(context, &target, &keys)? {
        match pod.client.run(job).await {
            Ok(found) => return Ok(found),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

fn termination_message(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.terminated.as_ref()?.message.as_deref()
}
