//! One edge at work: from a start to a suspension, a change of the edge, or a failure of a registry as a whole.
//!
//! Everything that takes time is a task of one set; the session itself only decides. When it ends, the set is
//! dropped and all of it with it: uploads that were under way are forgotten by the destination, and what was finished
//! is found finished the next time.

mod events;
mod show;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Home, HomeError, Remotes, Shared,
    board::Board,
    memory::{self, Memory, Register},
    queue::{Queue, Work},
    unsettled::Unsettled,
    work::{self, Done, Manner},
};
use crate::{
    admin::{DestinationCursor, Edge, EdgeState, EdgeStatus, JournalPage, Trigger, Withheld},
    client::{
        ClientError,
        error::chain,
        retry::{jittered, random},
    },
    oci::RepositoryName,
    replicate::{Counters, Coverage, Mirror, Plan, ReplicateError, mirror::Known, scan},
};

/// So many failures in a row that are about a registry as a whole make everything wait.
const REGISTRY_FAILURES: u32 = 3;
/// While deletions wait, a new one changes the plan that is to be approved: it is made again after this.
const PLAN_AGAIN: Duration = Duration::from_secs(30);
/// How long the destination's cursor may take to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why a session ended.
enum Ended {
    /// It was told to.
    Stopped,
    /// The edge has changed, or its source is another one: begin again.
    Restart,
    /// It cannot go on.
    Failed(String),
}

/// Runs one edge until `stop`.
pub(super) async fn run_edge<H: Home, R: Remotes>(
    shared: Arc<Shared<H, R>>,
    mut edges: watch::Receiver<Edge>,
    before: EdgeStatus,
    stop: CancellationToken,
) {
    let counters = Arc::new(Counters::from_counts(before.totals));
    // What was known before is of an edge that has ended, perhaps of a policy that was made anew since: until this one has
    // begun it is not said again of now.
    let board = Board::new(shared.clone(), EdgeStatus { state: EdgeState::Starting, ..before });
    let mut failures = 0;
    loop {
        let edge = edges.borrow_and_update().clone();
        let ended = if edge.suspend {
            board.update(|status| show::suspended(status, &edge));
            Ended::Restart
        } else {
            tokio::select! {
                () = stop.cancelled() => Ended::Stopped,
                begun = Session::begin(&shared, &edge, &board, &counters) => match begun {
                    Ok(session) => session.run(&mut edges, &stop).await,
                    Err(error) => Ended::Failed(error),
                }
            }
        };
        let pause = match ended {
            Ended::Stopped => break,
            Ended::Restart if edge.suspend => Duration::MAX,
            Ended::Restart => {
                failures = 0;
                Duration::ZERO
            }
            Ended::Failed(error) => {
                failures += 1;
                tracing::warn!(edge = edge.id, %error, "the edge cannot run");
                board.update(|status| show::failing(status, &edge, &error));
                jittered(shared.timing.backoff.0, shared.timing.backoff.1, failures, random())
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            changed = edges.changed(), if pause > Duration::ZERO => if changed.is_err() { break },
            () = tokio::time::sleep(pause) => {}
        }
    }
    board.close().await;
}

/// What a task of the session has to say.
enum Event {
    Worked(Work, Result<Done, ReplicateError>),
    Compared(Result<Plan, ReplicateError>),
    Polled(Result<JournalPage, HomeError>),
    Saved(DestinationCursor, Result<(), ClientError>),
}

/// A full compare and the work that it found.
struct Round {
    /// The request that it answers.
    request: Option<String>,
    began: Timestamp,
    /// Whether the plan is still being made.
    planning: bool,
    /// What is to be tried before the round has ended.
    open: HashSet<Work>,
}

struct Session<'a, H, R> {
    shared: &'a Arc<Shared<H, R>>,
    board: &'a Board<H, R>,
    counters: &'a Arc<Counters>,
    edge: Edge,
    coverage: Arc<Coverage>,
    mirror: Arc<Mirror>,
    tasks: JoinSet<Event>,
    working: usize,
    queue: Queue,
    unsettled: Unsettled,
    memory: Memory,
    /// Whether a compare has ended in this session without anything being withheld.
    established: bool,
    withheld: Option<Withheld>,
    round: Option<Round>,
    compare_at: Option<Instant>,
    compare_failures: u32,
    /// What the source has changed since the last compare began; `None`: not known.
    touched: Option<HashSet<Register>>,
    /// What a compare found and no change of the source explains.
    drift: HashSet<Work>,
    /// What of it was put right last, newest first.
    recent_drift: Vec<String>,
    /// Repositories of which the destination had nothing when the round was planned.
    new_repositories: BTreeSet<RepositoryName>,
    /// Referrers that were put off once.
    late: HashSet<Work>,
    /// The journal: the newest cursor, and those of pages of which something is open.
    cursor: String,
    page: u64,
    pages: BTreeMap<u64, String>,
    poll_failures: u32,
    poll_at: Option<Instant>,
    last_poll: Timestamp,
    saving: bool,
    saved: Option<DestinationCursor>,
    save_at: Instant,
    registry_failures: u32,
    paused_until: Option<Instant>,
    /// Why the edge as a whole does not get on.
    trouble: Option<String>,
    last_error: Option<String>,
}

impl<'a, H: Home, R: Remotes> Session<'a, H, R> {
    /// Reads what is remembered, and where the source's journal is.
    async fn begin(
        shared: &'a Arc<Shared<H, R>>,
        edge: &Edge,
        board: &'a Board<H, R>,
        counters: &'a Arc<Counters>,
    ) -> Result<Self, String> {
        let coverage = Coverage::compile(&edge.filters).map_err(|error| error.chain())?;
        let ends = shared.remotes.ends(edge).map_err(|error| error.chain())?;
        let memory =
            memory::recall(&shared.home, &ends.destination, &board.status()).await.map_err(|error| chain(&error))?;
        let start = memory::catch_up(&shared.home, &memory).await.map_err(|error| error.to_string())?;
        let mirror = Mirror::new(ends, counters.clone(), shared.workers * 2);
        let mut session = Self {
            shared,
            board,
            counters,
            edge: edge.clone(),
            coverage: Arc::new(coverage),
            mirror: Arc::new(mirror),
            tasks: JoinSet::new(),
            working: 0,
            queue: Queue::default(),
            unsettled: Unsettled::default(),
            memory,
            established: false,
            withheld: None,
            round: None,
            compare_at: None,
            compare_failures: 0,
            touched: start.changed,
            drift: HashSet::new(),
            recent_drift: board.status().recent_drift,
            new_repositories: BTreeSet::new(),
            late: HashSet::new(),
            cursor: start.cursor,
            page: 0,
            pages: BTreeMap::new(),
            poll_failures: 0,
            poll_at: None,
            last_poll: Timestamp::now(),
            saving: false,
            saved: None,
            save_at: Instant::now(),
            registry_failures: 0,
            paused_until: None,
            trouble: None,
            last_error: None,
        };
        session.saved.clone_from(&session.memory.theirs);
        session.open();
        Ok(session)
    }

    /// What an edge begins with: event edges compare and follow, manual ones do what was requested.
    fn open(&mut self) {
        match self.edge.trigger {
            Trigger::Event => {
                self.compare_at = Some(Instant::now());
                self.poll_at = Some(Instant::now());
            }
            Trigger::Manual if self.is_requested() => self.compare_at = Some(Instant::now()),
            Trigger::Manual => {}
        }
    }

    /// Whether a compare was requested that has not been handled.
    fn is_requested(&self) -> bool {
        let handled = self.board.status().last_handled_request;
        self.edge.requested_at.is_some() && self.edge.requested_at != handled
    }

    async fn run(mut self, edges: &mut watch::Receiver<Edge>, stop: &CancellationToken) -> Ended {
        let mut tick = tokio::time::interval(self.shared.timing.tick);
        let ended = loop {
            self.look_at_timers();
            self.fill();
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ended::Stopped,
                changed = edges.changed() => {
                    if changed.is_err() {
                        break Ended::Stopped;
                    }
                    let edge = edges.borrow_and_update().clone();
                    if !self.adopt(edge) {
                        break Ended::Restart;
                    }
                }
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => if let Some(ended) = self.take(event) { break ended },
                    Err(error) => break Ended::Failed(format!("a task ended badly: {error}")),
                },
                // Counting takes as long as the queue is: not after each event.
                _ = tick.tick() => self.show(),
            }
        };
        self.close().await;
        ended
    }

    /// Takes a changed edge on; false where the session must begin again.
    fn adopt(&mut self, edge: Edge) -> bool {
        let Edge {
            id: _,
            policy,
            source: _,
            destination,
            filters,
            deletions,
            trigger,
            suspend,
            requested_at,
            approved_plan,
        } = edge;
        let same = destination == self.edge.destination
            && filters == self.edge.filters
            && deletions == self.edge.deletions
            && trigger == self.edge.trigger
            && !suspend;
        if !same {
            return false;
        }
        let approved = approved_plan != self.edge.approved_plan && approved_plan.is_some();
        self.edge.policy = policy;
        self.edge.requested_at = requested_at;
        self.edge.approved_plan = approved_plan;
        if self.is_requested() || (approved && self.withheld.is_some()) {
            self.compare_at = Some(Instant::now());
        }
        true
    }

    fn look_at_timers(&mut self) {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.compare_at) && self.round.is_none() {
            self.compare();
        }
        if due(self.poll_at) {
            self.poll();
        }
        if due(self.paused_until) {
            self.paused_until = None;
        }
        for work in self.unsettled.due(now) {
            self.queue.push(work, Timestamp::now(), self.page);
        }
        if !self.saving && self.save_at <= now {
            self.save();
        }
    }

    /// Begins a full compare.
    fn compare(&mut self) {
        self.compare_at = None;
        if self.established {
            // Before the first compare it holds what changed while nobody followed.
            self.touched = Some(HashSet::new());
        }
        self.mirror.forget_old();
        self.round = Some(Round {
            request: self.edge.requested_at.clone(),
            began: Timestamp::now(),
            planning: true,
            open: HashSet::new(),
        });
        let (mirror, coverage, deletions) = (self.mirror.clone(), self.coverage.clone(), self.edge.deletions);
        self.tasks.spawn(async move { Event::Compared(scan::compare(&mirror, &coverage, deletions).await) });
    }

    fn poll(&mut self) {
        self.poll_at = None;
        let (shared, cursor) = (self.shared.clone(), self.cursor.clone());
        self.tasks.spawn(async move { Event::Polled(shared.home.journal(Some(&cursor), shared.timing.poll).await) });
    }

    /// Begins as much work as there are workers.
    fn fill(&mut self) {
        while self.paused_until.is_none() && self.working < self.shared.workers {
            let Some(work) = self.queue.take(Instant::now()) else { return };
            self.working += 1;
            let manner =
                Manner { deletions: self.edge.deletions, known: self.known(&work), late: self.late.contains(&work) };
            let (mirror, coverage) = (self.mirror.clone(), self.coverage.clone());
            self.tasks.spawn(async move {
                let done = work::perform(&mirror, &coverage, &work, manner).await;
                Event::Worked(work, done)
            });
        }
    }

    fn known(&self, work: &Work) -> Known {
        match work {
            Work::Tag(repository, _) if self.new_repositories.contains(repository) => Known::NewRepository,
            Work::Tag(..)
            | Work::Referrer(..)
            | Work::Manifest(..)
            | Work::Repository(_)
            | Work::DeleteTag(..)
            | Work::DeleteManifest(..) => Known::Nothing,
        }
    }

    /// How far everything was tried: the cursor to begin from the next time. `None` while that would forget why
    /// deletions wait, or that nothing has been compared yet.
    fn settled_cursor(&self) -> Option<DestinationCursor> {
        if !self.established || self.withheld.is_some() {
            return None;
        }
        let before_open = self.queue.first_open_page().and_then(|open| self.pages.range(..open).next_back());
        let cursor = match (self.queue.first_open_page(), before_open) {
            (None, _) => self.cursor.clone(),
            (Some(_), Some((_, cursor))) => cursor.clone(),
            (Some(_), None) => return None,
        };
        Some(DestinationCursor { store: self.memory.store.clone(), cursor, compared: true })
    }

    /// Writes the destination's cursor where it has moved.
    fn save(&mut self) {
        self.save_at = Instant::now() + self.shared.timing.save_every;
        let destination = self.mirror.ends().destination.clone();
        let Some(cursor) = self.settled_cursor().filter(|_| destination.is_regatta()) else { return };
        if self.saved.as_ref() == Some(&cursor) {
            return;
        }
        self.saving = true;
        let id = self.edge.id.clone();
        self.tasks.spawn(async move {
            let saved = memory::save(&destination, &id, &cursor).await;
            Event::Saved(cursor, saved)
        });
    }

    /// Stops everything and writes down how far it came.
    async fn close(mut self) {
        self.tasks.abort_all();
        self.show();
        let destination = self.mirror.ends().destination.clone();
        let Some(cursor) = self.settled_cursor().filter(|cursor| self.saved.as_ref() != Some(cursor)) else { return };
        if destination.is_regatta() {
            let saved = tokio::time::timeout(LAST_WORDS, memory::save(&destination, &self.edge.id, &cursor)).await;
            if !matches!(saved, Ok(Ok(()))) {
                tracing::warn!(edge = self.edge.id, "the destination's cursor could not be written");
            }
        }
    }

    /// The state as it is shown.
    fn state(&self) -> EdgeState {
        if self.trouble.is_some() {
            EdgeState::Failing
        } else if self.withheld.is_some() {
            EdgeState::DeletionsWithheld
        } else if self.round.is_some() && !(self.established && self.edge.trigger == Trigger::Event) {
            EdgeState::Comparing
        } else {
            match self.edge.trigger {
                Trigger::Event => EdgeState::Following,
                Trigger::Manual => EdgeState::Idle,
            }
        }
    }
}
