//! status: what a run did, and how the object stands. A run is no reason to be Reconciling.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use crate::admin::{CollectionCounts, CollectionSummary};
use crate::api::conditions::{LAST_RUN_SUCCEEDED, reason};
use crate::api::{CollectionRun, Counts, GarbageCollection, GarbageCollectionStatus, Registry, RunningCollection};
use crate::operator::conditions::{self, Truth, shorten};
use crate::operator::context::Context;
use crate::operator::driver::{Settled, Standing};
use crate::operator::failure::Failure;

/// The most bytes of what a run says.
const LONGEST: usize = 4096;

/// Behind what is not all that a run has said.
const CUT: &str = " ... (cut: the log of the run has the rest)";

/// How many runs are listed.
const HISTORY: usize = 10;

pub(super) fn not_managed(registry: &Registry) -> Failure {
    let message = format!(
        "spec.registryRef names the Registry {}, which runs elsewhere: only managed Registries can be collected",
        registry.name_any()
    );
    Failure::stalled(reason::REGISTRY_NOT_MANAGED, message)
}

pub(super) fn idle(object: &GarbageCollection) -> Standing {
    if object.spec.suspend {
        let message = "spec.suspend is true: no run is started".to_owned();
        return Standing::Ready { reason: reason::SUSPENDED, message };
    }
    let message = "runs when the annotation regatta.dev/requested-at gets a new value".to_owned();
    Standing::Ready { reason: reason::IDLE, message }
}

pub(super) fn running() -> Standing {
    Standing::Ready { reason: reason::RUNNING, message: "a run is under way".to_owned() }
}

/// A run that has ended, of which the registry cannot be asked now.
pub(super) fn unheard() -> Standing {
    let message = "the run has ended; what it did is asked of the registry, which does not answer yet".to_owned();
    Standing::Ready { reason: reason::RUNNING, message }
}

/// A run whose pod does not start. That the collection is set up well is another matter.
pub(super) fn pending(job: &str, why: &str, deadline: Duration) -> Standing {
    let message = format!(
        "the pod of the Job {job} does not start: {why}; mend that, or delete this GarbageCollection to end its run; \
         the run is given up when it has not started within {} min",
        deadline.as_secs().div_ceil(60)
    );
    Standing::Stalled { ready: true, reason: reason::NOT_STARTED, message }
}

/// What is said of it when it is given up.
pub(super) fn given_up(why: &str, deadline: Duration) -> String {
    let minutes = deadline.as_secs().div_ceil(60);
    format!("its pod did not start within {minutes} min: {why}; annotate again to run it again")
}

pub(super) fn busy(registry: &Registry, other: &str) -> Settled {
    let message = format!("waits for the Job {other}, which has the registry {}", registry.name_any());
    Settled {
        standing: Standing::Ready { reason: reason::REGISTRY_BUSY, message },
        again: Some(Duration::from_secs(10)),
    }
}

/// Notes a run that began: how it ends is not known from then on, whatever the one before it came to.
pub(super) fn begun(
    object: &GarbageCollection,
    context: &Context,
    running: RunningCollection,
    status: &mut GarbageCollectionStatus,
) {
    let message = format!("the run that was requested as {} is under way", running.request);
    let (generation, why) = (object.metadata.generation.unwrap_or_default(), reason::RUNNING);
    let now = context.now();
    conditions::set(&mut status.conditions, LAST_RUN_SUCCEEDED, Truth::Unknown, why, &message, generation, now);
    status.running = Some(running);
}

/// Notes a run that ended.
pub(super) fn ended(
    object: &GarbageCollection,
    context: &Context,
    run: CollectionRun,
    status: &mut GarbageCollectionStatus,
) {
    let (truth, why) =
        if run.succeeded { (Truth::True, reason::SUCCEEDED) } else { (Truth::False, reason::RUN_FAILED) };
    let message = run.message.clone().unwrap_or_else(|| said(&run));
    let generation = object.metadata.generation.unwrap_or_default();
    conditions::set(&mut status.conditions, LAST_RUN_SUCCEEDED, truth, why, &message, generation, context.now());
    status.running = None;
    status.last_handled_request = Some(run.request.clone());
    status.history.insert(0, run.clone());
    status.history.truncate(HISTORY);
    status.last_run = Some(run);
}

fn said(run: &CollectionRun) -> String {
    let verb = if run.dry_run { "would have freed" } else { "freed" };
    format!(
        "{verb} {} bytes: {} blobs purged, {} condemned, {} rescued",
        run.bytes_freed, run.purged.blobs, run.condemned.blobs, run.rescued.blobs
    )
}

pub(super) fn from_summary(running: &RunningCollection, complete: bool, summary: &CollectionSummary) -> CollectionRun {
    let CollectionSummary {
        succeeded,
        dry_run,
        started_at,
        finished_at,
        scanned,
        condemned,
        rescued,
        purged,
        bytes_freed,
        errors,
        message,
        truncated,
    } = summary;
    CollectionRun {
        job: running.job.clone(),
        request: running.request.clone(),
        succeeded: *succeeded && complete,
        dry_run: *dry_run,
        started_at: Some(*started_at),
        finished_at: Some(*finished_at),
        scanned: counts(*scanned),
        condemned: counts(*condemned),
        rescued: counts(*rescued),
        purged: counts(*purged),
        bytes_freed: number(*bytes_freed),
        errors: number(*errors),
        message: message.as_deref().map(|message| said_by_run(message, *truncated)),
    }
}

/// What a run says, as far as there is room for it; that something is missing is said.
fn said_by_run(message: &str, truncated: bool) -> String {
    if !truncated && message.len() <= LONGEST {
        return message.to_owned();
    }
    format!("{}{CUT}", shorten(message, LONGEST - CUT.len()))
}

fn counts(counts: CollectionCounts) -> Counts {
    let CollectionCounts { manifests, links, blobs } = counts;
    Counts { manifests: number(manifests), links: number(links), blobs: number(blobs) }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A run of which only the Job is known, and whether that is complete.
pub(super) fn without_summary(
    running: &RunningCollection,
    job: Option<&Job>,
    succeeded: bool,
    message: &str,
) -> CollectionRun {
    let status = job.and_then(|job| job.status.as_ref());
    CollectionRun {
        job: running.job.clone(),
        request: running.request.clone(),
        succeeded,
        dry_run: false,
        started_at: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
        finished_at: status.and_then(|status| status.completion_time.as_ref()).map(|time| time.0),
        scanned: Counts::default(),
        condemned: Counts::default(),
        rescued: Counts::default(),
        purged: Counts::default(),
        bytes_freed: 0,
        errors: 0,
        message: Some(shorten(message, LONGEST)),
    }
}
