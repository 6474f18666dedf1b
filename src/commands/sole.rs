//! The one replica of a store that does not refuse to create what exists, and the collector that may write there in its
//! stead.
//!
//! It holds a lease, a register as others are. The store lets two write one version of it; but each looks again after a
//! pause, and then at most one of them finds its own name: the other goes.
//!
//! The lease that the store has lasts longer than its holder takes it to: he counts from before the write that renewed it,
//! and gives up a renewal and a margin sooner, also while the store does not answer.
//!
//! Who may share the store, as he sees it, looks out for such a lease ([`LookOut`]) and leaves writing to its holder; so
//! he does while he cannot look, and sooner than a holder who gave notice begins to write.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::registry::{RegistryError, layout, nonce, register::to_json, versions};
use crate::server::documents;
use crate::server::fault::chain;
use crate::store::{Durability, Store};

/// How long things last.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// A lease, unless it is renewed.
    lease: Duration,
    /// Between two renewals.
    renewal: Duration,
    /// How much sooner than its lease a holder stops at the least: what he began has to come to its end.
    margin: Duration,
    /// How long another that took it at the same moment has to show.
    pause: Duration,
    /// How long replicas that could share the store until now have to see the lease, and to end what they began.
    notice: Duration,
    /// How long an earlier replica's lease is waited for.
    patience: Duration,
    /// How often who may share the store looks whether another thinks otherwise.
    looks: Duration,
    /// How long after the beginning of the last look that found no such lease he writes.
    blind_after: Duration,
    /// How long who finds one has to end what he began: no more than is left of the notice then.
    to_end: Duration,
}

const TIMES: Times = Times {
    lease: Duration::from_mins(2),
    renewal: Duration::from_secs(30),
    margin: Duration::from_secs(10),
    pause: Duration::from_secs(2),
    notice: Duration::from_secs(15),
    patience: Duration::from_secs(150),
    looks: documents::POLL,
    blind_after: Duration::from_secs(10),
    to_end: Duration::from_secs(3),
};

/// How long giving back the lease may take.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// After a gap of this length the newest version is looked for anew: those that come next may be gone.
const ANEW_AFTER: Duration = Duration::from_hours(1);

/// One version of the lease's register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lease {
    /// Who holds.
    nonce: String,
    /// Until when, in milliseconds since the epoch by the store's clock; 0 for "given back".
    until: u64,
}

/// What keeps two replicas apart.
#[derive(Debug)]
pub struct Sole {
    store: Store,
    nonce: String,
    times: Times,
    /// Just before the last write that gave it the lease; none where it never had it, or gave it back.
    since: Mutex<Option<Instant>>,
    /// The newest version that is known, and when it was looked for.
    known: tokio::sync::Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    number: u64,
    lease: Option<Lease>,
    at: Instant,
}

impl Sole {
    /// Of this process.
    pub fn new(store: Store) -> Self {
        Self { store, nonce: nonce(), times: TIMES, since: Mutex::default(), known: tokio::sync::Mutex::default() }
    }

    /// Takes the lease; waits for an earlier one to end. False where another replica keeps it. Where others may share the
    /// store as they see it, they are given notice before this returns.
    pub async fn take(&self, others_may_share: bool) -> Result<bool, RegistryError> {
        let pause = if others_may_share { self.times.notice } else { self.times.pause };
        let deadline = Instant::now() + self.times.patience;
        loop {
            let begun = Instant::now();
            if self.is_free().await? {
                self.put(self.times.lease).await?;
                // So that it is given back by who ends meanwhile.
                self.note(Some(begun));
                tokio::time::sleep(pause).await;
                if self.is_mine().await? {
                    return Ok(true);
                }
                self.note(None);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(self.times.pause).await;
        }
    }

    /// Renews the lease until it is lost, or may be by now; then returns.
    pub async fn hold(&self) {
        self.hold_by(|| self.renew()).await;
    }

    async fn hold_by<F: Future<Output = Result<bool, RegistryError>>>(&self, renew: impl Fn() -> F) {
        let Times { lease, renewal, margin, .. } = self.times;
        loop {
            // Who never had it has to do something about it at once.
            let end = self.since().unwrap_or_else(Instant::now) + lease.saturating_sub(renewal + margin);
            let begun = (Instant::now() + renewal).min(end);
            tokio::time::sleep_until(begun).await;
            match tokio::time::timeout_at(end, renew()).await {
                Ok(Ok(true)) => self.note(Some(begun)),
                Ok(Ok(false)) => return,
                Ok(Err(error)) if Instant::now() < end => {
                    tracing::warn!(error = %chain(&error), "the lease of the only replica was not renewed");
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::error!("the lease of the only replica could not be renewed in time; another may take it");
                    return;
                }
            }
        }
    }

    fn since(&self) -> Option<Instant> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Gives the lease back, at the end. A store that cannot be reached keeps nobody: then the lease ends by itself.
    pub async fn end(&self) {
        match tokio::time::timeout(GIVE_BACK, self.give_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "the lease of the only replica was not given back");
            }
            Err(_) => tracing::warn!("the lease of the only replica was not given back in time"),
        }
    }

    /// Gives the lease back, so that the next replica need not wait. Who never had it asks nobody.
    async fn give_back(&self) -> Result<(), RegistryError> {
        if self.since().is_some() && self.is_mine().await? {
            self.put(Duration::ZERO).await?;
            self.note(None);
        }
        Ok(())
    }

    /// Whether another replica has the lease, and so thinks that it alone may write; for those that think otherwise. One
    /// look by name, mostly: versions are dense.
    pub async fn is_anothers(&self) -> Result<bool, RegistryError> {
        let mut newest = self.known.lock().await;
        let began = Instant::now();
        let known = newest.as_ref().filter(|known| known.at.elapsed() < ANEW_AFTER);
        let (mut number, mut lease) = match known {
            Some(known) => (known.number, known.lease.clone()),
            None => self.newest().await?.map_or((0, None), |(number, lease)| (number, Some(lease))),
        };
        while let Some(value) = self.store.read(&layout::sole().join(versions::name(number + 1))).await? {
            (number, lease) = (number + 1, Some(parse(&value)?));
        }
        let others = lease.clone().filter(|lease| lease.nonce != self.nonce && lease.until > 0);
        *newest = Some(Known { number, lease, at: began });
        match others {
            None => Ok(false),
            Some(lease) => Ok(lease.until > millis(self.store.now().await?)),
        }
    }

    /// Looks out from now on, by who looked last, and saw no other's lease, at `looked`.
    pub fn look_out(&self, looked: Instant) -> LookOut<'_> {
        let mut ticks = tokio::time::interval(self.times.looks);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        LookOut { sole: self, ticks, looked: Some(looked), cause: None }
    }

    /// How long who finds another's lease, or has lost his own, has to end what he began.
    pub fn to_end(&self) -> Duration {
        self.times.to_end
    }

    async fn renew(&self) -> Result<bool, RegistryError> {
        let mine = self.is_mine().await?;
        if mine {
            self.put(self.times.lease).await?;
        }
        Ok(mine)
    }

    async fn newest(&self) -> Result<Option<(u64, Lease)>, RegistryError> {
        let Some(newest) = versions::newest(&self.store, &layout::sole()).await? else { return Ok(None) };
        Ok(Some((newest.number, parse(&newest.value)?)))
    }

    async fn is_mine(&self) -> Result<bool, RegistryError> {
        Ok(self.newest().await?.is_some_and(|(_, lease)| lease.nonce == self.nonce && lease.until > 0))
    }

    async fn is_free(&self) -> Result<bool, RegistryError> {
        let now = millis(self.store.now().await?);
        Ok(self.newest().await?.is_none_or(|(_, lease)| lease.nonce == self.nonce || lease.until <= now))
    }

    async fn put(&self, lasts: Duration) -> Result<(), RegistryError> {
        let next = self.newest().await?.map_or(1, |(number, _)| number + 1);
        let until = if lasts.is_zero() { 0 } else { millis(self.store.now().await? + lasts) };
        let lease = Lease { nonce: self.nonce.clone(), until };
        // Lost to another: the look that follows tells.
        versions::land(&self.store, &layout::sole(), next, to_json(&lease), Durability::Durable).await?;
        Ok(())
    }
}

/// What is seen of another's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nobody else has it.
    Free,
    /// Another has it, and so thinks that it alone may write.
    Anothers,
    /// That was not seen for so long that another may have it by now.
    Blind,
}

/// Looks out for another's lease, for who may share the store and writes there for a while.
#[derive(Debug)]
pub struct LookOut<'a> {
    sole: &'a Sole,
    ticks: Interval,
    /// When the last look that succeeded began; none while blind.
    looked: Option<Instant>,
    /// Why the last look that failed did.
    cause: Option<String>,
}

impl LookOut<'_> {
    /// What the next look sees. One that fails is followed by others, until what was seen before it is too old: that is
    /// said as soon as it is, whatever the store does meanwhile.
    pub async fn next(&mut self) -> Seen {
        let Times { blind_after, .. } = self.sole.times;
        // Who is blind gives each look half of that time, so that what it sees is good for the other half.
        let until = self.looked.map_or_else(|| Instant::now() + blind_after / 2, |looked| looked + blind_after);
        match tokio::time::timeout_at(until, self.look()).await {
            // A process may have stood still since.
            Ok((began, anothers)) if began.elapsed() < blind_after => {
                self.looked = Some(began);
                if anothers { Seen::Anothers } else { Seen::Free }
            }
            Ok(_) | Err(_) => {
                self.looked = None;
                Seen::Blind
            }
        }
    }

    /// When a look that succeeded began, and whether another has the lease.
    async fn look(&mut self) -> (Instant, bool) {
        self.cause = None;
        loop {
            self.ticks.tick().await;
            let began = Instant::now();
            // One request that is never answered is no reason to be blind: the next may be.
            match tokio::time::timeout(self.sole.times.blind_after / 3, self.sole.is_anothers()).await {
                Ok(Ok(anothers)) => return (began, anothers),
                Ok(Err(error)) => self.cause = Some(chain(&error)),
                Err(_) => self.cause = Some("the store did not answer".to_owned()),
            }
        }
    }

    /// Whether a look failed since something was seen before.
    pub fn has_failed(&self) -> bool {
        self.cause.is_some()
    }

    /// Why nothing was seen.
    pub fn cause(&self) -> &str {
        self.cause.as_deref().unwrap_or("the store did not answer")
    }
}

fn parse(value: &[u8]) -> Result<Lease, RegistryError> {
    serde_json::from_slice(value)
        .map_err(|error| RegistryError::Corrupt { key: layout::sole().to_string(), why: error.to_string() })
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// In milliseconds what takes seconds.
#[cfg(test)]
pub(super) fn quick(store: &Store) -> Sole {
    let times = Times {
        lease: Duration::from_mins(2),
        renewal: Duration::from_millis(20),
        margin: Duration::from_millis(20),
        pause: Duration::from_millis(50),
        notice: Duration::from_millis(50),
        patience: Duration::from_millis(200),
        looks: Duration::from_millis(10),
        blind_after: Duration::from_millis(200),
        to_end: Duration::from_millis(60),
    };
    Sole { times, ..Sole::new(store.clone()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};

    use futures::FutureExt as _;
    use tokio::runtime::Handle;

    use super::*;
    use crate::store::Key;
    use crate::store::faulty::{FaultyStore, Operation};
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn of_two_replicas_one_serves_until_it_gives_back() {
        let store: Store = Arc::new(MemoryStore::default());
        let (first, second) = (quick(&store), quick(&store));
        assert!(first.take(false).await.unwrap());
        assert!(!second.take(false).await.unwrap());
        assert!(first.renew().await.unwrap());
        first.give_back().await.unwrap();
        assert!(second.take(false).await.unwrap());
        // It is the other's now, and nobody gives back what is another's.
        first.hold().await;
        first.give_back().await.unwrap();
        assert!(second.renew().await.unwrap());
    }

    /// The next one waited for two minutes, until the lease ended by itself.
    #[tokio::test]
    async fn who_ends_while_taking_the_lease_gives_it_back() {
        let store: Store = Arc::new(MemoryStore::default());
        let (first, second) = (quick(&store), quick(&store));
        let put = tokio::time::timeout(first.times.pause / 2, first.take(false)).await;
        assert!(put.is_err() && !second.is_free().await.unwrap(), "it has put the lease, and waits");
        first.end().await;
        assert!(second.take(false).await.unwrap());
    }

    /// A store as those are that only one may serve: what is created anew is overwritten. The first two writes wait for
    /// each other, so that neither writer saw the other's.
    fn careless() -> Store {
        let memory: Store = Arc::new(MemoryStore::default());
        let (inner, both, writes) = (Arc::clone(&memory), Barrier::new(2), AtomicUsize::new(0));
        let judge = move |operation: Operation, key: &Key| {
            if operation == Operation::PutNew {
                if writes.fetch_add(1, Ordering::SeqCst) < 2 {
                    both.wait();
                }
                let _ = inner.delete(key).now_or_never();
            }
            true
        };
        Arc::new(FaultyStore::new(memory, judge))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_two_that_begin_at_once_one_serves() {
        let store = careless();
        let take = || {
            let sole = quick(&store);
            // Each with a thread of its own: they wait for each other there, and a runtime's may come to have both tasks.
            tokio::task::spawn_blocking(move || Handle::current().block_on(sole.take(false)).unwrap())
        };
        let (first, second) = (take(), take());
        assert_eq!(u8::from(first.await.unwrap()) + u8::from(second.await.unwrap()), 1);
    }

    /// It went on for as long as the store took to answer, while another had the lease.
    #[tokio::test]
    async fn a_holder_whose_store_does_not_answer_gives_up_before_its_lease_ends() {
        let store: Store = Arc::new(MemoryStore::default());
        for fails in [false, true] {
            let mut sole = quick(&store);
            sole.times.lease = Duration::from_millis(300);
            sole.note(Some(Instant::now()));
            let hangs = || async move {
                if fails {
                    let key = layout::sole().to_string();
                    return Err(RegistryError::Corrupt { key, why: "told to".to_owned() });
                }
                std::future::pending().await
            };
            let end = sole.since().unwrap() + sole.times.lease;
            tokio::time::timeout_at(end, sole.hold_by(hangs)).await.expect("it gives up in time");
        }
    }

    #[tokio::test]
    async fn who_may_share_sees_the_lease_of_who_may_not_until_it_ends_or_is_given_back() {
        let store: Store = Arc::new(MemoryStore::default());
        let (watcher, holder) = (quick(&store), quick(&store));
        assert!(!watcher.is_anothers().await.unwrap());
        assert!(holder.take(true).await.unwrap());
        assert!(watcher.is_anothers().await.unwrap());
        assert!(!holder.is_anothers().await.unwrap(), "it is its own");
        assert!(holder.renew().await.unwrap());
        assert!(watcher.is_anothers().await.unwrap());
        holder.give_back().await.unwrap();
        assert!(!watcher.is_anothers().await.unwrap());
        let mut short = quick(&store);
        short.times.lease = Duration::from_millis(100);
        assert!(short.take(false).await.unwrap());
        let ends = Instant::now() + Duration::from_secs(10);
        while watcher.is_anothers().await.unwrap() {
            assert!(Instant::now() < ends, "the lease never ends");
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn who_may_share_has_ended_before_who_gave_notice_writes() {
        assert!(TIMES.looks < TIMES.blind_after / 2, "the blind look too");
        assert!(TIMES.blind_after + TIMES.to_end < TIMES.notice);
        assert!(TIMES.to_end < TIMES.margin, "and who had the lease before another can have it");
    }

    /// A store whose looks at the lease fail, or are never answered, while the test says so.
    fn fickle(fails: &Arc<AtomicBool>, hangs: &Arc<AtomicBool>) -> Store {
        let is_lease = |key: &Key| key.as_str().starts_with(layout::sole().as_str());
        let (fails, hangs) = (Arc::clone(fails), Arc::clone(hangs));
        let store = FaultyStore::new(Arc::new(MemoryStore::default()), move |_, key| {
            !(is_lease(key) && fails.load(Ordering::SeqCst))
        });
        Arc::new(store.hanging(move |_, key| is_lease(key) && hangs.load(Ordering::SeqCst)))
    }

    #[tokio::test]
    async fn who_may_share_is_told_when_another_takes_the_lease_or_may_have_it() {
        let (fails, hangs) = (Arc::new(AtomicBool::default()), Arc::new(AtomicBool::default()));
        let store = fickle(&fails, &hangs);
        let (watcher, holder) = (quick(&store), quick(&store));
        let mut out = watcher.look_out(Instant::now());
        assert_eq!(out.next().await, Seen::Free, "nobody has it");
        assert!(holder.take(true).await.unwrap());
        assert_eq!(out.next().await, Seen::Anothers);
        assert_eq!(out.next().await, Seen::Anothers, "it has it still");
        holder.give_back().await.unwrap();
        assert_eq!(out.next().await, Seen::Free);
        for fault in [&fails, &hangs] {
            let looked = out.looked.unwrap();
            fault.store(true, Ordering::SeqCst);
            assert_eq!(out.next().await, Seen::Blind, "{}", out.cause());
            assert!(looked.elapsed() >= watcher.times.blind_after, "one failure is none yet: {:?}", looked.elapsed());
            assert_eq!(out.next().await, Seen::Blind, "it is still so");
            assert_eq!(out.cause().contains("told to"), fails.load(Ordering::SeqCst), "{}", out.cause());
            fault.store(false, Ordering::SeqCst);
            assert_eq!(out.next().await, Seen::Free, "it can be seen again");
        }
        hangs.store(true, Ordering::SeqCst);
        assert_eq!(out.next().await, Seen::Blind);
        hangs.store(false, Ordering::SeqCst);
        assert!(holder.take(true).await.unwrap());
        assert_eq!(out.next().await, Seen::Anothers, "from then on");
    }

    #[tokio::test]
    async fn who_looked_long_ago_is_blind_until_he_has_looked_again() {
        let store: Store = fickle(&Arc::default(), &Arc::new(AtomicBool::new(true)));
        let watcher = quick(&store);
        let mut out = watcher.look_out(Instant::now() - watcher.times.blind_after);
        assert_eq!(out.next().await, Seen::Blind);
        assert!(out.looked.is_none());
    }

    #[tokio::test]
    async fn a_look_costs_one_request() {
        let memory: Store = Arc::new(MemoryStore::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let judge = move |_: Operation, _: &Key| {
            counted.fetch_add(1, Ordering::SeqCst);
            true
        };
        let store: Store = Arc::new(FaultyStore::new(memory, judge));
        let watcher = quick(&store);
        watcher.is_anothers().await.unwrap();
        asked.store(0, Ordering::SeqCst);
        watcher.is_anothers().await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    /// It asked a store that did not answer any more, and warned of a lease that it never had.
    #[tokio::test]
    async fn who_never_had_the_lease_asks_nobody_at_its_end() {
        let store: Store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), |_, _| false));
        quick(&store).give_back().await.unwrap();
    }

    #[tokio::test]
    async fn a_lease_that_was_not_renewed_ends() {
        let store: Store = Arc::new(MemoryStore::default());
        let (mut first, second) = (quick(&store), quick(&store));
        first.times.lease = Duration::from_millis(100);
        assert!(first.take(false).await.unwrap());
        assert!(second.take(false).await.unwrap());
    }
}
