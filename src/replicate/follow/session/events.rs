//! What a session makes of what its tasks say.

use std::{collections::HashSet, time::Instant};

use jiff::Timestamp;

use super::{Ended, Event, PLAN_AGAIN, REGISTRY_FAILURES, Round, Session};
use crate::{
    admin::{Deletions, DestinationCursor, JournalPage, Trigger},
    client::{
        ClientError,
        retry::{jittered, random},
    },
    replicate::{
        Action, Outcome, Plan, ReplicateError,
        follow::{
            Home, HomeError, Remotes, memory,
            queue::Work,
            work::{Done, deletion_of, of_action, of_change, register_of},
        },
        withheld::{Circumstances, decide},
    },
};

/// A journal that does not answer is trouble only from the second time on: registries are restarted.
const POLL_FAILURES: u32 = 2;

/// How many corrections of drift are named.
const RECENT_DRIFT: usize = 10;

impl<H: Home, R: Remotes> Session<'_, H, R> {
    /// Takes one event in; the end of the session where that is what it means.
    pub(super) fn take(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::Worked(work, done) => {
                self.working -= 1;
                self.worked(&work, done);
                None
            }
            Event::Compared(plan) => {
                self.compared(plan);
                None
            }
            Event::Polled(page) => self.polled(page),
            Event::Saved(cursor, saved) => {
                self.saved(cursor, saved);
                None
            }
        }
    }

    fn worked(&mut self, work: &Work, done: Result<Done, ReplicateError>) {
        match done {
            Ok(Done::One(Outcome::AwaitsSubject)) => {
                self.late.insert(work.clone());
                self.queue.put_off(work, Instant::now() + self.shared.timing.tick);
                return;
            }
            Ok(Done::One(outcome)) => self.worked_well(work, outcome),
            Ok(Done::Many(plan)) => {
                self.registry_answers();
                self.take_plan(plan, None);
                self.queue.done(work);
            }
            Err(error) => self.worked_badly(work, &error),
        }
        self.late.remove(work);
        self.drift.remove(work);
        if let Some(round) = &mut self.round {
            round.open.remove(work);
        }
        self.end_round();
    }

    fn worked_well(&mut self, work: &Work, outcome: Outcome) {
        self.registry_answers();
        match outcome {
            Outcome::Copied | Outcome::Deleted => {
                if self.drift.contains(work) && !self.is_touched(work) {
                    let done = if outcome == Outcome::Copied { "copied" } else { "deleted" };
                    tracing::info!(edge = self.edge.id, name = work.name(), done, "drift corrected");
                    self.counters.drift_corrected();
                    self.recent_drift.insert(0, format!("{} ({done})", work.name()));
                    self.recent_drift.truncate(RECENT_DRIFT);
                }
            }
            Outcome::Absent => self.want_deletion(work),
            Outcome::Equal | Outcome::NotCovered | Outcome::AwaitsSubject => {}
        }
        self.queue.done(work);
    }

    fn worked_badly(&mut self, work: &Work, error: &ReplicateError) {
        let now = Instant::now();
        let why = error.chain();
        tracing::warn!(edge = self.edge.id, name = work.name(), error = why, "could not be replicated");
        self.last_error = Some(format!("{}: {why}", work.name()));
        if !error.is_about_a_registry() {
            self.queue.failed(work, now, random());
            self.registry_answers();
            return;
        }
        self.registry_failures += 1;
        if self.registry_failures < REGISTRY_FAILURES {
            self.queue.failed(work, now, random());
            return;
        }
        // It is the registry and not this one thing: what waits for it goes on as soon as it answers.
        let (base, cap) = self.shared.timing.backoff;
        let beyond = self.registry_failures - REGISTRY_FAILURES + 1;
        let until = now + jittered(base, cap, beyond, random());
        self.queue.failed_until(work, until);
        self.paused_until = Some(until);
        self.trouble = Some(why);
    }

    /// Something was answered: whatever was wrong with a registry is over.
    fn registry_answers(&mut self) {
        if self.registry_failures >= REGISTRY_FAILURES {
            self.trouble = None;
            self.queue.retry_all();
        }
        self.registry_failures = 0;
    }

    fn is_touched(&self, work: &Work) -> bool {
        match (&self.touched, register_of(work)) {
            (Some(touched), Some(register)) => touched.contains(&register),
            (None, _) | (_, None) => true,
        }
    }

    /// The source does not have it (any more).
    fn want_deletion(&mut self, work: &Work) {
        match self.edge.deletions {
            Deletions::Ignore => return,
            Deletions::Propagate => {}
        }
        let Some(deletion) = deletion_of(work) else { return };
        if self.established && self.withheld.is_none() {
            let since = self.queue.since(work).unwrap_or_else(Timestamp::now);
            self.queue.push(deletion, since, self.page);
        } else if self.round.is_none() {
            // Another deletion makes another plan, and that is what a person has to see.
            let soon = Instant::now() + PLAN_AGAIN;
            self.compare_at = Some(self.compare_at.map_or(soon, |at| at.min(soon)));
        }
    }

    fn compared(&mut self, plan: Result<Plan, ReplicateError>) {
        match plan {
            Ok(plan) => {
                self.compare_failures = 0;
                self.trouble = None;
                self.new_repositories.clone_from(&plan.new_repositories);
                let began = self.round.as_ref().map_or_else(Timestamp::now, |round| round.began);
                let open = self.take_plan(plan, Some(began));
                if let Some(round) = &mut self.round {
                    round.planning = false;
                    round.open = open;
                }
                self.end_round();
            }
            Err(error) => {
                self.round = None;
                self.compare_failures += 1;
                let error = error.chain();
                tracing::warn!(edge = self.edge.id, error, "the two sides cannot be compared");
                self.trouble = Some(error);
                let (base, cap) = self.shared.timing.backoff;
                let pause = jittered(base, cap, self.compare_failures, random());
                self.compare_at = Some(Instant::now() + pause);
            }
        }
    }

    /// Puts a plan into the queue: the whole one of a round (with its begin), or one repository's.
    fn take_plan(&mut self, plan: Plan, round_began: Option<Timestamp>) -> HashSet<Work> {
        let settled = self.established && self.withheld.is_none();
        let decision = if round_began.is_some() {
            decide(&plan, &self.circumstances(), self.edge.approved_plan.as_deref())
        } else {
            decide_part(plan, settled)
        };
        if round_began.is_some() {
            self.withheld.clone_from(&decision.withheld);
            if let Some(withheld) = &self.withheld {
                tracing::warn!(edge = self.edge.id, reason = ?withheld.reason, deletions = withheld.deletions,
                    plan = withheld.plan_hash, "deletions wait for an approval");
                self.queue.forget_deletions();
            }
        }
        let explained = !self.circumstances().continues();
        let since = round_began.unwrap_or_else(Timestamp::now);
        let mut open = HashSet::new();
        for work in decision.now.into_iter().map(of_action) {
            if !explained && round_began.is_some() && !self.queue.contains(&work) && !self.is_touched(&work) {
                self.drift.insert(work.clone());
            }
            self.queue.push(work.clone(), since, self.page);
            open.insert(work);
        }
        open
    }

    fn circumstances(&self) -> Circumstances<'_> {
        self.memory.circumstances()
    }

    /// Ends the round once everything that it found was tried.
    fn end_round(&mut self) {
        let over = self.round.as_ref().is_some_and(|round| !round.planning && round.open.is_empty());
        let Some(round) = self.round.take_if(|_| over) else { return };
        let Round { request, began: _, planning: _, open: _ } = round;
        self.new_repositories.clear();
        if self.withheld.is_none() {
            self.establish();
        }
        // Whoever waits for the request to be handled finds what came of it in the same status.
        self.show();
        let now = Timestamp::now();
        let (equal, withheld) = (self.queue.is_empty(), self.withheld.is_some());
        self.board.update(|status| {
            status.last_compare = Some(now);
            status.last_handled_request = request.or(status.last_handled_request.take());
            if equal && !withheld {
                status.last_sync = Some(now);
            }
        });
        tracing::info!(edge = self.edge.id, open = !equal, withheld, "compared");
        match self.edge.trigger {
            Trigger::Event => {
                let pause = self.shared.timing.compare_every.mul_f64(0.9 + 0.2 * random());
                let hourly = Instant::now() + pause;
                self.compare_at = Some(self.compare_at.map_or(hourly, |at| at.min(hourly)));
            }
            Trigger::Manual => {}
        }
        if self.is_requested() {
            self.compare_at = Some(Instant::now());
        }
    }

    /// From now on this store, followed from here, is what the destination is known to be equal to.
    fn establish(&mut self) {
        self.established = true;
        let known = DestinationCursor { store: self.memory.store.clone(), cursor: self.cursor.clone(), compared: true };
        self.memory.ours = Some(known.clone());
        self.memory.theirs = self.memory.destination_keeps.then_some(known);
        self.memory.ahead = false;
        self.save_at = Instant::now();
    }

    fn polled(&mut self, page: Result<JournalPage, HomeError>) -> Option<Ended> {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                self.poll_failed(&error);
                return None;
            }
        };
        if self.poll_failures >= POLL_FAILURES {
            self.trouble = None;
        }
        self.poll_failures = 0;
        self.last_poll = Timestamp::now();
        if page.store != self.memory.store || page.ahead {
            tracing::warn!(edge = self.edge.id, "the source's store is another one than before");
            return Some(Ended::Restart);
        }
        self.take_page(page);
        self.poll_at = Some(Instant::now());
        None
    }

    fn poll_failed(&mut self, error: &HomeError) {
        self.poll_failures += 1;
        if self.poll_failures >= POLL_FAILURES {
            self.trouble = Some(format!("source: {error}"));
        }
        let (base, cap) = self.shared.timing.backoff;
        self.poll_at = Some(Instant::now() + jittered(base, cap, self.poll_failures, random()));
    }

    fn take_page(&mut self, page: JournalPage) {
        let JournalPage { store: _, cursor, compare, ahead: _, changes, unsettled } = page;
        if cursor != self.cursor {
            self.pages.insert(self.page, std::mem::replace(&mut self.cursor, cursor));
            self.page += 1;
            let open = self.queue.first_open_page().unwrap_or(self.page);
            let keep_from = self.pages.range(..open).next_back().map_or(0, |(page, _)| *page);
            self.pages = self.pages.split_off(&keep_from);
        }
        if compare {
            self.compare_at = Some(Instant::now());
        }
        for change in changes {
            if let Some(work) = of_change(&change, &self.coverage) {
                self.queue.push(work, change.at, self.page);
            }
            if let Some(touched) = &mut self.touched {
                touched.insert(memory::register(change));
            }
        }
        let listed: Vec<Work> = unsettled.iter().filter_map(|change| of_change(change, &self.coverage)).collect();
        for work in self.unsettled.list(listed, Instant::now()) {
            self.queue.push(work, Timestamp::now(), self.page);
        }
        self.note_sync();
    }

    /// The journal says that nothing is new, and nothing is open.
    fn note_sync(&mut self) {
        if self.established && self.withheld.is_none() && self.queue.is_empty() && self.trouble.is_none() {
            let now = Timestamp::now();
            self.board.update(|status| status.last_sync = Some(now));
        }
    }

    fn saved(&mut self, cursor: DestinationCursor, saved: Result<(), ClientError>) {
        self.saving = false;
        match saved {
            Ok(()) => self.saved = Some(cursor),
            Err(error) => tracing::debug!(edge = self.edge.id, error = error.chain(), "the cursor was not written"),
        }
    }
}

/// One repository's plan: its deletions count only where those of the whole would.
fn decide_part(plan: Plan, settled: bool) -> crate::replicate::withheld::Decision {
    let now = plan.actions.into_iter().filter(|action: &Action| settled || !action.is_deletion()).collect();
    crate::replicate::withheld::Decision { now, withheld: None }
}
