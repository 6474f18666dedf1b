//! How many uploads an identity has open, as far as this process began them.
//!
//! An upload that nobody closes is kept for a week, so their number is bounded. The count is of each process alone:
//! with n replicas an identity may have n times as many. What was closed at another replica is found out when the
//! bound is reached, by looking at a few.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{StatusCode, header};

use super::Fault;
use crate::oci::ErrorCode;
use crate::registry::{Registry, RegistryError};

/// How many of the open ones are looked at when there seem to be too many.
const LOOKED_AT: usize = 16;

/// Ids of open uploads by identity, as it is displayed.
#[derive(Debug, Default)]
pub struct OpenUploads(Mutex<HashMap<String, VecDeque<String>>>);

impl OpenUploads {
    fn all(&self) -> MutexGuard<'_, HashMap<String, VecDeque<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses an identity that has too many open: 429.
    pub async fn admit(&self, registry: &Registry, actor: &str, most: usize) -> Result<(), Fault> {
        if self.count(actor) < most {
            return Ok(());
        }
        self.look(registry, actor).await?;
        if self.count(actor) < most {
            return Ok(());
        }
        let message = format!("{actor} has {most} uploads open; close or cancel some of them");
        Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with_header(header::RETRY_AFTER, "60"))
    }

    /// How many there are of all identities.
    pub fn total(&self) -> usize {
        self.all().values().map(VecDeque::len).sum()
    }

    fn count(&self, actor: &str) -> usize {
        self.all().get(actor).map_or(0, VecDeque::len)
    }

    /// Looks at some, those first that were not looked at for the longest time.
    async fn look(&self, registry: &Registry, actor: &str) -> Result<(), RegistryError> {
        let oldest: Vec<String> = {
            let mut all = self.all();
            let Some(open) = all.get_mut(actor) else { return Ok(()) };
            let count = open.len().min(LOOKED_AT);
            let oldest = open.range(..count).cloned().collect();
            open.rotate_left(count);
            oldest
        };
        for id in oldest {
            if !registry.is_upload_open(&id).await? {
                self.ended(actor, &id);
            }
        }
        Ok(())
    }

    /// An upload was begun.
    pub fn began(&self, actor: &str, id: &str) {
        self.all().entry(actor.to_owned()).or_default().push_back(id.to_owned());
    }

    /// An upload was closed or cancelled, or is gone.
    pub fn ended(&self, actor: &str, id: &str) {
        let mut all = self.all();
        if let Some(open) = all.get_mut(actor) {
            // The newest are the likeliest.
            if let Some(at) = open.iter().rposition(|other| other == id) {
                open.remove(at);
            }
            if open.is_empty() {
                all.remove(actor);
            }
        }
    }
}
