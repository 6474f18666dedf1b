//! The one replica of a store that does not refuse to create what exists.
//!
//! It holds a lease, a register as others are. The store lets two write one version of it; but each looks again after a
//! pause, and then at most one of them finds its own name: the other goes.
//!
//! The lease that the store has lasts longer than its holder takes it to: he counts from before the write that renewed it,
//! and gives up a renewal and a margin sooner, also while the store does not answer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::registry::{RegistryError, layout, nonce, register::to_json, versions};
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
    /// How long an earlier replica's lease is waited for.
    patience: Duration,
}

const TIMES: Times = Times {
    lease: Duration::from_mins(2),
    renewal: Duration::from_secs(30),
    margin: Duration::from_secs(10),
    pause: Duration::from_secs(2),
    patience: Duration::from_secs(150),
};

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
    /// Just before the last write that gave it the lease.
    since: Mutex<Instant>,
}

impl Sole {
    /// Of this process.
    pub fn new(store: Store) -> Self {
        Self { store, nonce: nonce(), times: TIMES, since: Mutex::new(Instant::now()) }
    }

    /// Takes the lease; waits for an earlier one to end. False where another replica keeps it.
    pub async fn take(&self) -> Result<bool, RegistryError> {
        let deadline = Instant::now() + self.times.patience;
        loop {
            let begun = Instant::now();
            if self.is_free().await? {
                self.put(self.times.lease).await?;
                tokio::time::sleep(self.times.pause).await;
                if self.is_mine().await? {
                    self.note(begun);
                    return Ok(true);
                }
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
            let end = self.since() + lease.saturating_sub(renewal + margin);
            let begun = (Instant::now() + renewal).min(end);
            tokio::time::sleep_until(begun).await;
            match tokio::time::timeout_at(end, renew()).await {
                Ok(Ok(true)) => self.note(begun),
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

    fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, since: Instant) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Gives the lease back, so that the next replica need not wait.
    pub async fn give_back(&self) -> Result<(), RegistryError> {
        if self.is_mine().await? { self.put(Duration::ZERO).await } else { Ok(()) }
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
        let corrupt = |error: serde_json::Error| RegistryError::Corrupt {
            key: layout::sole().to_string(),
            why: error.to_string(),
        };
        Ok(Some((newest.number, serde_json::from_slice(&newest.value).map_err(corrupt)?)))
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

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};

    use futures::FutureExt as _;

    use super::*;
    use crate::store::Key;
    use crate::store::faulty::{FaultyStore, Operation};
    use crate::store::memory::MemoryStore;

    fn sole(store: &Store) -> Sole {
        let times = Times {
            lease: Duration::from_mins(2),
            renewal: Duration::from_millis(20),
            margin: Duration::from_millis(20),
            pause: Duration::from_millis(50),
            patience: Duration::from_millis(200),
        };
        Sole { times, ..Sole::new(store.clone()) }
    }

    #[tokio::test]
    async fn of_two_replicas_one_serves_until_it_gives_back() {
        let store: Store = Arc::new(MemoryStore::default());
        let (first, second) = (sole(&store), sole(&store));
        assert!(first.take().await.unwrap());
        assert!(!second.take().await.unwrap());
        assert!(first.renew().await.unwrap());
        first.give_back().await.unwrap();
        assert!(second.take().await.unwrap());
        // It is the other's now, and nobody gives back what is another's.
        first.hold().await;
        first.give_back().await.unwrap();
        assert!(second.renew().await.unwrap());
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
            let sole = sole(&store);
            tokio::spawn(async move { sole.take().await.unwrap() })
        };
        let (first, second) = (take(), take());
        assert_eq!(u8::from(first.await.unwrap()) + u8::from(second.await.unwrap()), 1);
    }

    /// It went on for as long as the store took to answer, while another had the lease.
    #[tokio::test]
    async fn a_holder_whose_store_does_not_answer_gives_up_before_its_lease_ends() {
        let store: Store = Arc::new(MemoryStore::default());
        for fails in [false, true] {
            let mut sole = sole(&store);
            sole.times.lease = Duration::from_millis(300);
            sole.note(Instant::now());
            let hangs = || async move {
                if fails {
                    let key = layout::sole().to_string();
                    return Err(RegistryError::Corrupt { key, why: "told to".to_owned() });
                }
                std::future::pending().await
            };
            let end = sole.since() + sole.times.lease;
            tokio::time::timeout_at(end, sole.hold_by(hangs)).await.expect("it gives up in time");
        }
    }

    #[tokio::test]
    async fn a_lease_that_was_not_renewed_ends() {
        let store: Store = Arc::new(MemoryStore::default());
        let (mut first, second) = (sole(&store), sole(&store));
        first.times.lease = Duration::from_millis(100);
        assert!(first.take().await.unwrap());
        assert!(second.take().await.unwrap());
    }
}
