//! What is remembered of an edge: at the runner's registry and at the destination, of which the lesser counts.

use std::{collections::HashSet, time::Duration};

use super::{Home, HomeError};
use crate::{
    admin::{Change, DestinationCursor, EdgeStatus},
    client::{Client, ClientError},
    replicate::withheld::Circumstances,
};

/// More pages than this since the last time, and a compare is as good.
const MOST_PAGES: usize = 1000;

/// A tag or a digest of a repository, as the journal names it.
pub type Register = (String, String);

/// What is remembered, and how the source stands to it.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Kept at the runner's registry.
    pub ours: Option<DestinationCursor>,
    /// Kept at the destination.
    pub theirs: Option<DestinationCursor>,
    /// Whether the destination can keep one.
    pub destination_keeps: bool,
    /// The identity of the source's store now.
    pub store: String,
    /// Whether a cursor is ahead of the source's log.
    pub ahead: bool,
}

impl Memory {
    /// For [`crate::replicate::withheld`].
    pub fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            ours: self.ours.as_ref(),
            theirs: self.theirs.as_ref(),
            destination_keeps: self.destination_keeps,
            store: &self.store,
            ahead: self.ahead,
        }
    }
}

/// The path of an edge's cursor below `/v2/_regatta/`.
fn path(edge: &str) -> String {
    format!("replication/cursor/{edge}")
}

/// Reads both sides' memory and asks the source how it stands to it.
pub async fn recall<H: Home>(home: &H, destination: &Client, status: &EdgeStatus) -> Result<Memory, RecallError> {
    let theirs: Option<DestinationCursor> = destination.extension_get(&path(&status.id)).await?;
    let store = home.store().await?.identity;
    let mut memory = Memory {
        ours: status.cursor.clone(),
        theirs,
        destination_keeps: destination.is_regatta(),
        store,
        ahead: false,
    };
    for cursor in [&memory.ours, &memory.theirs].into_iter().flatten().filter(|cursor| cursor.store == memory.store) {
        memory.ahead |= home.journal(Some(&cursor.cursor), Duration::ZERO).await?.ahead;
    }
    Ok(memory)
}

/// Why an edge's memory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// At the destination.
    #[error("destination")]
    Destination(#[from] ClientError),
    /// At the source.
    #[error("source")]
    Home(#[from] HomeError),
}

/// Where to follow from, and what changed since the last time, where that is known.
#[derive(Debug)]
pub struct Start {
    /// The journal's cursor.
    pub cursor: String,
    /// What changed while nobody followed; `None`: nobody knows.
    pub changed: Option<HashSet<Register>>,
}

/// Reads the journal from what is remembered to its end.
pub async fn catch_up<H: Home>(home: &H, memory: &Memory) -> Result<Start, HomeError> {
    if memory.circumstances().continues()
        && let Some(from) = memory.theirs.as_ref().or(memory.ours.as_ref())
        && let Some(start) = read_to_end(home, from.cursor.clone()).await?
    {
        return Ok(start);
    }
    let end = home.journal(None, Duration::ZERO).await?;
    Ok(Start { cursor: end.cursor, changed: None })
}

async fn read_to_end<H: Home>(home: &H, mut cursor: String) -> Result<Option<Start>, HomeError> {
    let mut changed = HashSet::new();
    for _ in 0..MOST_PAGES {
        let page = home.journal(Some(&cursor), Duration::ZERO).await?;
        if page.compare || page.ahead {
            return Ok(None);
        }
        let ended = page.changes.is_empty();
        changed.extend(page.changes.into_iter().chain(page.unsettled).map(register));
        cursor = page.cursor;
        if ended {
            return Ok(Some(Start { cursor, changed: Some(changed) }));
        }
    }
    Ok(None)
}

/// The register that a change names.
pub fn register(change: Change) -> Register {
    (change.repository, change.reference)
}

/// Writes the destination's memory.
pub async fn save(destination: &Client, edge: &str, cursor: &DestinationCursor) -> Result<(), ClientError> {
    destination.extension_put(&path(edge), cursor).await
}
