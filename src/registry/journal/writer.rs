//! Writes a process's log, one record for all writes that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::Record;
use crate::clock::Clock;
use crate::registry::{RegistryError, Result, hold, layout, layout::Register, nonce, register::to_json};
use crate::store::{Durability, PutNew, Store};

/// How long a settlement waits for a record to travel with, before it gets one of its own.
const SETTLE_AFTER: Duration = Duration::from_millis(100);

/// Records of this many writes at the most.
const BATCH: usize = 512;

#[derive(Debug)]
pub(super) enum Request {
    Record { names: Vec<Register>, answer: oneshot::Sender<Result<(Arc<str>, u64)>> },
    Settle { origin: Arc<str>, number: u64 },
}

#[derive(Debug)]
pub(super) struct Writer {
    store: Store,
    clock: Clock,
    bell: Arc<Notify>,
    origin: Arc<str>,
    /// The next number; 1 for an origin that was not opened yet.
    next: u64,
    /// The hold was seen; look whether it is over before anything is recorded.
    held: bool,
    /// The hold was not yet looked at since this origin was opened.
    unchecked: bool,
    /// How many writes of a record are not settled yet.
    open: BTreeMap<(Arc<str>, u64), usize>,
    settled: Vec<(Arc<str>, u64)>,
}

type Waiting = (Vec<Register>, oneshot::Sender<Result<(Arc<str>, u64)>>);

impl Writer {
    pub(super) fn new(store: Store, clock: Clock, bell: Arc<Notify>) -> Self {
        let origin = nonce().into();
        Self {
            store,
            clock,
            bell,
            origin,
            next: 1,
            held: false,
            unchecked: true,
            open: BTreeMap::new(),
            settled: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Request>) {
        loop {
            let mut waiting = Vec::new();
            let received = if self.settled.is_empty() {
                inbox.recv().await
            } else {
                tokio::time::timeout(SETTLE_AFTER, inbox.recv()).await.unwrap_or_else(|_| Some(self.nothing()))
            };
            let Some(first) = received else { return };
            self.take(first, &mut waiting);
            while waiting.len() < BATCH
                && let Ok(more) = inbox.try_recv()
            {
                self.take(more, &mut waiting);
            }
            if waiting.is_empty() {
                self.write_settlements(&inbox).await;
            } else {
                self.write(waiting).await;
            }
        }
    }

    /// A request that changes nothing, for when the time to wait has passed.
    fn nothing(&self) -> Request {
        Request::Settle { origin: Arc::clone(&self.origin), number: 0 }
    }

    fn take(&mut self, request: Request, waiting: &mut Vec<Waiting>) {
        match request {
            Request::Record { names, answer } => waiting.push((names, answer)),
            Request::Settle { origin, number } => self.settle((origin, number)),
        }
    }

    fn settle(&mut self, record: (Arc<str>, u64)) {
        let Some(left) = self.open.get_mut(&record) else { return };
        *left -= 1;
        if *left == 0 {
            self.open.remove(&record);
            self.settled.push(record);
        }
    }

    /// Settlements alone: not synced, and not worth an origin of their own.
    async fn write_settlements(&mut self, inbox: &mpsc::UnboundedReceiver<Request>) {
        if self.settled.is_empty() || !inbox.is_empty() {
            return;
        }
        let record = self.record(Vec::new());
        match self
            .store
            .put_new(&layout::journal_record(&self.origin, self.next), to_json(&record), Durability::Volatile)
            .await
        {
            Ok(PutNew::Created) => {
                self.settled.clear();
                self.next += 1;
                self.bell.notify_waiters();
            }
            Ok(PutNew::Exists(_)) => self.reopen(),
            Err(error) => {
                tracing::warn!(error = %error, "settlements could not be written; readers look again until they run out");
                self.settled.clear();
            }
        }
    }

    fn record(&self, names: Vec<Register>) -> Record {
        Record { at: self.clock.now_millis(), names, settles: self.settled.clone(), nonce: nonce() }
    }

    /// Somebody closed this origin: take a new one, and look at the hold.
    fn reopen(&mut self) {
        self.origin = nonce().into();
        self.next = 1;
        self.unchecked = true;
    }

    async fn write(&mut self, waiting: Vec<Waiting>) {
        let names: Vec<Register> = waiting.iter().flat_map(|(names, _)| names.iter().cloned()).collect();
        match self.try_write(names).await {
            Ok(number) => {
                self.open.insert((Arc::clone(&self.origin), number), waiting.len());
                self.bell.notify_waiters();
                for (_, answer) in waiting {
                    // A request that was cancelled meanwhile leaves its record unsettled; it runs out.
                    let _ = answer.send(Ok((Arc::clone(&self.origin), number)));
                }
            }
            Err(failure) => {
                for (_, answer) in waiting {
                    let _ = answer.send(Err(failure.error()));
                }
            }
        }
    }

    async fn try_write(&mut self, names: Vec<Register>) -> Result<u64, Failure> {
        loop {
            if self.held {
                self.check_hold().await?;
            }
            let record = self.record(names.clone());
            let key = layout::journal_record(&self.origin, self.next);
            match self.store.put_new(&key, to_json(&record), Durability::Durable).await {
                Err(error) => return Err(Failure::Store(Arc::new(error.into()))),
                Ok(PutNew::Exists(_)) => {
                    self.reopen();
                    continue;
                }
                Ok(PutNew::Created) => {}
            }
            let number = self.next;
            self.next += 1;
            self.settled.clear();
            // Whoever opens an origin looks at the hold *afterwards*: the collector may have listed the origins just
            // before this one was there.
            if self.unchecked
                && let Err(failure) = self.check_hold().await
            {
                self.settled.push((Arc::clone(&self.origin), number));
                return Err(failure);
            }
            self.unchecked = false;
            return Ok(number);
        }
    }

    async fn check_hold(&mut self) -> Result<(), Failure> {
        match hold::is_held(&self.store, self.clock.now_millis()).await {
            Ok(false) => {
                self.held = false;
                Ok(())
            }
            Ok(true) => {
                self.held = true;
                Err(Failure::Held)
            }
            Err(error) => {
                self.held = true;
                Err(Failure::Store(Arc::new(error)))
            }
        }
    }
}

/// Why a record was not written; told to everybody who waited for it.
enum Failure {
    Held,
    Store(Arc<RegistryError>),
}

impl Failure {
    fn error(&self) -> RegistryError {
        match self {
            Self::Held => RegistryError::ReadOnly,
            Self::Store(why) => RegistryError::Journal(Arc::clone(why)),
        }
    }
}
