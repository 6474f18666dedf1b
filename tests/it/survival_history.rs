//! Histories: what many clients asked of many registers, at any of several replicas, and were answered.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use regatta::oci::Digest;

use crate::survival_acts::Act;
use crate::survival_checker::{Asked, Operation, is_linearizable};
use crate::survival_ledger::{State, Thing};
use crate::survival_server::Ask;

/// One clock for all clients, and what was recorded by it.
pub struct History {
    start: Instant,
    /// The last moment that was told, in nanoseconds.
    last: AtomicU64,
    /// By how much what is read may be late.
    late: Duration,
    operations: Mutex<BTreeMap<Thing, Vec<Operation>>>,
    /// Values as the checker has them.
    values: Mutex<Vec<Digest>>,
}

impl Default for History {
    fn default() -> Self {
        Self::late(Duration::ZERO)
    }
}

impl History {
    /// Of readers who may be told what was so this long before they asked.
    pub fn late(late: Duration) -> Self {
        let (last, operations, values) = Default::default();
        Self { start: Instant::now(), last, late, operations, values }
    }

    /// No two moments are the same.
    fn now(&self) -> u64 {
        let now = u64::try_from((self.start.elapsed() + self.late).as_nanos()).unwrap();
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(now.max(last + 1)));
        now.max(last.unwrap() + 1)
    }

    fn value(&self, digest: &Digest) -> u32 {
        let mut values = self.values.lock().unwrap();
        let known = values.iter().position(|value| value == digest);
        let at = known.unwrap_or_else(|| {
            values.push(digest.clone());
            values.len() - 1
        });
        u32::try_from(at).unwrap()
    }

    fn record(&self, thing: &Thing, called: u64, answered: bool, asked: Asked) {
        let answered = answered.then(|| self.now());
        let late = u64::try_from(self.late.as_nanos()).unwrap();
        let called = match asked {
            Asked::Get(_) | Asked::Delete { found: false } => called - late,
            Asked::Put(_) | Asked::Delete { found: true } | Asked::DeleteIf(_) => called,
        };
        self.operations.lock().unwrap().entry(thing.clone()).or_default().push(Operation { called, answered, asked });
    }

    /// Has somebody do this; whatever it sets or ends is a register with a history.
    pub async fn act(&self, to: &impl Ask, act: &Act<'_>) -> Option<StatusCode> {
        let changes = act.changes().into_iter().filter(|(thing, _)| thing.is_register());
        let changes: Vec<(Thing, State)> = changes.collect();
        let called = self.now();
        let status = act.send(to).await;
        let found = status != Some(StatusCode::NOT_FOUND);
        let fits = |status: StatusCode| status.is_success() || (act.is_delete() && !found);
        assert!(status.is_none_or(fits), "{act:?} is answered {status:?}");
        for (thing, state) in &changes {
            let asked = match (thing, state, act.deleted_manifest()) {
                (_, Some(digest), _) => Asked::Put(self.value(digest)),
                (Thing::Tag(..), None, Some(digest)) => Asked::DeleteIf(self.value(&digest)),
                (_, None, _) => Asked::Delete { found },
            };
            // Who is told that there is no such manifest may have ended tags of it before somebody else ended it.
            let is_sure = found || !matches!(asked, Asked::DeleteIf(_));
            self.record(thing, called, status.is_some() && is_sure, asked);
        }
        status
    }

    /// Has somebody look.
    pub async fn get(&self, to: &impl Ask, thing: &Thing) {
        self.look(to, Method::GET, thing).await;
    }

    /// Has somebody look whether it is there, and what it is by its digest alone.
    pub async fn head(&self, to: &impl Ask, thing: &Thing) {
        self.look(to, Method::HEAD, thing).await;
    }

    async fn look(&self, to: &impl Ask, method: Method, thing: &Thing) {
        let called = self.now();
        let Some(answer) = to.ask(method.clone(), &thing.path(), "text/plain", Bytes::new()).await else { return };
        let seen = match answer.status {
            StatusCode::OK if method == Method::HEAD => {
                Some(self.value(&answer.header("docker-content-digest").parse().unwrap()))
            }
            StatusCode::OK => Some(self.value(&Digest::sha256(&answer.body))),
            StatusCode::NOT_FOUND => None,
            other => panic!("{thing:?} is answered {other}"),
        };
        self.record(thing, called, true, Asked::Get(seen));
    }

    /// Whether each register could have been a variable.
    pub fn is_linearizable(&self) -> bool {
        self.operations.lock().unwrap().values().all(|operations| is_linearizable(operations))
    }

    /// Fails with the history of a register that has none that a variable could have had.
    pub fn check(&self) {
        for (thing, operations) in self.operations.lock().unwrap().iter() {
            let ambiguous = operations.iter().filter(|operation| operation.answered.is_none()).count();
            // Of what many asked for.
            if operations.len() > 10 {
                println!("{thing:?}: {} operations, {ambiguous} without an answer", operations.len());
            }
            assert!(is_linearizable(operations), "{thing:?}: {operations:#?}");
        }
    }
}
