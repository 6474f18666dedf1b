//! What every loop shares: the client, the caches, the bus, and what this process remembers.
//!
//! Nothing here must survive the process: what must is in the cluster or in the registries' own stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;
use tokio::sync::watch;

use super::access::Published;
use super::access::board::AccessBoard;
use super::access::term::Terms;
use super::apply::Applied;
use super::bus::Bus;
use super::caches::Caches;
use super::conditions::shorten;
use super::edges::board::EdgesBoard;
use super::failure::Failure;
use super::metrics::Metrics;
use super::reach::Reach;
use super::registry::rolling::Rolling;
use super::replication_policy::drift::DriftBoard;
use super::settings::Settings;

/// For how long something that is missing may still be on its way.
const PATIENCE: Duration = Duration::from_mins(2);

/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What every loop shares.
pub struct Context {
    /// The client of this cluster.
    pub client: Client,
    /// What the operator was told.
    pub settings: Settings,
    /// What is known of the cluster.
    pub(super) caches: Caches,
    /// Who is to look again.
    pub(super) bus: Bus,
    /// Publishes Events.
    pub(super) recorder: Recorder,
    /// Figures.
    pub(super) metrics: Arc<Metrics>,
    /// A nonce of this process, by which registries know it.
    pub(super) holder: String,
    /// What is in force in each registry.
    pub(super) access: AccessBoard,
    /// What was put to each registry.
    pub(super) published: Published,
    /// This process's term at each registry.
    pub(super) terms: Terms,
    /// What each registry's replicator reports.
    pub(super) edges: EdgesBoard,
    /// What was told of corrections at destinations.
    pub(super) drift: DriftBoard,
    /// Keys of registries and ways to their pods.
    pub(super) reach: Reach,
    /// What was applied, and what it looked like afterwards.
    pub(super) applied: Applied,
    /// Which registry is being rolled to a new default image.
    pub(super) rolling: Rolling,
    /// Told when this process must end.
    pub(super) fatal: watch::Sender<Option<String>>,
    missing: Mutex<HashMap<String, Missing>>,
    attempts: Mutex<HashMap<String, u32>>,
    written: Mutex<HashMap<String, Instant>>,
}

/// Since when something has been missing.
#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    looks: u32,
}

impl Context {
    /// A context for one term of leadership.
    pub(super) fn new(
        client: Client,
        settings: Settings,
        caches: Caches,
        bus: Bus,
        recorder: Recorder,
        metrics: Arc<Metrics>,
        holder: String,
        fatal: watch::Sender<Option<String>>,
    ) -> Self {
        Self {
            client,
            settings,
            caches,
            bus,
            recorder,
            metrics,
            holder,
            access: AccessBoard::default(),
            published: Published::default(),
            terms: Terms::default(),
            edges: EdgesBoard::default(),
            drift: DriftBoard::default(),
            reach: Reach::default(),
            applied: Applied::default(),
            rolling: Rolling::default(),
            fatal,
            missing: Mutex::default(),
            attempts: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// The time of now.
    #[expect(clippy::unused_self, reason = "time comes from the context, so that it can come from a test")]
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Ends the process: this operator is not the leader any more.
    pub(super) fn end(&self, why: &str) {
        self.fatal.send_replace(Some(why.to_owned()));
    }

    /// Something that the spec names is missing: again from 1 s, doubling to 5 min; a person's business after 2 min.
    /// `key` names the object and what it lacks.
    pub(super) fn missing(&self, key: &str, reason: &'static str, message: String) -> Failure {
        let mut missing = lock(&self.missing);
        let entry = missing.entry(key.to_owned()).or_insert(Missing { since: Instant::now(), looks: 0 });
        entry.looks += 1;
        if entry.since.elapsed() < PATIENCE {
            Failure::Waiting { after: pause(entry.looks), reason, message }
        } else {
            Failure::Stalled { reason, message }
        }
    }

    /// It is there now.
    pub(super) fn found(&self, key: &str) {
        lock(&self.missing).remove(key);
    }

    /// The pause after one more failure in a row.
    pub(super) fn failed(&self, key: &str) -> Duration {
        let mut attempts = lock(&self.attempts);
        let count = attempts.entry(key.to_owned()).or_default();
        *count += 1;
        jitter(pause(*count))
    }

    /// No failure any more.
    pub(super) fn succeeded(&self, key: &str) {
        lock(&self.attempts).remove(key);
    }

    /// How long to wait until numbers of this object may be written again; none where they may be now.
    pub(super) fn hold_numbers(&self, key: &str) -> Option<Duration> {
        let since = lock(&self.written).get(key).map(Instant::elapsed)?;
        self.settings.number_interval.checked_sub(since).filter(|rest| !rest.is_zero())
    }

    /// The status of this object was written now.
    pub(super) fn note_written(&self, key: &str) {
        lock(&self.written).insert(key.to_owned(), Instant::now());
    }

    /// When to look again if nothing happens: about the resync, never all at once.
    pub(super) fn resync(&self) -> Duration {
        jitter(self.settings.resync)
    }

    /// Publishes an Event; that it cannot be published is no reason to stop.
    pub(super) async fn event(
        &self,
        object: &k8s_openapi::api::core::v1::ObjectReference,
        kind: kube::runtime::events::EventType,
        reason: &str,
        note: &str,
    ) {
        let event = kube::runtime::events::Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(shorten(note, 1000)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::debug!(%error, "an Event could not be published");
        }
    }
}

/// 1 s, 2 s, 4 s ... 5 min.
fn pause(count: u32) -> Duration {
    Duration::from_secs(1 << count.saturating_sub(1).min(9)).min(LONGEST_PAUSE)
}

/// Up to a fifth more or less.
fn jitter(duration: Duration) -> Duration {
    let share = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    duration.mul_f64(0.8 + 0.4 * share)
}

/// A panic elsewhere leaves a map that is whole: each change is one call.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_second_to_five_minutes() {
        let seconds: Vec<u64> = (1..12).map(|count| pause(count).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }
}
