//! `GET /admin/v1/journal`: the change journal, by long poll.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::Server;
use super::internal::{LOOK_EVERY, Refusal, respond};
use crate::admin::{Change, JournalPage};
use crate::registry::journal::{self, Cursor, JournalRead, Seen};
use crate::registry::{Register, RegistryError};

/// The longest that a reader is kept waiting.
const LONGEST_WAIT: Duration = Duration::from_secs(55);

/// Where from, and how long to wait for something new.
#[derive(Debug, Deserialize)]
pub(super) struct Position {
    cursor: Option<String>,
    #[serde(default)]
    wait: u64,
}

pub(super) async fn read(
    State(server): State<Server>,
    Query(query): Query<Position>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    server.require_operator_or_replicator(&headers, b"").await?;
    let deadline = Instant::now() + Duration::from_secs(query.wait).min(LONGEST_WAIT);
    // A cursor that cannot be read is one of another store.
    let mut cursor = query.cursor.map(|text| Cursor::decode(&text).unwrap_or_default());
    loop {
        let read = server.read_journal(cursor.as_ref()).await?;
        let page = page(&server, read);
        let news = cursor.is_none() || page.compare || page.ahead || !page.changes.is_empty();
        if news || Instant::now() >= deadline || server.is_draining() {
            return Ok(respond(&page));
        }
        // What was settled meanwhile is read no more.
        cursor = Cursor::decode(&page.cursor);
        let _ =
            tokio::time::timeout(LOOK_EVERY.min(deadline - Instant::now()), server.registry().journal().rung()).await;
    }
}

impl Server {
    async fn read_journal(&self, cursor: Option<&Cursor>) -> Result<JournalRead, RegistryError> {
        let registry = self.registry();
        journal::read(registry.store(), &registry.identity().identity, cursor, registry.clock().now_millis()).await
    }
}

fn page(server: &Server, read: JournalRead) -> JournalPage {
    JournalPage {
        store: server.registry().identity().identity.clone(),
        cursor: read.cursor.encode(),
        compare: read.compare,
        ahead: read.ahead,
        changes: read.changes.into_iter().filter_map(change).collect(),
        unsettled: read.unsettled.into_iter().filter_map(change).collect(),
    }
}

/// Links are not told: a blob travels with the manifest that names it.
fn change(seen: Seen) -> Option<Change> {
    let at = Timestamp::from_millisecond(i64::try_from(seen.at).ok()?).ok()?;
    let (repository, reference) = match seen.register {
        Register::Tag(repository, tag) => (repository.to_string(), tag.to_string()),
        Register::Manifest(repository, digest) => (repository.to_string(), digest.to_string()),
        Register::Link(..) => return None,
    };
    Some(Change { repository, reference, at })
}
