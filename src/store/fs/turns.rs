//! Whose turn it is in the blocking pool, and for how long its writes have been waiting.
//!
//! A thread that waits for a volume is gone until the volume answers. So neither reads nor writes get all of them, and of
//! those who read one and the same file only a few: when writes hang, or the reads of some files, the rest goes on. Who
//! has no turn waits without a thread, in the order of coming, and is told that the store does not answer when it takes
//! too long. A turn goes with the work into the pool and ends there: a client that hangs up frees no thread.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::{Key, Writes};

/// How many calls of the system that wait (for the disk, mostly) there are at once in a process, at most.
pub const THREADS: usize = 320;

/// What writes can have of them, and what reads can: neither can take the rest from the other. With twice as many, 200
/// clients that push are served no sooner, and each thread that is needed costs memory.
const SHARE: usize = 256;

/// How many wait for one and the same file. From a disk that answers, more are served no sooner: they read the same.
const OF_ONE_FILE: usize = 8;

/// Writes that take longer than this hang, where none that began later has come to its end. A slow disk may well need ten
/// seconds for the sync of a large file.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(30);

/// How often who waits looks whether waiting is in vain.
const LOOK: Duration = Duration::from_secs(1);

/// The turns of a store.
#[derive(Debug)]
pub(super) struct Turns {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    lines: Mutex<HashMap<Key, Line>>,
    under_way: Mutex<UnderWay>,
    read_only: AtomicBool,
    /// How long a reader waits for a turn.
    patience: Duration,
}

/// Those who read a file in the pool, or wait for it.
#[derive(Debug)]
struct Line {
    readers: usize,
    turns: Arc<Semaphore>,
}

/// Writes that have a thread, by number, in the order in which they began.
#[derive(Debug, Default)]
struct UnderWay {
    began: BTreeMap<u64, Instant>,
    last: u64,
    /// The last one of those that have come to their end.
    ended: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            reads: Arc::new(Semaphore::new(SHARE)),
            writes: Arc::new(Semaphore::new(SHARE)),
            lines: Mutex::default(),
            under_way: Mutex::default(),
            read_only: AtomicBool::default(),
            patience: HANGS_AFTER,
        }
    }
}

impl Turns {
    /// A turn to read a file. `TimedOut` where none came in time.
    pub(super) async fn read(self: &Arc<Self>, key: &Key) -> io::Result<Reading> {
        let place = self.line_up(key);
        let patience = tokio::time::timeout(self.patience, async {
            let of_file = acquire(&place.turns).await?;
            Ok::<_, io::Error>((of_file, acquire(&self.reads).await?))
        });
        let permits = patience.await.map_err(|_| in_vain("those who came before still wait for it"))??;
        Ok(Reading { _permits: permits, _place: place })
    }

    /// A turn to write. `TimedOut` where writes hang.
    pub(super) async fn write(self: &Arc<Self>) -> io::Result<Writing> {
        let permit = match Arc::clone(&self.writes).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait_to_write().await?,
        };
        let number = self.under_way().begin();
        Ok(Writing { _permit: permit, number, turns: Arc::clone(self) })
    }

    async fn wait_to_write(&self) -> io::Result<OwnedSemaphorePermit> {
        let mut turn = std::pin::pin!(acquire(&self.writes));
        loop {
            if self.writes().hang {
                return Err(in_vain("nothing was written for 30 seconds"));
            }
            if let Ok(permit) = tokio::time::timeout(LOOK, &mut turn).await {
                return permit;
            }
        }
    }

    /// How writes fare.
    pub(super) fn writes(&self) -> Writes {
        let under_way = self.under_way();
        let age = |began: Option<(&u64, &Instant)>| began.map_or(Duration::ZERO, |(_, began)| began.elapsed());
        Writes {
            oldest: age(under_way.began.first_key_value()),
            // One that hangs alone, while others come to their end, keeps nobody from writing.
            hang: age(under_way.began.range(under_way.ended + 1..).next()) >= HANGS_AFTER,
            read_only: self.read_only.load(Ordering::Relaxed),
        }
    }

    /// What the last write that could tell has found.
    pub(super) fn note_read_only(&self, is_read_only: bool) {
        self.read_only.store(is_read_only, Ordering::Relaxed);
    }

    fn line_up(self: &Arc<Self>, key: &Key) -> Place {
        let mut lines = self.lines();
        let fresh = || Line { readers: 0, turns: Arc::new(Semaphore::new(OF_ONE_FILE)) };
        let line = lines.entry(key.clone()).or_insert_with(fresh);
        line.readers += 1;
        Place { turns: Arc::clone(&line.turns), key: key.clone(), all: Arc::clone(self) }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Key, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    fn begin(&mut self) -> u64 {
        self.last += 1;
        self.began.insert(self.last, Instant::now());
        self.last
    }

    fn end(&mut self, number: u64) {
        self.began.remove(&number);
        self.ended = self.ended.max(number);
    }
}

async fn acquire(turns: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    // They are never closed.
    Arc::clone(turns).acquire_owned().await.map_err(io::Error::other)
}

fn in_vain(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// Somebody's place in a file's line; the line goes with the last of them.
#[derive(Debug)]
struct Place {
    turns: Arc<Semaphore>,
    key: Key,
    all: Arc<Turns>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.all.lines();
        if let Some(line) = lines.get_mut(&self.key) {
            line.readers -= 1;
            if line.readers == 0 {
                lines.remove(&self.key);
            }
        }
    }
}

/// A turn to read.
#[derive(Debug)]
pub(super) struct Reading {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _place: Place,
}

/// A turn to write: a write that is under way.
#[derive(Debug)]
pub(super) struct Writing {
    _permit: OwnedSemaphorePermit,
    number: u64,
    turns: Arc<Turns>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.turns.under_way().end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    /// As if it had begun long ago.
    fn age(turns: &Turns, number: u64) {
        let long_ago = Instant::now().checked_sub(HANGS_AFTER).unwrap();
        turns.under_way().began.insert(number, long_ago);
    }

    #[tokio::test]
    async fn readers_of_one_file_leave_turns_to_those_of_others_and_a_line_that_is_empty_is_gone() {
        let turns = Arc::new(Turns::default());
        let (one, other) = (key("a/one"), key("a/other"));
        let mut first = Vec::new();
        for _ in 0..OF_ONE_FILE {
            first.push(turns.read(&one).await.unwrap());
        }
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let (turns, one) = (Arc::clone(&turns), one.clone());
                tokio::spawn(async move { turns.read(&one).await.map(drop) })
            })
            .collect();
        while turns.lines()[&one].readers < OF_ONE_FILE + 100 {
            tokio::task::yield_now().await;
        }
        drop(turns.read(&other).await.unwrap());
        assert_eq!(turns.reads.available_permits(), SHARE - OF_ONE_FILE);
        waiting[0].abort();
        drop(first);
        for (number, waited) in waiting.into_iter().enumerate() {
            assert!(number == 0 || waited.await.unwrap().is_ok());
        }
        while !turns.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.reads.available_permits(), SHARE);
    }

    #[tokio::test]
    async fn who_waits_for_a_file_in_vain_is_told_so() {
        let turns = Arc::new(Turns { patience: Duration::from_millis(10), ..Turns::default() });
        let mut held = Vec::new();
        for _ in 0..OF_ONE_FILE {
            held.push(turns.read(&key("a")).await.unwrap());
        }
        assert_eq!(turns.read(&key("a")).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(turns.lines()[&key("a")].readers, OF_ONE_FILE);
    }

    #[tokio::test]
    async fn writes_hang_when_none_that_began_later_has_come_to_its_end() {
        let turns = Arc::new(Turns::default());
        assert_eq!(turns.writes(), Writes::default());
        let (first, second) = (turns.write().await.unwrap(), turns.write().await.unwrap());
        assert!(!turns.writes().hang);
        age(&turns, first.number);
        assert!(turns.writes().hang && turns.writes().oldest >= HANGS_AFTER);
        drop(second);
        assert!(!turns.writes().hang, "only one hangs");
        assert!(turns.writes().oldest >= HANGS_AFTER, "and is seen to");
        let third = turns.write().await.unwrap();
        age(&turns, third.number);
        assert!(turns.writes().hang);
        drop((first, third));
        assert_eq!(turns.writes(), Writes::default());
    }

    #[tokio::test]
    async fn who_would_write_waits_for_a_turn_and_not_for_writes_that_hang() {
        let turns = Arc::new(Turns::default());
        let mut held = Vec::new();
        for _ in 0..SHARE {
            held.push(turns.write().await.unwrap());
        }
        let waiting = turns.write();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        held.pop();
        held.push(waiting.await.unwrap());
        let newest = held.last().unwrap().number;
        age(&turns, newest);
        assert_eq!(turns.write().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(turns.read(&key("a")).await.is_ok(), "reads have turns of their own");
    }
}
