//! What is known to differ and waits its turn. Pure: time comes from outside.
//!
//! Tags go before untagged manifests (a tag brings its manifest along), and a deletion goes after every set that was
//! known before it. What failed waits longer each time and holds nobody up.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    client::retry::jittered,
    oci::{Digest, RepositoryName, Tag},
};

/// The first and the longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// One thing to be made equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// A tag.
    Tag(RepositoryName, Tag),
    /// A referrer.
    Referrer(RepositoryName, Digest),
    /// A manifest that changed and may or may not be tagged.
    Manifest(RepositoryName, Digest),
    /// A repository in which something changed that only a compare can judge.
    Repository(RepositoryName),
    /// A tag that the source does not have.
    DeleteTag(RepositoryName, Tag),
    /// A manifest that the source does not have, and what it refers to.
    DeleteManifest(RepositoryName, Digest, Option<Digest>),
}

impl Work {
    /// Whether something is taken away.
    pub fn is_deletion(&self) -> bool {
        match self {
            Self::Tag(..) | Self::Referrer(..) | Self::Manifest(..) | Self::Repository(_) => false,
            Self::DeleteTag(..) | Self::DeleteManifest(..) => true,
        }
    }

    /// `repository:tag`, `repository@digest` or `repository`.
    pub fn name(&self) -> String {
        match self {
            Self::Tag(repository, tag) | Self::DeleteTag(repository, tag) => format!("{repository}:{tag}"),
            Self::Referrer(repository, digest)
            | Self::Manifest(repository, digest)
            | Self::DeleteManifest(repository, digest, _) => format!("{repository}@{digest}"),
            Self::Repository(repository) => repository.to_string(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// May be begun.
    Ready,
    /// Is being worked on; `true`: changed again meanwhile.
    InFlight { again: bool },
    /// Failed, and waits.
    Delayed { until: Instant },
}

#[derive(Debug, Clone)]
struct Entry {
    /// When the change happened, as far as it is known.
    since: Timestamp,
    /// The page of the journal that it came with.
    page: u64,
    /// In which order it came.
    number: u64,
    attempts: u32,
    /// Whether the last attempt failed.
    failed: bool,
    standing: Standing,
}

/// How many wait, are worked on, and have failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Known to differ, not begun, not failed.
    pub pending: u64,
    /// Being worked on.
    pub in_flight: u64,
    /// Failed, to be tried again.
    pub failed: u64,
}

/// The queue of one edge.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<Work, Entry>,
    ready: BTreeSet<(u64, Work)>,
    ready_deletions: BTreeSet<(u64, Work)>,
    delayed: BTreeSet<(Instant, Work)>,
    /// Numbers of sets that are ready or in flight: deletions that came later wait for them.
    open_sets: BTreeSet<u64>,
    next_number: u64,
}

impl Queue {
    /// Takes work in. What is known already keeps the age of its first change; what is being worked on is looked at
    /// once more.
    pub fn push(&mut self, work: Work, since: Timestamp, page: u64) {
        if let Some(entry) = self.entries.get_mut(&work) {
            entry.since = entry.since.min(since);
            match &mut entry.standing {
                Standing::Ready => {}
                Standing::InFlight { again } => *again = true,
                Standing::Delayed { .. } => self.ready_now(&work),
            }
            return;
        }
        self.next_number += 1;
        let entry =
            Entry { since, page, number: self.next_number, attempts: 0, failed: false, standing: Standing::Ready };
        self.entries.insert(work.clone(), entry);
        self.make_ready(&work);
    }

    fn ready_now(&mut self, work: &Work) {
        if let Some(Entry { standing: Standing::Delayed { until }, .. }) = self.entries.get(work) {
            self.delayed.remove(&(*until, work.clone()));
            self.make_ready(work);
        }
    }

    fn make_ready(&mut self, work: &Work) {
        let Some(entry) = self.entries.get_mut(work) else { return };
        entry.standing = Standing::Ready;
        let place = (entry.number, work.clone());
        if work.is_deletion() {
            self.ready_deletions.insert(place);
        } else {
            self.open_sets.insert(entry.number);
            self.ready.insert(place);
        }
    }

    /// The next thing to be begun, if any may.
    pub fn take(&mut self, now: Instant) -> Option<Work> {
        while let Some((until, work)) = self.delayed.first().cloned().filter(|(until, _)| *until <= now) {
            self.delayed.remove(&(until, work.clone()));
            self.make_ready(&work);
        }
        let work = match self.pick_set() {
            Some(work) => work,
            None => self.pick_deletion()?,
        };
        if let Some(entry) = self.entries.get_mut(&work) {
            entry.standing = Standing::InFlight { again: false };
        }
        Some(work)
    }

    /// Tags first: their manifests are then known.
    fn pick_set(&mut self) -> Option<Work> {
        let tag = self.ready.iter().take(LOOK_AHEAD).find(|(_, work)| matches!(work, Work::Tag(..)));
        let place = tag.or_else(|| self.ready.first()).cloned()?;
        self.ready.remove(&place);
        Some(place.1)
    }

    fn pick_deletion(&mut self) -> Option<Work> {
        let place = self.ready_deletions.first().cloned()?;
        if self.open_sets.first().is_some_and(|open| *open < place.0) {
            return None;
        }
        self.ready_deletions.remove(&place);
        Some(place.1)
    }

    /// It is done, or no longer to be done. True: it changed meanwhile, and will be looked at again.
    pub fn done(&mut self, work: &Work) -> bool {
        let Some(entry) = self.entries.get_mut(work) else { return false };
        let again = entry.standing == Standing::InFlight { again: true };
        self.open_sets.remove(&entry.number);
        if again {
            self.next_number += 1;
            (entry.number, entry.attempts, entry.failed) = (self.next_number, 0, false);
            self.make_ready(work);
        } else {
            self.entries.remove(work);
        }
        again
    }

    /// It failed: it waits, longer each time.
    pub fn failed(&mut self, work: &Work, now: Instant, random: f64) {
        let attempts = self.entries.get(work).map_or(0, |entry| entry.attempts);
        self.failed_until(work, now + jittered(BACKOFF.0, BACKOFF.1, attempts + 1, random));
    }

    /// It failed, and waits until then.
    pub fn failed_until(&mut self, work: &Work, until: Instant) {
        let Some(entry) = self.entries.get_mut(work) else { return };
        entry.attempts += 1;
        entry.failed = true;
        if entry.standing == (Standing::InFlight { again: true }) {
            // What was seen to fail may not be what is there now.
            self.make_ready(work);
        } else {
            self.put_off(work, until);
        }
    }

    /// What waits after a failure may be tried again at once.
    pub fn retry_all(&mut self) {
        for (_, work) in std::mem::take(&mut self.delayed) {
            self.make_ready(&work);
        }
    }

    /// It is put off a little, without having failed.
    pub fn put_off(&mut self, work: &Work, until: Instant) {
        let Some(entry) = self.entries.get_mut(work) else { return };
        entry.standing = Standing::Delayed { until };
        self.open_sets.remove(&entry.number);
        self.delayed.insert((until, work.clone()));
    }

    /// When the change happened, as far as it is known.
    pub fn since(&self, work: &Work) -> Option<Timestamp> {
        self.entries.get(work).map(|entry| entry.since)
    }

    /// Whether it is known to differ.
    pub fn contains(&self, work: &Work) -> bool {
        self.entries.contains_key(work)
    }

    /// Forgets the deletions that were not begun: a compare will find them again.
    pub fn forget_deletions(&mut self) {
        let keep =
            |work: &Work, entry: &Entry| !work.is_deletion() || matches!(entry.standing, Standing::InFlight { .. });
        self.entries.retain(|work, entry| keep(work, entry));
        self.ready_deletions.clear();
        self.delayed.retain(|(_, work)| !work.is_deletion());
    }

    /// When something that waits may be begun.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.delayed.first().map(|(until, _)| *until)
    }

    /// Whether nothing is known to differ.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many wait, are worked on, and have failed.
    pub fn counts(&self) -> QueueCounts {
        let mut counts = QueueCounts::default();
        for entry in self.entries.values() {
            match entry.standing {
                Standing::InFlight { .. } => counts.in_flight += 1,
                Standing::Ready | Standing::Delayed { .. } if entry.failed => counts.failed += 1,
                Standing::Ready | Standing::Delayed { .. } => counts.pending += 1,
            }
        }
        counts
    }

    /// The oldest change that is not at the destination yet.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.entries.values().map(|entry| entry.since).min()
    }

    /// The first page of the journal of which something was not tried yet. What failed does not count: every start
    /// compares, and so finds it again.
    pub fn first_open_page(&self) -> Option<u64> {
        self.entries.values().filter(|entry| !entry.failed).map(|entry| entry.page).min()
    }
}

/// How far ahead a tag is looked for.
const LOOK_AHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Work {
        Work::Tag("a".parse().unwrap(), text.parse().unwrap())
    }

    fn delete(text: &str) -> Work {
        Work::DeleteTag("a".parse().unwrap(), text.parse().unwrap())
    }

    fn manifest() -> Work {
        Work::Manifest("a".parse().unwrap(), Digest::sha256(b"x"))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn tags_go_first_and_deletions_after_the_sets_that_were_known_before() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(delete("early"), at(0), 1);
        queue.push(manifest(), at(0), 1);
        queue.push(tag("v1"), at(0), 1);
        queue.push(delete("late"), at(0), 1);
        assert_eq!(queue.take(now), Some(tag("v1")));
        assert_eq!(queue.take(now), Some(manifest()));
        assert_eq!(queue.take(now), Some(delete("early")));
        assert_eq!(queue.take(now), None);
        queue.done(&tag("v1"));
        assert_eq!(queue.take(now), None);
        queue.done(&manifest());
        assert_eq!(queue.take(now), Some(delete("late")));
    }

    #[test]
    fn what_fails_waits_longer_each_time_and_holds_nobody_up() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(tag("broken"), at(5), 1);
        queue.push(delete("old"), at(6), 2);
        assert_eq!(queue.take(now), Some(tag("broken")));
        queue.failed(&tag("broken"), now, 1.0);
        assert_eq!(queue.take(now), Some(delete("old")));
        queue.done(&delete("old"));
        assert_eq!((queue.take(now), queue.wakes_at()), (None, Some(now + Duration::from_secs(1))));
        assert_eq!(queue.counts(), QueueCounts { pending: 0, in_flight: 0, failed: 1 });
        assert_eq!((queue.oldest(), queue.first_open_page()), (Some(at(5)), None));
        let later = now + Duration::from_secs(1);
        assert_eq!(queue.take(later), Some(tag("broken")));
        queue.failed(&tag("broken"), later, 1.0);
        assert_eq!(queue.wakes_at(), Some(later + Duration::from_secs(2)));
    }

    #[test]
    fn a_change_while_it_is_worked_on_is_looked_at_again() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(tag("v1"), at(1), 1);
        assert_eq!(queue.take(now), Some(tag("v1")));
        queue.push(tag("v1"), at(2), 2);
        assert!(queue.done(&tag("v1")));
        assert_eq!(queue.take(now), Some(tag("v1")));
        assert!(!queue.done(&tag("v1")));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_new_change_does_not_wait_for_the_backoff_of_an_old_failure() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(tag("v1"), at(1), 1);
        queue.take(now);
        queue.failed(&tag("v1"), now, 1.0);
        queue.push(tag("v1"), at(2), 2);
        assert_eq!(queue.take(now), Some(tag("v1")));
        assert_eq!(queue.oldest(), Some(at(1)));
    }

    proptest::proptest! {
        /// Whatever happens in whatever order, everything is worked on in the end, and nothing is worked on twice at
        /// the same time.
        #[test]
        fn everything_is_worked_on_in_the_end(steps in proptest::collection::vec((0_u8..4, 0_u8..6), 0..200)) {
            let (mut queue, mut now) = (Queue::default(), Instant::now());
            let mut flying: Vec<Work> = Vec::new();
            let work = |n: u8| if n < 4 { tag(&format!("t{n}")) } else { delete(&format!("t{n}")) };
            for (step, n) in steps {
                match step {
                    0 => queue.push(work(n), at(0), 0),
                    1 => if let Some(taken) = queue.take(now) {
                        proptest::prop_assert!(!flying.contains(&taken));
                        flying.push(taken);
                    },
                    2 => if let Some(ended) = flying.pop() { queue.done(&ended); },
                    _ => if let Some(ended) = flying.pop() { queue.failed(&ended, now, 0.5); },
                }
            }
            for ended in flying.drain(..) {
                queue.done(&ended);
            }
            while let Some(taken) = { now += Duration::from_mins(10); queue.take(now) } {
                queue.done(&taken);
            }
            proptest::prop_assert!(queue.is_empty(), "{queue:?}");
        }
    }
}
