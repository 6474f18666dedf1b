//! Time: the hybrid logical clock (HLC) and an injectable source of physical time.
//!
//! Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases" (2014):
//! physical milliseconds where they grow, a counter where they do not, and the origin so that no two are equal.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Where physical time comes from.
pub trait TimeSource: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn now_millis(&self) -> u64;

    /// Time since some moment of this process's, which never goes back: nobody sets it, but it may stand still while
    /// the machine sleeps.
    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// A moment by both of a machine's clocks, so that its age is known although one of them stood still (a machine that was
/// paused) or was set back.
#[derive(Debug, Clone)]
pub struct Moment {
    source: Arc<dyn TimeSource>,
    millis: u64,
    monotonic: Duration,
}

impl Moment {
    /// How long ago that was: the longer of what the two clocks say.
    pub fn age(&self) -> Duration {
        let by_wall = Duration::from_millis(self.source.now_millis().saturating_sub(self.millis));
        by_wall.max(self.source.monotonic().saturating_sub(self.monotonic))
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl TimeSource for System {
    fn now_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A point in the history of many registries. Ordered by time, counter and origin, in that order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hlc {
    /// Milliseconds since the Unix epoch; ahead of physical time where a greater clock was seen.
    pub millis: u64,
    /// Parts what happened in one millisecond.
    pub counter: u32,
    /// The process that made it.
    pub origin: String,
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.millis, self.counter, self.origin)
    }
}

/// A text that is not `millis.counter@origin`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid clock `{0}`: expected `milliseconds.counter@origin`")]
pub struct InvalidClock(String);

impl FromStr for Hlc {
    type Err = InvalidClock;
    fn from_str(text: &str) -> Result<Self, InvalidClock> {
        let parse = || {
            let (time, origin) = text.split_once('@')?;
            let (millis, counter) = time.split_once('.')?;
            Some(Self { millis: millis.parse().ok()?, counter: counter.parse().ok()?, origin: origin.to_owned() })
        };
        parse().ok_or_else(|| InvalidClock(text.to_owned()))
    }
}

impl TryFrom<String> for Hlc {
    type Error = InvalidClock;
    fn try_from(text: String) -> Result<Self, InvalidClock> {
        text.parse()
    }
}

impl From<Hlc> for String {
    fn from(clock: Hlc) -> Self {
        clock.to_string()
    }
}

/// Makes clocks of one origin, each greater than all it made and saw before.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Arc<str>,
    source: Arc<dyn TimeSource>,
    last: Arc<Mutex<(u64, u32)>>,
}

impl Clock {
    /// For one origin.
    pub fn new(origin: &str, source: Arc<dyn TimeSource>) -> Self {
        Self { origin: origin.into(), source, last: Arc::default() }
    }

    /// A clock greater than every one that this made before, and than `seen`.
    pub fn tick(&self, seen: Option<&Hlc>) -> Hlc {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.map_or((0, 0), |clock| (clock.millis, clock.counter));
        let floor = (*last).max(seen);
        let now = self.source.now_millis();
        *last = if now > floor.0 { (now, 0) } else { after(floor) };
        Hlc { millis: last.0, counter: last.1, origin: self.origin.to_string() }
    }

    /// The moment of now.
    pub fn moment(&self) -> Moment {
        let (millis, monotonic) = (self.source.now_millis(), self.source.monotonic());
        Moment { source: Arc::clone(&self.source), millis, monotonic }
    }

    /// Physical time in milliseconds since the Unix epoch.
    pub fn now_millis(&self) -> u64 {
        self.source.now_millis()
    }
}

fn after((millis, counter): (u64, u32)) -> (u64, u32) {
    counter.checked_add(1).map_or((millis + 1, 0), |counter| (millis, counter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Stuck(u64);
    impl TimeSource for Stuck {
        fn now_millis(&self) -> u64 {
            self.0
        }
    }

    proptest! {
        #[test]
        fn every_clock_is_greater_than_all_before_and_all_seen(now: u32, seen in proptest::collection::vec((0..u64::from(u32::MAX) * 2, 0..u32::MAX), 1..20)) {
            let clock = Clock::new("b", Arc::new(Stuck(now.into())));
            let mut last = clock.tick(None);
            for (millis, counter) in seen {
                // The greatest origin: equal time must not be enough.
                let seen = Hlc { millis, counter, origin: "z".into() };
                let next = clock.tick(Some(&seen));
                prop_assert!(next > last && next > seen);
                last = next;
            }
        }

        #[test]
        fn a_clock_is_read_back_from_its_text(millis: u64, counter: u32, origin in "[a-z0-9]{1,16}") {
            let clock = Hlc { millis, counter, origin };
            prop_assert_eq!(clock.to_string().parse::<Hlc>().unwrap(), clock);
        }
    }
}
