//! Carries a plan out, under the hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::{Counts, Options, Orphan, Plan, Turn, plan};
use super::survey::{Item, Survey, survey};
use crate::registry::register::{Author, Cause, Draft, Op, Permit};
use crate::registry::{Register, Registry, RegistryError, hold, journal, layout};

/// How many things are done between two looks at the hold.
const BATCH: usize = 256;

/// How long a hold of another collector is waited for: longer than one that died can last.
const WAIT_FOR_HOLD: Duration = Duration::from_millis(hold::LEASE_MILLIS + 60_000);

/// How far the clock may be from the store's.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// What was done, or by a dry run would be.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Looked at.
    pub scanned: Counts,
    /// Put into the trash.
    pub condemned: Counts,
    /// Taken back.
    pub rescued: Counts,
    /// Removed.
    pub purged: Counts,
    /// Bytes that came free.
    pub bytes_freed: u64,
    /// What could not be read, and was kept.
    pub errors: Vec<String>,
}

/// Why a run ended early. What it did so far is done right; another run goes on.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The store or what is in it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Another collector is at work.
    #[error("another collection holds the registry read-only; try again when it has ended")]
    Held,
    /// The hold is gone: this process was frozen, or somebody took it.
    #[error("the read-only hold was lost; nothing more was touched, run the collection again")]
    HoldLost,
    /// Grace, window and hold are judged by clocks.
    #[error("this machine's clock is {0} s off the store's; set it and run the collection again")]
    ClockIsOff(u64),
    /// Told to stop.
    #[error("stopped before the end; run the collection again to go on")]
    Stopped,
    /// Repositories that were not adopted.
    #[error(
        "the store has repositories of another registry (docker/registry/v2/repositories) that were never adopted; their blobs would be taken for garbage"
    )]
    ForeignRepositories,
}

/// The read-only hold, renewed until it is dropped.
struct Holding {
    registry: Registry,
    nonce: String,
    lost: Arc<AtomicBool>,
    renewal: tokio::task::JoinHandle<()>,
}

impl Holding {
    async fn take(registry: &Registry, nonce: &str, stop: &CancellationToken) -> Result<Self, CollectError> {
        let deadline = Instant::now() + WAIT_FOR_HOLD;
        while !renew(registry, nonce).await? {
            if Instant::now() > deadline {
                return Err(CollectError::Held);
            }
            tracing::info!("another collection holds the registry read-only; waiting");
            tokio::select! {
                () = stop.cancelled() => return Err(CollectError::Stopped),
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        }
        let lost = Arc::new(AtomicBool::new(false));
        let renewal = tokio::spawn(keep(registry.clone(), nonce.to_owned(), Arc::clone(&lost)));
        Ok(Self { registry: registry.clone(), nonce: nonce.to_owned(), lost, renewal })
    }

    /// The hold and the format are still what they were.
    async fn check(&self, stop: &CancellationToken) -> Result<(), CollectError> {
        if stop.is_cancelled() {
            return Err(CollectError::Stopped);
        }
        check_clock(&self.registry).await?;
        let now = self.registry.clock().now_millis();
        let hold = hold::read(self.registry.store()).await?;
        let ours = hold.is_some_and(|(_, hold)| hold.nonce == self.nonce && hold.until > now);
        let identity = self.registry.store().read(&layout::store_identity()).await.map_err(RegistryError::from)?;
        let same = identity.is_some_and(|bytes| bytes == crate::registry::register::to_json(self.registry.identity()));
        if ours && same && !self.lost.load(Ordering::Relaxed) { Ok(()) } else { Err(CollectError::HoldLost) }
    }

    async fn give_back(self) -> Result<(), CollectError> {
        self.renewal.abort();
        let now = self.registry.clock().now_millis();
        hold::put(self.registry.store(), &self.nonce, 0, now).await?;
        Ok(())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Writers judge the hold by their clocks, which are within a minute of the store's; so must this one be, and closer.
async fn check_clock(registry: &Registry) -> Result<(), CollectError> {
    let theirs = registry.store().now().await.map_err(RegistryError::from)?;
    let theirs = theirs.duration_since(UNIX_EPOCH).unwrap_or_default();
    let apart = Duration::from_millis(registry.clock().now_millis()).abs_diff(theirs);
    if apart > CLOCK_TOLERANCE { Err(CollectError::ClockIsOff(apart.as_secs())) } else { Ok(()) }
}

async fn renew(registry: &Registry, nonce: &str) -> Result<bool, RegistryError> {
    let now = registry.clock().now_millis();
    hold::put(registry.store(), nonce, now + hold::LEASE_MILLIS, now).await
}

async fn keep(registry: Registry, nonce: String, lost: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(hold::LEASE_MILLIS / 6));
    loop {
        ticks.tick().await;
        if !matches!(renew(&registry, &nonce).await, Ok(true)) {
            lost.store(true, Ordering::Relaxed);
            return;
        }
    }
}

/// Collects; with `dry_run` only says what it would do.
pub async fn collect(
    registry: &Registry,
    options: &Options,
    dry_run: bool,
    stop: &CancellationToken,
) -> (Outcome, Result<(), CollectError>) {
    let mut collection = Collection::of(registry, options, dry_run);
    let result = collection.run(stop).await;
    (collection.outcome, result)
}

/// One that may be dropped anywhere while it runs, and run again: it looks at everything anew then, as the next collection
/// would, under the hold that it had if that has not ended. All that it did counts together, but for the one thing that was
/// under way: whether that was done nobody knows.
pub struct Collection<'a> {
    registry: &'a Registry,
    options: &'a Options,
    dry_run: bool,
    /// The hold's.
    nonce: String,
    /// What it did so far.
    pub outcome: Outcome,
}

impl<'a> Collection<'a> {
    /// One that did nothing yet.
    pub fn of(registry: &'a Registry, options: &'a Options, dry_run: bool) -> Self {
        Self { registry, options, dry_run, nonce: crate::registry::nonce(), outcome: Outcome::default() }
    }

    /// Runs to the end, or until it is told to stop.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<(), CollectError> {
        let Self { registry, options, dry_run, nonce, outcome } = self;
        if *dry_run {
            let (_, plan) = plan_only(registry, options, outcome).await?;
            outcome.planned(&plan);
            return Ok(());
        }
        check_clock(registry).await?;
        let holding = Holding::take(registry, nonce, stop).await?;
        tracing::info!("the registry is read-only until the collection ends");
        let result = run(registry, options, outcome, &holding, stop).await;
        let given_back = holding.give_back().await;
        result.and(given_back)
    }
}

impl Outcome {
    fn scanned(&mut self, survey: &Survey) {
        let repositories = survey.repositories.values();
        // Who begins anew does not find what it has purged before.
        let Counts { manifests, links, blobs } = self.scanned;
        self.scanned = Counts {
            manifests: manifests.max(repositories.clone().map(|repository| repository.manifests.len() as u64).sum()),
            links: links.max(repositories.map(|repository| repository.links.len() as u64).sum()),
            blobs: blobs.max((survey.data.len() + survey.trash.len()) as u64),
        };
        self.errors.clone_from(&survey.errors);
    }

    fn planned(&mut self, plan: &Plan) {
        self.condemned = Counts::of(&plan.condemn, plan.condemn_data.len());
        self.rescued = Counts::of(&plan.rescue, plan.rescue_data.len());
        self.purged = Counts::of(&plan.purge, plan.purge_data.len() + plan.purge_condemned.len());
        self.bytes_freed = plan.bytes_freed();
    }
}

/// With the real one's clock check, so that it refuses what that one refuses.
async fn plan_only(
    registry: &Registry,
    options: &Options,
    outcome: &mut Outcome,
) -> Result<(Survey, Plan), CollectError> {
    check_clock(registry).await?;
    look(registry, options, outcome).await
}

async fn look(registry: &Registry, options: &Options, outcome: &mut Outcome) -> Result<(Survey, Plan), CollectError> {
    if registry.has_foreign_repositories().await? {
        return Err(CollectError::ForeignRepositories);
    }
    let mut told = Instant::now();
    let survey = survey(registry, |survey| {
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            tracing::info!(repositories = survey.repositories.len(), blobs = survey.data.len(), "marking");
        }
    })
    .await?;
    outcome.scanned(&survey);
    let plan = plan(&survey, options, registry.clock().now_millis());
    Ok((survey, plan))
}

async fn run(
    registry: &Registry,
    options: &Options,
    outcome: &mut Outcome,
    holding: &Holding,
    stop: &CancellationToken,
) -> Result<(), CollectError> {
    journal::claim_all(registry.store(), registry.clock().now_millis()).await?;
    let (_, first) = look(registry, options, outcome).await?;
    let scanned = outcome.scanned;
    let work = Work { registry, holding, stop };
    work.rescue(&first, outcome).await?;
    work.condemn(&first, outcome).await?;
    // The second look, at everything.
    let (survey, second) = look(registry, options, outcome).await?;
    outcome.scanned = scanned;
    work.rescue(&second, outcome).await?;
    work.purge(&second, &survey, outcome).await
}

struct Work<'a> {
    registry: &'a Registry,
    holding: &'a Holding,
    stop: &'a CancellationToken,
}

fn author() -> Author {
    Author { actor: "system:collector".to_owned(), cause: Cause::Collection }
}

impl Work<'_> {
    /// Asked before each thing that is done: where it is another's turn to write, there is little time to end.
    fn go_on(&self) -> Result<(), CollectError> {
        if self.stop.is_cancelled() { Err(CollectError::Stopped) } else { Ok(()) }
    }

    /// Gives a register its next version, if it still is what was surveyed; false where a writer was first. Not only
    /// its op counts: one that was set again is young again.
    async fn turn(&self, turn: &Turn, to: Op) -> Result<bool, CollectError> {
        let Some(head) = self.registry.head(&turn.register).await? else { return Ok(false) };
        if Item::of(&head) != Some(turn.seen) {
            return Ok(false);
        }
        let draft = Draft::from_entry(&head.entry, to);
        Ok(self.registry.land(&turn.register, Some(&head), &draft, &author(), Permit::Held).await?.is_some())
    }

    async fn rescue(&self, plan: &Plan, outcome: &mut Outcome) -> Result<(), CollectError> {
        for batch in plan.rescue.chunks(BATCH) {
            self.holding.check(self.stop).await?;
            for turn in batch {
                self.go_on()?;
                if self.turn(turn, Op::Set).await? {
                    outcome.rescued.add(&turn.register);
                }
            }
        }
        for digest in &plan.rescue_data {
            self.go_on()?;
            outcome.rescued.blobs += u64::from(self.registry.rescue_data(digest).await?);
        }
        Ok(())
    }

    async fn condemn(&self, plan: &Plan, outcome: &mut Outcome) -> Result<(), CollectError> {
        for batch in plan.condemn.chunks(BATCH) {
            self.holding.check(self.stop).await?;
            for turn in batch {
                self.go_on()?;
                if self.turn(turn, Op::Condemn).await? {
                    outcome.condemned.add(&turn.register);
                }
            }
        }
        for batch in plan.condemn_data.chunks(BATCH) {
            self.holding.check(self.stop).await?;
            let now = self.registry.clock().now_millis();
            for (digest, _) in batch {
                self.go_on()?;
                outcome.condemned.blobs += u64::from(self.registry.condemn_data(digest, now).await?);
            }
        }
        Ok(())
    }

    /// Manifests before what they name, links, then bytes. What a run that was interrupted leaves of hints and of the
    /// catalog, the next one finds in its own survey.
    async fn purge(&self, plan: &Plan, survey: &Survey, outcome: &mut Outcome) -> Result<(), CollectError> {
        for batch in plan.purge.chunks(BATCH) {
            self.holding.check(self.stop).await?;
            for turn in batch.iter().filter(|turn| turn.seen.condemned) {
                self.go_on()?;
                if self.turn(turn, Op::Delete).await? {
                    outcome.purged.add(&turn.register);
                    self.forget_hints(turn, survey).await?;
                }
            }
        }
        for batch in plan.purge_data.chunks(BATCH) {
            self.holding.check(self.stop).await?;
            for trashed in batch {
                self.go_on()?;
                if self.registry.store().delete(&trashed.key).await.map_err(RegistryError::from)? {
                    outcome.purged.blobs += 1;
                    outcome.bytes_freed += trashed.size;
                }
            }
        }
        self.forget_orphans(plan).await?;
        self.mend_catalog(plan).await
    }

    /// The hints that a manifest left which was purged just now. Whoever pushes it anew makes one of a later version.
    async fn forget_hints(&self, turn: &Turn, survey: &Survey) -> Result<(), CollectError> {
        let Register::Manifest(name, digest) = &turn.register else { return Ok(()) };
        let hints = survey.repositories.get(name).map(|repository| repository.hints.as_slice()).unwrap_or_default();
        for hint in hints.iter().filter(|hint| hint.referrer == *digest && hint.version <= turn.seen.version + 1) {
            self.registry.forget_hint(name, hint).await?;
        }
        Ok(())
    }

    async fn forget_orphans(&self, plan: &Plan) -> Result<(), CollectError> {
        for batch in plan.forget.chunks(BATCH) {
            self.holding.check(self.stop).await?;
            for orphan in batch {
                self.go_on()?;
                if orphan.ended || self.end_what_never_came(orphan).await? {
                    self.registry.forget_hint(&orphan.repository, &orphan.hint).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes the first version of a register that has none, so that the hint's name is nobody's any more: a push that
    /// comes after this makes one of the second version.
    async fn end_what_never_came(&self, orphan: &Orphan) -> Result<bool, CollectError> {
        let register = Register::Manifest(orphan.repository.clone(), orphan.hint.referrer.clone());
        let draft = Draft { op: Op::Delete, digest: orphan.hint.referrer.clone(), media_type: None, size: 0 };
        let landed = self.registry.land(&register, None, &draft, &author(), Permit::Held).await?.is_some();
        Ok(landed && orphan.hint.version <= 1)
    }

    async fn mend_catalog(&self, plan: &Plan) -> Result<(), CollectError> {
        for name in &plan.leave {
            self.go_on()?;
            if self.registry.is_empty(name).await? {
                self.holding.check(self.stop).await?;
                self.registry.forget_repository(name).await?;
            }
        }
        for name in &plan.enter {
            self.go_on()?;
            self.registry.enter(name).await?;
        }
        Ok(())
    }
}
