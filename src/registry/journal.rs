//! The change journal: hints, written before anything changes, that say where to look.
//!
//! Each process start is an *origin* with a dense log 1, 2, 3 ... A record names the registers about to change, one
//! record for all writes in flight (group commit); later records settle earlier ones. Readers read the *heads* of the
//! registers named, after they have read the record, and look again while it is unsettled, for at most the hour in
//! which it can still land.
//!
//! An origin is closed by claiming its next number. A process that finds its number taken takes a new origin, and
//! looks at the read-only hold before it goes on: so a collector that put the hold and then claimed every origin knows
//! that nothing is written behind its back.

mod cursor;
mod reader;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{RegistryError, Result, layout::Register};
use crate::clock::{Clock, Moment};
use crate::store::Store;

pub use cursor::{Cursor, Durable, Position};
pub use reader::{JournalRead, Seen, claim_all, origins, read, trim};

/// How long a record may stay unsettled and still land, in milliseconds: temporaries are swept after that.
pub const UNSETTLED_MILLIS: u64 = 3_600_000;

/// How old a record may be when what it names is landed: what lands later might be looked for by nobody. The five
/// minutes below the hour are for the landing itself, and for clocks that are not quite the readers'.
pub const LANDING: Duration = Duration::from_mins(55);

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it was written, in milliseconds since the epoch by its writer's clock.
    pub at: u64,
    /// The registers about to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Register>,
    /// Earlier records of this process, under this origin or one that was closed, whose writes have all landed, lost
    /// or been given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settles: Vec<(Arc<str>, u64)>,
    /// Tells the record from another's at the same number.
    pub nonce: String,
}

/// The journal of a process: its writer, and a bell for its readers.
#[derive(Debug, Clone)]
pub struct Journal {
    requests: mpsc::UnboundedSender<writer::Request>,
    bell: Arc<Notify>,
    clock: Clock,
}

/// One write in flight: recorded, not yet settled. Dropped unsettled, it stays unsettled: nobody knows then.
#[derive(Debug)]
pub struct Ticket {
    origin: Arc<str>,
    number: u64,
    /// When the record was asked for: never later than it was made.
    asked: Moment,
    requests: mpsc::UnboundedSender<writer::Request>,
}

impl Journal {
    /// Starts the writer; it ends when the last handle is gone.
    pub(super) fn start(store: Store, clock: Clock) -> Self {
        let (requests, inbox) = mpsc::unbounded_channel();
        let bell = Arc::new(Notify::new());
        tokio::spawn(writer::Writer::new(store, clock.clone(), Arc::clone(&bell)).run(inbox));
        Self { requests, bell, clock }
    }

    /// Records that these registers are about to change; returns when the record is on disk.
    pub async fn record(&self, names: Vec<Register>) -> Result<Ticket> {
        let asked = self.clock.moment();
        let (answer, answered) = oneshot::channel();
        let gone = || RegistryError::Corrupt { key: "journal".into(), why: "its writer has ended".into() };
        self.requests.send(writer::Request::Record { names, answer }).map_err(|_| gone())?;
        let (origin, number) = answered.await.map_err(|_| gone())??;
        Ok(Ticket { origin, number, asked, requests: self.requests.clone() })
    }

    /// Waits until this process has written something. Other processes' writes ring nothing: poll for those.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Ticket {
    /// An error when the record is so old that nothing may land on it any more: this process was frozen meanwhile.
    pub(super) fn check(&self) -> Result<()> {
        if self.asked.age() > LANDING { Err(RegistryError::TooLate) } else { Ok(()) }
    }

    /// The writes that the record names have come to an end, this one: where they have landed or were refused by a decision
    /// of our own, nobody need look again. What failed in the store may be there all the same, or come yet: the record stays
    /// unsettled then and runs out.
    pub fn settle<T>(self, outcome: &Result<T>) {
        match outcome {
            Err(RegistryError::Store(_) | RegistryError::Journal(_) | RegistryError::Corrupt { .. }) => {}
            // A writer that is gone takes no more records either; the record stays unsettled, which is the safe side.
            Ok(_) | Err(_) => {
                let _ = self.requests.send(writer::Request::Settle { origin: self.origin, number: self.number });
            }
        }
    }
}
