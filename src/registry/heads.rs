//! Heads of registers as readers want them: from memory, after a look that nothing came after them.
//!
//! Versions are dense and written once, so a head that was version n is still the head as long as there is no n+1:
//! one look-up that finds nothing instead of a listing and a read. What exists *now* is still read from the store at
//! every request. Version n+1 can also be missing because it was compacted, but only when it has been superseded for a
//! day; so what was not confirmed within the last hour, by the clock of the machine and by that of the wall, is read
//! anew.
//!
//! Only registers that are set are kept: the others are rare, and their versions may be removed altogether.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::{CacheFigures, Head, Lookups, Register, Registry, Result, versions};
use crate::store::Key;

/// How many heads are kept: some 700 bytes each.
const KEPT: usize = 12_000;

/// For how many registers it is kept that another writer was first: those that are being written.
const LOST: usize = 256;

/// For how long a head can be confirmed; versions are compacted a day after they were superseded.
const CONFIRMED: Duration = Duration::from_hours(1);

#[derive(Debug)]
pub(super) struct Heads {
    start: Instant,
    cache: Cache<Register, Arc<Known>>,
    /// Versions that could not be landed since they were there.
    lost: Cache<Register, u64>,
    lookups: Lookups,
}

impl Heads {
    pub(super) fn figures(&self) -> CacheFigures {
        self.lookups.figures("heads", self.cache.len())
    }
}

impl Default for Heads {
    fn default() -> Self {
        Self { start: Instant::now(), cache: Cache::new(KEPT), lost: Cache::new(LOST), lookups: Lookups::default() }
    }
}

#[derive(Debug)]
struct Known {
    head: Arc<Head>,
    /// Where the next version would be.
    next: Key,
    /// Milliseconds since the process started, and since the epoch.
    machine: AtomicU64,
    wall: AtomicU64,
}

impl Heads {
    /// Another writer was first to land this version: the head is this one or a later one, whatever a listing says.
    pub(super) fn lost(&self, register: &Register, version: u64) {
        self.lost.insert(register.clone(), version);
    }

    /// The least version that the head is known to have.
    pub(super) fn least(&self, register: &Register) -> u64 {
        if self.lost.is_empty() { 0 } else { self.lost.get(register).unwrap_or_default() }
    }
}

impl Known {
    fn is_recent(&self, (machine, wall): (u64, u64)) -> bool {
        let limit = u64::try_from(CONFIRMED.as_millis()).unwrap_or(u64::MAX);
        machine.saturating_sub(self.machine.load(Ordering::Relaxed)) < limit
            && wall.abs_diff(self.wall.load(Ordering::Relaxed)) < limit
    }

    fn confirm(&self, (machine, wall): (u64, u64)) {
        self.machine.store(machine, Ordering::Relaxed);
        self.wall.store(wall, Ordering::Relaxed);
    }
}

impl Registry {
    /// The register's newest entry, as [`Registry::head`], and cheaper for what is read often.
    pub async fn current(&self, register: &Register) -> Result<Option<Arc<Head>>> {
        let now = self.times();
        if let Some(known) = self.inner.heads.cache.get(register)
            && known.is_recent(now)
            && self.inner.store.head(&known.next).await?.is_none()
        {
            known.confirm(now);
            self.inner.heads.lookups.count(true);
            return Ok(Some(Arc::clone(&known.head)));
        }
        self.inner.heads.lookups.count(false);
        let Some(head) = self.head(register).await?.map(Arc::new) else { return Ok(None) };
        if head.is_set() {
            // The times are those from before the look: what is kept may be older than its times, never younger.
            let next = register.key().join(versions::name(head.version + 1));
            let (machine, wall) = (AtomicU64::new(now.0), AtomicU64::new(now.1));
            let known = Known { head: Arc::clone(&head), next, machine, wall };
            self.inner.heads.cache.insert(register.clone(), Arc::new(known));
        }
        Ok(Some(head))
    }

    fn times(&self) -> (u64, u64) {
        let machine = u64::try_from(self.inner.heads.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        (machine, self.inner.clock.now_millis())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::clock::TimeSource;
    use crate::registry::register::{Draft, Op, Permit};
    use crate::registry::{Author, Cause, Register, Registry, versions};
    use crate::store::Store;
    use crate::store::memory::MemoryStore;

    #[derive(Debug)]
    struct Manual(AtomicU64);

    impl TimeSource for Manual {
        fn now_millis(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn what_was_confirmed_long_ago_is_read_anew() {
        let store: Store = Arc::new(MemoryStore::default());
        let time = Arc::new(Manual(AtomicU64::new(1_000_000)));
        let registry = Registry::open(store.clone(), time.clone()).await.unwrap();
        let register = Register::Tag("a".parse().unwrap(), "v".parse().unwrap());
        let author = Author { actor: "me".into(), cause: Cause::Client };
        let draft = |text: &str| Draft {
            op: Op::Set,
            digest: crate::oci::Digest::sha256(text.as_bytes()),
            media_type: None,
            size: 1,
        };
        let first = registry.land(&register, None, &draft("1"), &author, Permit::Held).await.unwrap().unwrap();
        assert_eq!(registry.current(&register).await.unwrap().unwrap().version, 1);
        let second = registry.land(&register, Some(&first), &draft("2"), &author, Permit::Held).await.unwrap().unwrap();
        assert_eq!(registry.current(&register).await.unwrap().unwrap().version, 2);
        // Elsewhere it went on for a day, and was compacted.
        let third = registry.land(&register, Some(&second), &draft("3"), &author, Permit::Held).await.unwrap().unwrap();
        registry.land(&register, Some(&third), &draft("4"), &author, Permit::Held).await.unwrap().unwrap();
        store.delete(&register.key().join(versions::name(3))).await.unwrap();
        time.0.fetch_add(2 * 3_600_000, Ordering::Relaxed);
        assert_eq!(registry.current(&register).await.unwrap().unwrap().version, 4);
    }
}
