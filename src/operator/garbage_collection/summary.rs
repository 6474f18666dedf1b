//! What a run says of itself: in the termination message of its pod, or, where the pod is gone or had no room for all
//! of it, in the registry, which keeps the whole.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::dereference::{given_up, has_no_pods};
use super::status::{from_summary, without_summary};
use crate::admin::CollectionSummary;
use crate::api::conditions::reason;
use crate::api::{CollectionRun, Registry, RunningCollection};
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::reach::{self, Target};

/// When the registry is asked again at first.
const AGAIN: Duration = Duration::from_secs(2);

/// When it is asked again in the end.
const AT_LAST: Duration = Duration::from_secs(30);

/// How long the registry is asked where the pod has said all but the end of a message.
const FOR_A_MESSAGE: Duration = Duration::from_secs(30);

/// Why what a run did is not known, where the registry could be asked.
const NOT_KEPT: &str = "the registry has no summary of it";

/// A Job that ended.
pub(super) struct Ended<'a> {
    /// The Job.
    pub(super) job: &'a Job,
    /// Whether it is complete; it has failed otherwise.
    pub(super) complete: bool,
    /// Those of its pods that are still there.
    pub(super) pods: &'a [Pod],
}

/// What is known of a run that has ended.
pub(super) enum Outcome {
    /// All that will ever be.
    Known(Box<CollectionRun>),
    /// The registry knows it, and cannot be asked now: again after this long.
    Unheard(Duration),
}

impl From<CollectionRun> for Outcome {
    fn from(run: CollectionRun) -> Self {
        Self::Known(Box::new(run))
    }
}

/// What the registry has of a run.
enum Kept {
    Whole(CollectionSummary),
    /// Nothing, or nobody will ever say: why.
    Nothing(String),
    /// It cannot be asked now, but after this long.
    Later(Duration),
}

/// What a run did whose Job has ended.
pub(super) async fn of_ended(
    context: &Context,
    registry: &Registry,
    running: &RunningCollection,
    Ended { job, complete, pods }: &Ended<'_>,
) -> Outcome {
    let said = pods.iter().find_map(termination_message);
    let told = said.and_then(|said| serde_json::from_str::<CollectionSummary>(said).ok());
    if let Some(whole) = told.as_ref().filter(|told| !told.truncated) {
        return from_summary(running, *complete, whole).into();
    }
    if let (None, Some(why)) = (said, given_up(job)) {
        return without_summary(running, Some(job), false, why).into();
    }
    // Where a node fails, the pod and the only pod of the registry are away together for minutes.
    let longest = context.settings.summary_patience;
    let patience = if told.is_some() { longest.min(FOR_A_MESSAGE) } else { longest };
    match (kept(context, registry, running, patience).await, told) {
        (Kept::Whole(whole), _) => from_summary(running, *complete, &whole).into(),
        (Kept::Later(again), _) => Outcome::Unheard(again),
        (Kept::Nothing(_), Some(cut)) => from_summary(running, *complete, &cut).into(),
        (Kept::Nothing(why), None) => {
            let message = said.map_or_else(|| unsaid(*complete, &why), str::to_owned);
            without_summary(running, Some(job), *complete, &message).into()
        }
    }
}

fn unsaid(complete: bool, why: &str) -> String {
    if complete {
        format!("its Job is complete; what it did is not known: its pod left no summary, and {why}")
    } else {
        format!("its pod left no summary, and {why}")
    }
}

/// What a run did whose Job is gone.
pub(super) async fn of_deleted(context: &Context, registry: &Registry, running: &RunningCollection) -> Outcome {
    match kept(context, registry, running, context.settings.summary_patience).await {
        Kept::Whole(whole) => from_summary(running, true, &whole).into(),
        Kept::Later(again) => Outcome::Unheard(again),
        Kept::Nothing(why) => {
            let message =
                format!("its Job was deleted before its outcome was seen, and {why}; annotate again to run it again");
            without_summary(running, None, false, &message).into()
        }
    }
}

/// Asks the registry. Of one without pods nobody is waited for, of any other not for ever.
async fn kept(context: &Context, registry: &Registry, running: &RunningCollection, patience: Duration) -> Kept {
    let key = format!("{}/run/{}", registry.uid().unwrap_or_default(), running.job);
    let kept = match ask(context, registry, &running.job).await {
        Ok(Some(whole)) => Kept::Whole(whole),
        Ok(None) => Kept::Nothing(NOT_KEPT.to_owned()),
        Err(failure) => {
            tracing::debug!(job = running.job, %failure, "the summary of a run cannot be read from its registry");
            unheard(has_no_pods(context, registry), context.waited(&key), patience)
        }
    };
    if !matches!(kept, Kept::Later(_)) {
        context.found(&key);
    }
    kept
}

/// What is to be done about a registry that has been asked in vain for so long.
fn unheard(has_no_pods: bool, waited: Duration, patience: Duration) -> Kept {
    if has_no_pods {
        let why = "the registry has no pod that could be asked for it: spec.managed.replicas of the Registry is 0";
        Kept::Nothing(why.to_owned())
    } else if waited < patience {
        Kept::Later((waited / 8).clamp(AGAIN, AT_LAST))
    } else {
        Kept::Nothing(format!("the registry did not answer within {} min", patience.as_secs().div_ceil(60)))
    }
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
