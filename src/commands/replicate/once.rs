//! By hand: one compare, one plan, one report.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Args, End, Error,
    options::{FROM, TO},
};
use crate::{
    admin::{Filters, Totals, Withheld},
    replicate::{
        Action, Counters, Coverage, Ends, Mirror, plan,
        run::{Options, Progress, RunReport, run as replicate},
    },
};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(3);
/// How many of what was planned or failed is named in the summary.
const NAMED: usize = 5;

/// What a run tells: compact, for a Job's termination message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    succeeded: bool,
    dry_run: bool,
    started_at: Timestamp,
    finished_at: Timestamp,
    /// Actions that were planned, by kind.
    planned: Planned,
    /// What was done.
    done: Totals,
    failed: usize,
    /// The first few failures.
    failures: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<Withheld>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    tags: usize,
    referrers: usize,
    deletions: usize,
    sample: Vec<String>,
}

pub(super) async fn run(args: &Args) -> Result<(), Error> {
    let started_at = Timestamp::now();
    let counters = Arc::new(Counters::default());
    let ends = Ends { source: source(args)?.client()?, destination: destination(args)?.client()? };
    let coverage = Coverage::compile(&Filters { repositories: args.repository.clone(), tags: args.tag.clone() })?;
    let workers = usize::from(args.workers);
    let mirror = Mirror::new(ends, counters.clone(), workers * 2);
    let options = Options {
        workers,
        deletions: args.deletions.into(),
        dry_run: args.dry_run,
        approved: args.approve_deletions.clone(),
    };
    let progress = Progress::default();
    mirror.probe().await;
    let report = tokio::select! {
        report = replicate(&mirror, &coverage, &options, &progress) => report?,
        () = show(&progress, &counters) => return Err(Error::Interrupted),
        () = interrupted() => return Err(Error::Interrupted),
    };
    if args.dry_run {
        print_plan(&report);
    }
    let summary = summarize(args, started_at, &counters, &report);
    write_summary(args, &summary)?;
    tracing::info!(
        blobs = summary.done.blobs,
        mounted = summary.done.mounted,
        bytes = summary.done.bytes,
        tags = summary.done.tags_set,
        deleted = summary.done.deleted,
        failed = summary.failed,
        "replication ended"
    );
    judge(report)
}

fn source(args: &Args) -> Result<End, Error> {
    Ok(End {
        names: FROM,
        url: args.from.clone().ok_or(Error::Missing("--from"))?,
        credentials: args.from_credentials.clone(),
        username: args.from_username.clone(),
        password_file: args.from_password_file.clone(),
        ca: args.from_ca.clone(),
        insecure: args.insecure,
    })
}

fn destination(args: &Args) -> Result<End, Error> {
    Ok(End {
        names: TO,
        url: args.to.clone().ok_or(Error::Missing("--to"))?,
        credentials: args.to_credentials.clone(),
        username: args.to_username.clone(),
        password_file: args.to_password_file.clone(),
        ca: args.to_ca.clone(),
        insecure: args.insecure,
    })
}

/// Shows how far it is, for ever.
async fn show(progress: &Progress, counters: &Counters) {
    loop {
        tokio::time::sleep(SHOW_EVERY).await;
        let (done, planned) = (progress.done.load(Ordering::Relaxed), progress.planned.load(Ordering::Relaxed));
        let counts = counters.counts();
        if planned == 0 {
            tracing::info!("comparing");
        } else {
            tracing::info!(done, planned, blobs = counts.blobs, bytes = counts.bytes, "replicating");
        }
    }
}

/// Waits for SIGTERM or SIGINT. What was finished stays finished: the next run goes on from there.
pub(super) async fn interrupted() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[expect(clippy::print_stdout, reason = "the plan is what a dry run was asked for")]
fn print_plan(report: &RunReport) {
    for action in &report.plan.actions {
        let verb = match action {
            Action::SetTag { replaces: false, .. } => "copy  ",
            Action::SetTag { replaces: true, .. } => "move  ",
            Action::CopyReferrer { .. } => "refer ",
            Action::DeleteTag { .. } | Action::DeleteReferrer { .. } => "delete",
        };
        println!("{verb} {}", action.name());
    }
    if report.plan.deletions().next().is_some() {
        println!("hash of the deletions: {}", plan::plan_hash(report.plan.deletions()));
    }
}

fn summarize(args: &Args, started_at: Timestamp, counters: &Counters, report: &RunReport) -> Summary {
    let count = |wanted: fn(&Action) -> bool| report.plan.actions.iter().filter(|action| wanted(action)).count();
    Summary {
        succeeded: report.failures.is_empty() && report.withheld.is_none(),
        dry_run: args.dry_run,
        started_at,
        finished_at: Timestamp::now(),
        planned: Planned {
            tags: count(|action| matches!(action, Action::SetTag { .. })),
            referrers: count(|action| matches!(action, Action::CopyReferrer { .. })),
            deletions: count(Action::is_deletion),
            sample: report.plan.actions.iter().take(NAMED).map(|action| shorten(&action.name(), 100)).collect(),
        },
        done: counters.counts(),
        failed: report.failures.len(),
        failures: report
            .failures
            .iter()
            .take(NAMED)
            .map(|f| shorten(&format!("{}: {}", f.name, f.error.chain()), 250))
            .collect(),
        withheld: report.withheld.clone().map(|withheld| Withheld {
            sample: withheld.sample.iter().take(NAMED).map(|name| shorten(name, 100)).collect(),
            ..withheld
        }),
    }
}

/// A termination message has [`crate::admin::runs::SUMMARY_LIMIT`] bytes for everything.
fn shorten(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn write_summary(args: &Args, summary: &Summary) -> Result<(), Error> {
    let Some(path) = &args.summary else { return Ok(()) };
    let failed = |source| Error::File { option: "--summary", path: path.clone(), source };
    let text = serde_json::to_string(summary).map_err(|error| failed(error.into()))?;
    fs::write(path, text).map_err(failed)
}

fn judge(report: RunReport) -> Result<(), Error> {
    if let Some(first) = report.failures.first() {
        return Err(Error::Failed {
            failed: report.failures.len(),
            planned: report.plan.actions.len(),
            first: format!("{}: {}", first.name, first.error.chain()),
        });
    }
    match report.withheld {
        Some(Withheld { deletions, plan_hash, .. }) => Err(Error::Withheld { deletions, hash: plan_hash }),
        None => Ok(()),
    }
}
