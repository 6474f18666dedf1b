//! One run by hand: compare in full, and carry the plan out.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;

use super::{Action, Coverage, Mirror, Outcome, Plan, ReplicateError, mirror::Known, scan};
use crate::{
    admin::{Deletions, Withheld, WithheldReason},
    client::retry::{jittered, random},
    oci::RepositoryName,
    replicate::plan::plan_hash,
};

/// How often an action is tried.
const ATTEMPTS: u32 = 3;
/// How many of the deletions that wait are named.
const SAMPLE: usize = 10;

/// How a run is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Images that are worked on at a time.
    pub workers: usize,
    /// Whether deletions travel.
    pub deletions: Deletions,
    /// Plan only.
    pub dry_run: bool,
    /// The hash of withheld deletions that are approved.
    pub approved: Option<String>,
}

/// One thing that could not be done.
#[derive(Debug)]
pub struct Failure {
    /// `repository:tag` or `repository@digest`.
    pub name: String,
    /// Why.
    pub error: ReplicateError,
}

/// What a run found and did.
#[derive(Debug, Default)]
pub struct RunReport {
    /// What differed.
    pub plan: Plan,
    /// What could not be done.
    pub failures: Vec<Failure>,
    /// Deletions that wait for an approval.
    pub withheld: Option<Withheld>,
}

/// How far a run is; read by who shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Actions that were planned; 0 while comparing.
    pub planned: AtomicU64,
    /// Actions that have ended.
    pub done: AtomicU64,
}

/// Compares, and carries out what differs.
pub async fn run(
    mirror: &Mirror,
    coverage: &Coverage,
    options: &Options,
    progress: &Progress,
) -> Result<RunReport, ReplicateError> {
    let plan = scan::compare(mirror, coverage, options.deletions).await?;
    let withheld = withhold(&plan, options.approved.as_deref());
    let mut report = RunReport { plan, failures: Vec::new(), withheld };
    if options.dry_run {
        return Ok(report);
    }
    let deletions = if report.withheld.is_some() { 0 } else { report.plan.deletions().count() };
    progress.planned.store((report.plan.sets().count() + deletions) as u64, Ordering::Relaxed);
    let runner = Runner { mirror, coverage, progress, workers: options.workers.max(1), failures: Mutex::default() };
    runner.sets(&report.plan).await;
    if report.withheld.is_none() {
        runner.all(report.plan.deletions().cloned().collect(), &BTreeSet::new(), true).await;
    }
    report.failures = runner.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(report)
}

/// By hand there is no memory of earlier runs; that everything has vanished from the source is seen all the same.
fn withhold(plan: &Plan, approved: Option<&str>) -> Option<Withheld> {
    let deletions = plan.deletions().count() as u64;
    if deletions == 0 || plan.source_tags > 0 {
        return None;
    }
    let plan_hash = plan_hash(plan.deletions());
    if approved == Some(&plan_hash) {
        return None;
    }
    let sample = plan.deletions().take(SAMPLE).map(Action::name).collect();
    Some(Withheld { reason: WithheldReason::SourceEmpty, plan_hash, deletions, sample })
}

struct Runner<'a> {
    mirror: &'a Mirror,
    coverage: &'a Coverage,
    progress: &'a Progress,
    workers: usize,
    failures: Mutex<Vec<Failure>>,
}

impl Runner<'_> {
    async fn sets(&self, plan: &Plan) {
        let new = &plan.new_repositories;
        let late = self.all(plan.sets().cloned().collect(), new, false).await;
        self.all(late, new, true).await;
    }

    /// Carries actions out, some at a time; answers those that wait for others.
    async fn all(&self, actions: Vec<Action>, new: &BTreeSet<RepositoryName>, late: bool) -> Vec<Action> {
        let ended: Vec<Option<Action>> = futures::stream::iter(actions)
            .map(|action| self.one(action, new, late))
            .buffer_unordered(self.workers)
            .collect()
            .await;
        ended.into_iter().flatten().collect()
    }

    async fn one(&self, action: Action, new: &BTreeSet<RepositoryName>, late: bool) -> Option<Action> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match perform(self.mirror, self.coverage, &action, new, late).await {
                Ok(Outcome::AwaitsSubject) => return Some(action),
                Ok(Outcome::Copied | Outcome::Equal | Outcome::Absent | Outcome::Deleted | Outcome::NotCovered) => {
                    break;
                }
                Err(error) => error,
            };
            if attempt < ATTEMPTS && error.is_transient() {
                tokio::time::sleep(jittered(Duration::from_secs(1), Duration::from_secs(10), attempt, random())).await;
                continue;
            }
            tracing::warn!(name = action.name(), error = error.chain(), "could not be replicated");
            let failure = Failure { name: action.name(), error };
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
            break;
        }
        self.progress.done.fetch_add(1, Ordering::Relaxed);
        None
    }
}

async fn perform(
    mirror: &Mirror,
    coverage: &Coverage,
    action: &Action,
    new: &BTreeSet<RepositoryName>,
    late: bool,
) -> Result<Outcome, ReplicateError> {
    match action {
        Action::SetTag { repository, tag, replaces: _ } => {
            let known = if new.contains(repository) { Known::NewRepository } else { Known::Differs };
            mirror.set_tag(repository, tag, known, late).await
        }
        Action::CopyReferrer { repository, subject: _, digest } => mirror.copy_referrer(repository, digest).await,
        Action::DeleteTag { repository, tag } => mirror.delete_tag(repository, tag).await,
        Action::DeleteReferrer { repository, subject, digest } => {
            mirror.delete_digest(repository, digest, Some(subject), coverage).await
        }
    }
}
