//! A clock whose hands a test turns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{System, TimeSource};

/// The system's clock, and what was added to it.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

impl Hands {
    /// Turns what says the time of day.
    pub(crate) fn turn_wall(&self, by: Duration) {
        self.wall.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Turns what counts on.
    pub(crate) fn turn_monotonic(&self, by: Duration) {
        self.monotonic.fetch_add(millis(by), Ordering::SeqCst);
    }
}

impl TimeSource for Hands {
    fn now_millis(&self) -> u64 {
        System.now_millis() + self.wall.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        System.monotonic() + Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
    }
}
