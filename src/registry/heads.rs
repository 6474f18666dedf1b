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

use quick_cache::{Weighter, sync::Cache};

use super::{CacheFigures, Head, Lookups, Op, Register, Registry, Result};
use crate::oci::{Algorithm, Digest, MediaType};

/// How many bytes of heads are kept: some 40,000 links.
const KEPT: u64 = 10 * 1024 * 1024;

/// About what a head takes beside the texts in it: its place in the cache, and what every allocation takes more.
const OVERHEAD: u64 = 176;

/// For how many registers it is kept that another writer was first: those that are being written.
const LOST: usize = 256;

/// For how long a head can be confirmed; versions are compacted a day after they were superseded.
const CONFIRMED: Duration = Duration::from_hours(1);

/// What readers want to know of a register's newest entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its number.
    pub version: u64,
    /// See [`super::Entry::op`].
    pub op: Op,
    /// See [`super::Entry::digest`].
    pub digest: Digest,
    /// See [`super::Entry::media_type`].
    pub media_type: Option<MediaType>,
    /// See [`super::Entry::size`].
    pub size: u64,
}

impl From<Head> for Current {
    fn from(Head { version, entry }: Head) -> Self {
        Self { version, op: entry.op, digest: entry.digest, media_type: entry.media_type, size: entry.size }
    }
}

#[derive(Debug)]
pub(super) struct Heads {
    start: Instant,
    cache: Cache<Name, Arc<Known>, BySize>,
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
        let cache = Cache::with_weighter(16_384, KEPT, BySize);
        Self { start: Instant::now(), cache, lost: Cache::new(LOST), lookups: Lookups::default() }
    }
}

/// A register as it is named in memory, where there are many: with its digest's bytes rather than their hex.
type Name = Box<[u8]>;

fn name(register: &Register) -> Vec<u8> {
    let mut name = Vec::with_capacity(128);
    match register {
        // No tag has a colon.
        Register::Tag(_, tag) => name.extend(b"t".iter().chain(tag.as_str().as_bytes()).chain(b":")),
        Register::Manifest(_, digest) => with_digest(&mut name, b'm', digest),
        Register::Link(_, digest) => with_digest(&mut name, b'l', digest),
    }
    name.extend_from_slice(register.repository().as_str().as_bytes());
    name
}

/// How long a digest is, its algorithm says.
fn with_digest(name: &mut Vec<u8>, kind: u8, digest: &Digest) {
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => b'2',
        Algorithm::Sha512 => b'5',
    };
    name.extend([kind, algorithm].into_iter().chain(digest.bytes()));
}

/// A head that is set, without what its register's name says already.
#[derive(Debug)]
struct Known {
    version: u64,
    size: u64,
    more: Option<Box<More>>,
    /// When it was confirmed: milliseconds since the process started, and since the epoch.
    machine: AtomicU64,
    wall: AtomicU64,
}

/// What a tag or a manifest has beside. A tag that was only listed has nothing.
#[derive(Debug)]
struct More {
    /// What a tag points to.
    digest: Option<Digest>,
    media_type: Option<MediaType>,
}

#[derive(Debug, Clone)]
struct BySize;

impl Weighter<Name, Arc<Known>> for BySize {
    fn weight(&self, name: &Name, known: &Arc<Known>) -> u64 {
        let more = known.more.as_ref().map_or(0, |more| {
            let digest = more.digest.as_ref().map_or(0, |digest| digest.as_str().len());
            size_of::<More>() + digest + more.media_type.as_ref().map_or(0, |media_type| media_type.as_str().len())
        });
        (name.len() + more) as u64 + OVERHEAD
    }
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

    fn keep(&self, name: Vec<u8>, register: &Register, current: &Current, times: (u64, u64)) {
        let digest = register.digest().is_none().then(|| current.digest.clone());
        let media_type = current.media_type.clone();
        let more = (digest.is_some() || media_type.is_some()).then(|| Box::new(More { digest, media_type }));
        self.keep_known(name, current.version, current.size, more, times);
    }

    fn keep_known(&self, name: Vec<u8>, version: u64, size: u64, more: Option<Box<More>>, (machine, wall): (u64, u64)) {
        let known = Known { version, size, more, machine: machine.into(), wall: wall.into() };
        self.cache.insert(name.into_boxed_slice(), Arc::new(known));
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

    fn current(&self, register: &Register) -> Option<Current> {
        let more = self.more.as_deref();
        let digest = register.digest().or_else(|| more?.digest.as_ref())?.clone();
        let media_type = more.and_then(|more| more.media_type.clone());
        Some(Current { version: self.version, op: Op::Set, digest, media_type, size: self.size })
    }
}

impl Registry {
    /// What the register's newest entry says, as [`Registry::head`], and cheaper for what is read often.
    pub async fn current(&self, register: &Register) -> Result<Option<Current>> {
        let (now, name, lookups) = (self.times(), name(register), &self.inner.heads.lookups);
        if let Some(known) = self.confirmed(register, &name, now).await?
            && let Some(current) = known.current(register)
        {
            lookups.count(true);
            return Ok(Some(current));
        }
        lookups.count(false);
        let Some(current) = self.head(register).await?.map(Current::from) else { return Ok(None) };
        if current.op.is_set() {
            // The times are those from before the look: what is kept may be older than its times, never younger.
            self.inner.heads.keep(name, register, &current, now);
        }
        Ok(Some(current))
    }

    /// Whether a tag is set, as [`Registry::is_set`], and cheaper for what is listed often: it is kept without what it
    /// points to, which nobody has read.
    pub(super) async fn is_tag_set(&self, register: &Register) -> Result<bool> {
        let (now, name) = (self.times(), name(register));
        if self.confirmed(register, &name, now).await?.is_some() {
            return Ok(true);
        }
        let set = self.set_version(&register.key()).await?;
        if let Some(version) = set {
            self.inner.heads.keep_known(name, version, 0, None, now);
        }
        Ok(set.is_some())
    }

    async fn confirmed(&self, register: &Register, name: &[u8], now: (u64, u64)) -> Result<Option<Arc<Known>>> {
        let Some(known) = self.inner.heads.cache.get(name).filter(|known| known.is_recent(now)) else {
            return Ok(None);
        };
        if self.inner.store.head(&register.version_key(known.version + 1)).await?.is_some() {
            return Ok(None);
        }
        known.confirm(now);
        Ok(Some(known))
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
