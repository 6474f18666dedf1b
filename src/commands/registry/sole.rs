//! The one replica of a store that does not refuse to create what exists.
//!
//! It holds a lease, a register as others are. The store lets two write one version of it; but each looks again after a
//! pause, and then at most one of them finds its own name: the other goes.

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
    /// How long another that took it at the same moment has to show.
    pause: Duration,
    /// How long an earlier replica's lease is waited for.
    patience: Duration,
}

const TIMES: Times = Times {
    lease: Duration::from_mins(2),
    renewal: Duration::from_secs(30),
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
}

impl Sole {
    /// Of this process.
    pub fn new(store: Store) -> Self {
        Self { store, nonce: nonce(), times: TIMES }
    }

    /// Takes the lease; waits for an earlier one to end. False where another replica keeps it.
    pub async fn take(&self) -> Result<bool, RegistryError> {
        let deadline = Instant::now() + self.times.patience;
        loop {
            if self.is_free().await? {
                self.put(self.times.lease).await?;
                tokio::time::sleep(self.times.pause).await;
                if self.is_mine().await? {
                    return Ok(true);
                }
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(self.times.pause).await;
        }
    }

    /// Renews the lease until it is lost; then returns.
    pub async fn hold(&self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.times.renewal).await;
            match self.renew().await {
                Ok(true) => renewed = Instant::now(),
                Err(error) if renewed.elapsed() < self.times.lease => {
                    tracing::warn!(error = %chain(&error), "the lease of the only replica was not renewed");
                }
                Ok(false) | Err(_) => return,
            }
        }
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
    use std::sync::Arc;

    use super::*;
    use crate::store::memory::MemoryStore;

    fn sole(store: &Store) -> Sole {
        let times = Times {
            lease: Duration::from_mins(2),
            renewal: Duration::from_millis(20),
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

    #[tokio::test]
    async fn of_two_that_begin_at_once_one_serves() {
        let store: Store = Arc::new(MemoryStore::default());
        let (first, second) = (sole(&store), sole(&store));
        let (first, second) = tokio::join!(first.take(), second.take());
        assert_eq!(u8::from(first.unwrap()) + u8::from(second.unwrap()), 1);
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
