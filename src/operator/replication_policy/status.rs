//! status: how the edges stand, from what their replicators report.

mod silence;

use std::time::Duration;

use kube::ResourceExt;

use super::drift::Corrections;
use super::topology::edge_id;
use super::validate::{Placed, Runner};
use crate::admin::{EdgeState, EdgeStatus, Withheld, WithheldReason};
use crate::api::conditions::{SYNCED, reason};
use crate::api::{
    ANNOTATION_APPROVE_DELETIONS, ANNOTATION_REQUESTED_AT, EdgeReport, ReplicationPolicy, ReplicationPolicyStatus,
    WithheldReport,
};
use crate::operator::conditions::{self, Truth, shorten};
use crate::operator::context::Context;
use crate::operator::driver::{Settled, Standing};
use crate::operator::edges::board::EdgesReport;
use silence::{Hearing, is_about};

/// The state of an edge whose destination another policy has.
const REFUSED: &str = "Refused";

/// The state of an edge of which nothing is known, or nothing any more.
const UNKNOWN: &str = "Unknown";

/// What is known of an edge.
struct Known {
    report: EdgeReport,
    /// The registry has this edge as this generation of the policy wants it.
    placed: bool,
    here: bool,
    /// Whether this process has asked the registry that it runs at.
    asked: bool,
    status: Option<EdgeStatus>,
    problem: Option<String>,
    /// Whether its replicator is heard.
    hearing: Hearing,
    /// Why it does not run: another policy has the destination.
    refused: Option<String>,
}

impl Known {
    /// An edge that this operator does not run.
    fn not_here(report: EdgeReport, refused: Option<String>) -> Self {
        Self {
            report,
            placed: true,
            here: false,
            asked: true,
            status: None,
            problem: None,
            hearing: Hearing::Awaited,
            refused,
        }
    }
}

pub(super) fn settle(
    context: &Context,
    policy: &ReplicationPolicy,
    placed: &[Placed],
    status: &mut ReplicationPolicyStatus,
) -> (Settled, Vec<Corrections>) {
    let known: Vec<Known> = placed.iter().map(|placed| known(context, policy, placed)).collect();
    status.edge_count = i32::try_from(known.len()).ok();
    status.edges = known.iter().take(512).map(|known| known.report.clone()).collect();
    status.lag = lag(&known);
    if let Some(handled) = handled(policy, &known) {
        status.last_handled_request = Some(handled);
    }
    let corrections = known.iter().filter_map(corrections).collect();
    let generation = policy.metadata.generation.unwrap_or_default();
    let settled = Settled { standing: standing(policy, &known), again: look_again(&known) };
    // A new process has not asked its registries yet: what was said before stands until it has.
    if known.iter().any(|known| !known.asked) {
        return (settled, corrections);
    }
    match synced(policy, &known) {
        Some((truth, why, message)) => {
            conditions::set(&mut status.conditions, SYNCED, truth, why, &message, generation, context.now());
        }
        None => conditions::clear(&mut status.conditions, SYNCED),
    }
    (settled, corrections)
}

/// When the next replicator will have been silent for too long, should it say nothing until then.
fn look_again(known: &[Known]) -> Option<Duration> {
    known.iter().filter_map(|known| known.hearing.again()).min()
}

/// What was put right, where the replicator has said so now.
fn corrections(known: &Known) -> Option<Corrections> {
    let status = known.status.as_ref()?;
    Some(Corrections {
        id: known.report.id.clone(),
        source: known.report.source.clone(),
        destination: known.report.destination.clone(),
        count: known.report.drift_corrected?,
        recent: status.recent_drift.iter().take(10).map(|item| shorten(item, 512)).collect(),
    })
}

fn known(context: &Context, policy: &ReplicationPolicy, placed: &Placed) -> Known {
    let namespace = policy.namespace().unwrap_or_default();
    let id = edge_id(&namespace, &policy.name_any(), &placed.pair);
    let mut report = EdgeReport {
        id: id.clone(),
        source: placed.pair.source.clone(),
        destination: placed.pair.destination.clone(),
        state: UNKNOWN.to_owned(),
        ..EdgeReport::default()
    };
    let source_uid = match &placed.runner {
        Runner::Elsewhere { home } => {
            "Delegated".clone_into(&mut report.state);
            report.runner = Some(home.clone());
            return Known::not_here(report, None);
        }
        Runner::Nobody { message } => {
            REFUSED.clone_into(&mut report.state);
            return Known::not_here(report, Some(message.clone()));
        }
        Runner::Here { source_uid } => source_uid,
    };
    let found = context.edges.get(source_uid);
    let asked = found.is_some();
    let (in_place, status, problem) = match found {
        Some(EdgesReport::Placed { edges, statuses }) => {
            let generation = edges.get(&id).map(|edge| edge.policy.generation);
            let quiet = context.edges.quiet(source_uid, &id, context.now());
            let said = statuses.get(&id).filter(|status| is_about(policy, status, quiet, context.now()));
            (generation == policy.metadata.generation, said.cloned(), None)
        }
        Some(EdgesReport::Unreachable { message }) => (false, None, Some(message)),
        // A new process has not asked yet: what was said of this very generation before still holds.
        None => (conditions::was_ready(policy.status.as_ref(), policy.metadata.generation), None, None),
    };
    match &status {
        Some(status) => fill(&mut report, status),
        None => keep(policy, &mut report, asked, problem.is_some()),
    }
    let hearing = silence::hearing(context, &namespace, &placed.pair.source, source_uid, status.as_ref());
    if is_manual(policy) || matches!(hearing, Hearing::Silent { .. }) {
        // Nobody looks at what has changed since.
        report.lag_seconds = None;
    }
    if matches!(hearing, Hearing::Silent { .. }) {
        UNKNOWN.clone_into(&mut report.state);
    }
    Known { report, placed: in_place, here: true, asked, status, problem, hearing, refused: None }
}

/// What was reported last, where nothing was reported now: what counts since the edge began. How it stands, and how far
/// behind it is, stands only until this process has asked for the first time; what waits for a person also while nobody
/// can be asked. Neither outlives the generation that it was said of.
fn keep(policy: &ReplicationPolicy, report: &mut EdgeReport, asked: bool, unreachable: bool) {
    let Some(status) = &policy.status else { return };
    let Some(before) = status.edges.iter().find(|edge| edge.id == report.id) else { return };
    let same = Some(status.observed_generation) == policy.metadata.generation;
    let ran_here = before.runner.is_none() && before.state != REFUSED;
    let mut kept = EdgeReport { state: report.state.clone(), runner: None, ..before.clone() };
    if !asked && same && ran_here {
        kept.state.clone_from(&before.state);
    } else {
        kept.lag_seconds = None;
    }
    if !same || (asked && !unreachable) {
        kept.withheld = None;
    }
    *report = kept;
}

fn fill(report: &mut EdgeReport, status: &EdgeStatus) {
    let number = |value: u64| i64::try_from(value).ok();
    state_name(status.state).clone_into(&mut report.state);
    report.last_sync = status.last_sync;
    report.last_compare = status.last_compare;
    report.lag_seconds = number(status.lag_seconds);
    report.pending = number(status.pending);
    report.in_flight = number(status.in_flight);
    report.failed = number(status.failed);
    report.bytes = number(status.totals.bytes);
    report.blobs = number(status.totals.blobs);
    report.tags_set = number(status.totals.tags_set);
    report.deleted = number(status.totals.deleted);
    report.drift_corrected = number(status.totals.drift_corrected);
    report.last_error = status.last_error.as_deref().map(|error| shorten(error, 1024));
    report.withheld = status.withheld.as_ref().map(withheld);
}

fn withheld(withheld: &Withheld) -> WithheldReport {
    WithheldReport {
        reason: match withheld.reason {
            WithheldReason::FirstCompare => "FirstCompare",
            WithheldReason::SourceStoreChanged => "SourceStoreChanged",
            WithheldReason::SourceRestored => "SourceRestored",
            WithheldReason::SourceEmpty => "SourceEmpty",
        }
        .to_owned(),
        plan_hash: shorten(&withheld.plan_hash, 64),
        deletions: i64::try_from(withheld.deletions).unwrap_or(i64::MAX),
        sample: withheld.sample.iter().take(10).map(|item| shorten(item, 512)).collect(),
    }
}

fn state_name(state: EdgeState) -> &'static str {
    match state {
        EdgeState::Starting => "Starting",
        EdgeState::Comparing => "Comparing",
        EdgeState::Following => "Following",
        EdgeState::Idle => "Idle",
        EdgeState::DeletionsWithheld => "DeletionsWithheld",
        EdgeState::Failing => "Failing",
        EdgeState::Suspended => "Suspended",
    }
}

/// The greatest lag, for people.
fn lag(known: &[Known]) -> Option<String> {
    let greatest = known.iter().filter_map(|known| known.report.lag_seconds).max()?;
    Some(format!("{greatest}s"))
}

/// The request that every edge here has finished. Where none runs here, nobody has finished anything.
fn handled(policy: &ReplicationPolicy, known: &[Known]) -> Option<String> {
    let wanted = policy.annotations().get(ANNOTATION_REQUESTED_AT)?;
    let done = |known: &Known| {
        known.status.as_ref().is_some_and(|status| status.last_handled_request.as_ref() == Some(wanted))
    };
    let mut here = known.iter().filter(|known| known.here).peekable();
    (here.peek().is_some() && here.all(done)).then(|| shorten(wanted, 256))
}

/// The outcome of what runs: nothing to say where nothing runs here.
fn synced(policy: &ReplicationPolicy, known: &[Known]) -> Option<(Truth, &'static str, String)> {
    let here: Vec<&Known> = known.iter().filter(|known| known.here).collect();
    if here.is_empty() {
        return None;
    }
    if policy.spec.suspend {
        return Some((Truth::Unknown, reason::SUSPENDED, "spec.suspend is true".to_owned()));
    }
    let name = |known: &Known| format!("{} -> {}", known.report.source, known.report.destination);
    if let Some((edge, status)) = here.iter().find_map(|known| Some((known, known.failing()?))) {
        let error = status.last_error.clone().unwrap_or_else(|| format!("{} items failed", status.failed));
        return Some((Truth::False, reason::EDGE_FAILING, format!("{}: {error}", name(edge))));
    }
    if let Some((edge, why)) = here.iter().find_map(|known| Some((known, known.hearing.silence()?))) {
        return Some((Truth::Unknown, reason::REPLICATOR_SILENT, format!("{}: {why}", name(edge))));
    }
    if let Some(edge) = here.iter().find(|known| !known.status.as_ref().is_some_and(is_synced)) {
        let unheard = || edge.status.is_none().then(|| silence::unheard(&edge.report.source));
        let why = edge.problem.clone().or_else(unheard).unwrap_or_else(|| edge.report.state.clone());
        return Some((Truth::False, reason::COMPARING, format!("{}: {why}", name(edge))));
    }
    Some((Truth::True, reason::SUCCEEDED, in_step(policy)))
}

/// What is true of a policy whose edges have all been compared.
fn in_step(policy: &ReplicationPolicy) -> String {
    if is_manual(policy) {
        return format!(
            "every edge that runs here has been compared; spec.trigger is manual: what has changed since is not moved \
             until the annotation {ANNOTATION_REQUESTED_AT} gets a new value"
        );
    }
    "every edge that runs here has been compared and is followed".to_owned()
}

fn is_manual(policy: &ReplicationPolicy) -> bool {
    policy.spec.trigger.as_ref().is_some_and(|trigger| trigger.manual.is_some())
}

impl Known {
    /// What is said of an edge that fails, unless nobody says it any more.
    fn failing(&self) -> Option<&EdgeStatus> {
        self.status.as_ref().filter(|status| is_failing(status) && self.hearing.silence().is_none())
    }
}

fn is_failing(status: &EdgeStatus) -> bool {
    status.state == EdgeState::Failing || status.failed > 0
}

/// Compared once, and nothing known to differ for longer than it takes to send it.
fn is_synced(status: &EdgeStatus) -> bool {
    let rests = matches!(status.state, EdgeState::Following | EdgeState::Idle);
    rests && status.last_compare.is_some() && status.withheld.is_none()
}

fn standing(policy: &ReplicationPolicy, known: &[Known]) -> Standing {
    if let Some(message) = known.iter().find_map(|known| known.refused.clone()) {
        return Standing::Stalled { ready: false, reason: reason::DESTINATION_TAKEN, message };
    }
    if let Some((edge, withheld)) = known.iter().find_map(|known| Some((known, known.report.withheld.as_ref()?))) {
        let message = format!(
            "{} -> {} withholds {} deletions ({}): look at status.edges, and if they are right annotate this policy with \
             {ANNOTATION_APPROVE_DELETIONS}: {}",
            edge.report.source, edge.report.destination, withheld.deletions, withheld.reason, withheld.plan_hash
        );
        // What waits is of what the registry was told last; whether that is what is wanted now is another matter.
        let ready = known.iter().all(|known| known.placed);
        return Standing::Stalled { ready, reason: reason::DELETIONS_WITHHELD, message };
    }
    if known.iter().all(|known| !known.here) {
        let message = "every edge runs at the home of its source, which is another cluster".to_owned();
        return Standing::Ready { reason: reason::DELEGATED, message };
    }
    if let Some(edge) = known.iter().find(|known| !known.placed) {
        let why = edge.problem.clone().unwrap_or_else(|| "its registry does not know of it yet".to_owned());
        let message = format!("{} -> {}: {why}", edge.report.source, edge.report.destination);
        return Standing::Progressing { ready: false, reason: reason::PROGRESSING, message };
    }
    if policy.spec.suspend {
        return Standing::Ready {
            reason: reason::SUSPENDED,
            message: "spec.suspend is true: nothing is read or written".to_owned(),
        };
    }
    Standing::ready(format!("edges: {}; run here: {}", known.len(), known.iter().filter(|known| known.here).count()))
}

/// What is left is written at once when it changes; the rest at most every 30 s.
pub(super) fn without_numbers(status: &ReplicationPolicyStatus) -> ReplicationPolicyStatus {
    let still = |edge: &EdgeReport| EdgeReport {
        id: edge.id.clone(),
        source: edge.source.clone(),
        destination: edge.destination.clone(),
        state: edge.state.clone(),
        runner: edge.runner.clone(),
        withheld: edge.withheld.clone(),
        ..EdgeReport::default()
    };
    ReplicationPolicyStatus { edges: status.edges.iter().map(still).collect(), lag: None, ..status.clone() }
}

#[cfg(test)]
mod tests;
