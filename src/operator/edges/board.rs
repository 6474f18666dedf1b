//! What each registry's replicator is told and reports, as far as this process knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::admin::{Edge, EdgeStatus};
use crate::operator::context::lock;

/// By the Registry's UID.
#[derive(Debug, Default)]
pub struct EdgesBoard {
    reports: Mutex<HashMap<String, EdgesReport>>,
    /// By the Registry's UID and the edge's id.
    heard: Mutex<HashMap<String, HashMap<String, Heard>>>,
}

/// When a replicator was heard.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// What it says of the time.
    at: Timestamp,
    /// When this process saw it say so.
    seen: Instant,
    /// Whether this process has seen it say something else before.
    renewed: bool,
}

impl Heard {
    fn next(self, at: Timestamp, now: Instant) -> Self {
        if at == self.at { self } else { Self { at, seen: now, renewed: true } }
    }

    /// For how long nothing was heard. Whose clock is right nobody knows, so that what this process has seen for itself
    /// counts; the replicator's word does where it has seen one report only.
    fn quiet(self, now: Timestamp, instant: Instant) -> Duration {
        let seen = instant.duration_since(self.seen);
        if self.renewed {
            return seen;
        }
        seen.max(Duration::try_from(now.duration_since(self.at)).unwrap_or_default())
    }
}

/// How it stands with the edges of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgesReport {
    /// The registry has the document.
    Placed {
        /// The edges in it, by id.
        edges: BTreeMap<String, Edge>,
        /// What the replicator says, by id.
        statuses: BTreeMap<String, EdgeStatus>,
    },
    /// It could not be asked.
    Unreachable {
        /// Why, for people.
        message: String,
    },
}

impl EdgesReport {
    /// The registry has these edges, and says this of them; what it says of others is of edges that are gone.
    pub fn placed(edges: Vec<Edge>, statuses: Vec<EdgeStatus>) -> Self {
        let edges: BTreeMap<String, Edge> = edges.into_iter().map(|edge| (edge.id.clone(), edge)).collect();
        let statuses = statuses.into_iter().filter(|status| edges.contains_key(&status.id));
        let statuses = statuses.map(|status| (status.id.clone(), status)).collect();
        Self::Placed { edges, statuses }
    }
}

impl EdgesBoard {
    /// What is known of this registry.
    pub fn get(&self, uid: &str) -> Option<EdgesReport> {
        lock(&self.reports).get(uid).cloned()
    }

    /// The registry is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.reports).remove(uid);
        lock(&self.heard).remove(uid);
    }

    /// Notes a report; true where it says something new.
    pub fn put(&self, uid: &str, report: EdgesReport) -> bool {
        if let EdgesReport::Placed { edges, statuses } = &report {
            self.hear(uid, edges, statuses);
        }
        let old = lock(&self.reports).insert(uid.to_owned(), report.clone());
        old.as_ref() != Some(&report)
    }

    fn hear(&self, uid: &str, edges: &BTreeMap<String, Edge>, statuses: &BTreeMap<String, EdgeStatus>) {
        let (mut heard, now) = (lock(&self.heard), Instant::now());
        let heard = heard.entry(uid.to_owned()).or_default();
        heard.retain(|id, _| edges.contains_key(id));
        for (id, at) in statuses.iter().filter_map(|(id, status)| Some((id, status.reported_at?))) {
            let first = Heard { at, seen: now, renewed: false };
            heard.entry(id.clone()).and_modify(|heard| *heard = heard.next(at, now)).or_insert(first);
        }
    }

    /// For how long the replicator of a registry has said nothing of an edge; none where it never said when it spoke.
    pub fn quiet(&self, uid: &str, id: &str, now: Timestamp) -> Option<Duration> {
        lock(&self.heard).get(uid)?.get(id).map(|heard| heard.quiet(now, Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn of_a_report_that_is_the_only_one_its_own_time_counts() {
        let seen = Instant::now();
        let heard = Heard { at: at(100), seen, renewed: false };
        assert_eq!(heard.quiet(at(700), seen), Duration::from_mins(10));
        assert_eq!(heard.quiet(at(40), seen + Duration::from_secs(5)), Duration::from_secs(5), "a clock that is ahead");
        assert_eq!(heard.next(at(100), seen + Duration::from_secs(9)).quiet(at(700), seen), Duration::from_mins(10));
    }

    #[test]
    fn a_replicator_that_is_heard_again_lives_whatever_its_clock_says() {
        let seen = Instant::now();
        let heard = Heard { at: at(100), seen, renewed: false }.next(at(130), seen + Duration::from_secs(30));
        assert_eq!(heard.quiet(at(9000), seen + Duration::from_secs(42)), Duration::from_secs(12));
    }
}
