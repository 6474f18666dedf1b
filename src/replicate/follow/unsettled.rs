//! Writes of which the journal does not know whether they landed: looked at now and then while they are listed, and
//! once more when they no longer are.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::queue::Work;

/// The first and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

#[derive(Debug, Clone, Copy)]
struct Look {
    next: Instant,
    pause: Duration,
}

/// The unsettled writes of one source.
#[derive(Debug, Default)]
pub struct Unsettled {
    looks: BTreeMap<Work, Look>,
}

impl Unsettled {
    /// Takes the newest list in; answers what is settled now, to be looked at once more.
    pub fn list(&mut self, listed: impl IntoIterator<Item = Work>, now: Instant) -> Vec<Work> {
        let mut before = std::mem::take(&mut self.looks);
        for work in listed {
            let look = before.remove(&work).unwrap_or(Look { next: now + PAUSES.0, pause: PAUSES.0 });
            self.looks.insert(work, look);
        }
        before.into_keys().collect()
    }

    /// What is to be looked at now.
    pub fn due(&mut self, now: Instant) -> Vec<Work> {
        let mut due = Vec::new();
        for (work, look) in self.looks.iter_mut().filter(|(_, look)| look.next <= now) {
            look.pause = (look.pause * 2).min(PAUSES.1);
            look.next = now + look.pause;
            due.push(work.clone());
        }
        due
    }

    /// When the next is due.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.looks.values().map(|look| look.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsettled_writes_are_looked_at_ever_more_rarely_and_once_when_settled() {
        let work = Work::Repository("a".parse().unwrap());
        let (mut unsettled, start) = (Unsettled::default(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        assert!(unsettled.list([work.clone()], start).is_empty());
        assert!(unsettled.due(start).is_empty());
        assert_eq!(unsettled.due(second(1)), std::slice::from_ref(&work));
        assert!(unsettled.list([work.clone()], second(2)).is_empty());
        assert!(unsettled.due(second(2)).is_empty());
        assert_eq!(unsettled.due(second(3)), std::slice::from_ref(&work));
        assert_eq!(unsettled.list([], second(4)), [work]);
        assert_eq!(unsettled.wakes_at(), None);
    }
}
