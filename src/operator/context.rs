//! What every loop shares: the client, the caches, the bus, and what this process remembers.
//!
//! Nothing here must survive the process: what must is in the cluster or in the registries' own stores.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;
use tokio::sync::watch;

use super::access::Published;
use super::access::board::AccessBoard;
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
use super::term::Terms;

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
    // The keys of these begin with an object's UID.
    missing: Mutex<BTreeMap<String, Missing>>,
    attempts: Mutex<BTreeMap<String, u32>>,
    written: Mutex<BTreeMap<String, Instant>>,
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

    /// Something that the spec names is missing: again from 1 s, doubling to 5 min; a person's business after a while.
    /// `key` is the object's UID and what it lacks.
    pub(super) fn missing(&self, key: &str, reason: &'static str, message: String) -> Failure {
        let mut missing = lock(&self.missing);
        let entry = missing.entry(key.to_owned()).or_insert(Missing { since: Instant::now(), looks: 0 });
        entry.looks += 1;
        if entry.since.elapsed() < self.settings.patience {
            Failure::Waiting { after: pause(entry.looks), reason, message }
        } else {
            Failure::Stalled { reason, message }
        }
    }

    /// For how long something has been waited for. `key` as for [`Self::missing`]; [`Self::found`] ends it.
    pub(super) fn waited(&self, key: &str) -> Duration {
        let mut missing = lock(&self.missing);
        missing.entry(key.to_owned()).or_insert(Missing { since: Instant::now(), looks: 0 }).since.elapsed()
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

    /// An object is gone: what is remembered of it is of no use to anybody any more.
    pub(super) fn forget(&self, uid: &str) {
        if uid.is_empty() {
            return;
        }
        // Without `..`: what is added here and grows with the number of objects must be forgotten too.
        let Self {
            client: _,
            settings: _,
            caches: _,
            bus: _,
            recorder: _,
            metrics: _,
            holder: _,
            access,
            published,
            terms,
            edges,
            drift,
            reach,
            applied,
            // The turn is that of one registry, and passed on when it is gone.
            rolling: _,
            fatal: _,
            missing,
            attempts,
            written,
        } = self;
        access.forget(uid);
        published.forget(uid);
        terms.forget(uid);
        edges.forget(uid);
        drift.forget(uid);
        reach.forget(uid);
        applied.forget(uid);
        forget(&mut lock(missing), uid);
        forget(&mut lock(attempts), uid);
        forget(&mut lock(written), uid);
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

/// Takes away every entry whose key is this UID, a slash, and whatever.
pub(super) fn forget<V>(map: &mut BTreeMap<String, V>, uid: &str) {
    let prefix = format!("{uid}/");
    let of_it = map.range(prefix.clone()..).map(|(key, _)| key).take_while(|key| key.starts_with(&prefix));
    for key in of_it.cloned().collect::<Vec<_>>() {
        map.remove(&key);
    }
}

/// A panic elsewhere leaves a map that is whole: each change is one call.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kube::runtime::events::Reporter;
    use kube::runtime::reflector::store;

    use super::*;
    use crate::operator::access::board::AccessReport;
    use crate::operator::bus::bus;
    use crate::operator::edges::board::EdgesReport;
    use crate::operator::lease::LeaseSettings;

    /// A context that reaches nothing.
    fn context() -> Context {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let caches = Caches {
            registries: store().0,
            projects: store().0,
            bindings: store().0,
            policies: store().0,
            collections: store().0,
            slices: store().0,
            deployments: store().0,
        };
        let settings = Settings::new(LeaseSettings::new("ns", "lease", "me"));
        let recorder = Recorder::new(client.clone(), Reporter::from("regatta"));
        let (metrics, fatal) = (Arc::new(Metrics::default()), watch::Sender::new(None));
        Context::new(client, settings, caches, bus().0, recorder, metrics, "me".to_owned(), fatal)
    }

    #[tokio::test]
    async fn nothing_is_remembered_of_what_is_gone_and_everything_of_what_is_not() {
        let context = context();
        let sizes = || {
            let (missing, attempts, written) =
                (lock(&context.missing).len(), lock(&context.attempts).len(), lock(&context.written).len());
            [missing, attempts, written]
        };
        for uid in ["a", "b"] {
            let report = AccessReport::Not { reason: "R", message: String::new() };
            context.access.put(uid, report);
            context.edges.put(uid, EdgesReport::placed(vec![], vec![]));
            drop(context.missing(&format!("{uid}/claim"), "R", String::new()));
            context.failed(&format!("{uid}/Registry"));
            context.failed(&format!("{uid}/AccessDocument"));
            context.note_written(&format!("{uid}/Registry"));
        }
        assert_eq!(sizes(), [2, 4, 2]);
        context.forget("");
        assert_eq!(sizes(), [2, 4, 2]);
        context.forget("a");
        assert_eq!(sizes(), [1, 2, 1]);
        assert!(context.access.get("a").is_none() && context.access.get("b").is_some());
        assert!(context.edges.get("a").is_none() && context.edges.get("b").is_some());
    }

    #[test]
    fn pauses_double_from_a_second_to_five_minutes() {
        let seconds: Vec<u64> = (1..12).map(|count| pause(count).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }
}
