//! The change journal as a replicator reads it: names that changed, never data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An answer of `GET /admin/v1/journal?cursor=C&wait=S`.
///
/// Without a cursor the answer is the journal's end as of now and no changes: compare in full, then follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalPage {
    /// The identity of the store. Another one than before: compare in full.
    pub store: String,
    /// Hand this in next time.
    pub cursor: String,
    /// True: the cursor handed in is too old, of another store, or unreadable; compare in full.
    #[serde(default)]
    pub compare: bool,
    /// True: the cursor handed in is *ahead* of this log: the store was restored from a backup.
    #[serde(default)]
    pub ahead: bool,
    /// What changed since; read the heads of these now. In the order of the log, without repetitions.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Registers of writes that are not known to have landed or failed: look again now and then while they are listed.
    #[serde(default)]
    pub unsettled: Vec<Change>,
}

/// A tag or a manifest of a repository that was set or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The repository's name.
    pub repository: String,
    /// A tag, or a digest `alg:hex`.
    pub reference: String,
    /// When the record was written, by the writer's clock.
    pub at: Timestamp,
}
