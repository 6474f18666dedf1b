//! How a session says how it stands.

use jiff::Timestamp;

use super::Session;
use crate::{
    admin::{Edge, EdgeState, EdgeStatus},
    replicate::follow::{Home, Remotes},
};

/// The most characters of an error in a status.
const ERROR_LENGTH: usize = 500;

/// Nothing is read or written.
pub(super) fn suspended(status: &mut EdgeStatus, edge: &Edge) {
    status.state = EdgeState::Suspended;
    status.policy_generation = edge.policy.generation;
    // What was being worked on waits.
    status.pending += status.in_flight;
    status.in_flight = 0;
}

/// The edge could not begin.
pub(super) fn failing(status: &mut EdgeStatus, edge: &Edge, error: &str) {
    status.state = EdgeState::Failing;
    status.policy_generation = edge.policy.generation;
    status.last_error = Some(shorten(error));
}

fn shorten(error: &str) -> String {
    error.chars().take(ERROR_LENGTH).collect()
}

impl<H: Home, R: Remotes> Session<'_, H, R> {
    /// Writes onto the board how it stands now.
    pub(super) fn show(&self) {
        let counts = self.queue.counts();
        let (state, lag_seconds, cursor) = (self.state(), self.lag(), self.settled_cursor());
        let error = self.trouble.as_ref().or(self.last_error.as_ref().filter(|_| counts.failed > 0));
        let error = error.map(|error| shorten(error));
        self.board.update(|status| {
            status.policy_generation = self.edge.policy.generation;
            status.state = state;
            status.lag_seconds = lag_seconds;
            status.pending = counts.pending;
            status.in_flight = counts.in_flight;
            status.failed = counts.failed;
            status.totals = self.counters.counts();
            status.recent_drift.clone_from(&self.recent_drift);
            status.last_error = error;
            status.withheld.clone_from(&self.withheld);
            // While deletions wait the old cursor stays: it says why they do.
            if cursor.is_some() {
                status.cursor = cursor;
            }
        });
    }

    /// The age of the oldest change that is not at the destination; what nobody could ask about counts from then on.
    fn lag(&self) -> u64 {
        let unheard = (self.poll_failures > 0).then_some(self.last_poll);
        let oldest = self.queue.oldest().into_iter().chain(unheard).min();
        oldest.map_or(0, |since| u64::try_from(Timestamp::now().duration_since(since).as_secs()).unwrap_or(0))
    }
}
