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
    /// When that record was written: below the journal's floor it was trimmed, and is not missed.
    #[serde(default)]
    pub at: u64,
    /// Numbers up to that which were not settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<u64>,
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
