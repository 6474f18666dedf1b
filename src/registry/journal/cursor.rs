//! Where a reader of the journal is: the set of (origin, number), and what was unsettled there.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// A position in the journal of one store. Opaque to clients: Base64 of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The identity of the store.
    pub store: String,
    /// When this was read, in milliseconds since the epoch by the reader's clock.
    pub at: u64,
    /// By origin.
    pub origins: BTreeMap<String, Position>,
}

/// A position in one origin's log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The last number that was read.
    pub seen: u64,
    /// When that record was written.
    #[serde(default)]
    pub at: u64,
    /// The last record up to that which a power cut leaves there; absent in cursors of releases that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<Durable>,
    /// Numbers up to that which were not settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<u64>,
}

/// A record that names registers. Others only settle: they are not synced, and whoever has seen one that a power cut
/// took away has not seen a later state of the store than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Durable {
    /// Its number; 0 for none.
    pub number: u64,
    /// When it was written: below the journal's floor it was trimmed, and is not missed.
    pub at: u64,
}

impl Position {
    pub(super) fn durable(&self) -> Durable {
        self.durable.unwrap_or(Durable { number: self.seen, at: self.at })
    }
}

impl Cursor {
    /// As it is handed to clients.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(super::super::register::to_json(self))
    }

    /// From what a client hands in; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}
