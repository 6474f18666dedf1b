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

/// Whether a text can name an origin: what `nonce` makes.
pub(super) fn is_origin(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a log may have such a record: none comes to so many, and there is always a next one.
pub(super) fn is_number(number: u64) -> bool {
    number <= u64::MAX / 2
}

impl Position {
    fn numbers(&self) -> impl Iterator<Item = u64> {
        [self.seen, self.durable().number].into_iter().chain(self.open.iter().copied())
    }

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
        let cursor: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        // Both become keys.
        let is_ours = |(origin, position): (&String, &Position)| is_origin(origin) && position.numbers().all(is_number);
        cursor.origins.iter().all(is_ours).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_hands_in_names_nothing_but_records() {
        let with = |origin: &str, position: Position| Cursor {
            store: "s".into(),
            at: 1,
            origins: BTreeMap::from([(origin.to_owned(), position)]),
        };
        let position = Position { seen: 3, at: 1, durable: None, open: vec![2] };
        let good = with("0123abcd", position.clone());
        assert_eq!(Cursor::decode(&good.encode()), Some(good));
        for origin in ["", "..", "../../../etc", "A", "a/b"] {
            assert_eq!(Cursor::decode(&with(origin, position.clone()).encode()), None, "{origin}");
        }
        for position in [
            Position { seen: u64::MAX, ..position.clone() },
            Position { open: vec![1, u64::MAX], ..position.clone() },
            Position { durable: Some(Durable { number: u64::MAX, at: 1 }), ..position },
        ] {
            assert_eq!(Cursor::decode(&with("ab", position.clone()).encode()), None, "{position:?}");
        }
    }
}
