//! How many uploads an identity has open, as far as this process began them.
//!
//! An upload that nobody closes is kept for a week, so their number is bounded. The count is of each process alone and
//! since its start: with n replicas an identity may have n times as many, and as many again after a restart. What was closed
//! at another replica is found out by looking at all of them now and then, and at a few when the bound is reached; and
//! requests that come together may each be admitted before any of them is counted.
//!
//! Blobs that come in one request leave nothing behind; they have a bound of their own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{StatusCode, header};

use super::Fault;
use crate::oci::ErrorCode;
use crate::registry::{Registry, RegistryError};

/// How many of the open ones are looked at when there seem to be too many.
const LOOKED_AT: usize = 16;

/// How often all of them are looked at: what is told of their number is as late, and each look is a request to a bucket.
pub const LOOK_EVERY: Duration = Duration::from_mins(10);

/// Ids of open uploads by identity, as it is displayed.
#[derive(Debug, Default)]
pub struct OpenUploads {
    begun: Mutex<HashMap<String, VecDeque<String>>>,
    /// How many blobs come in one request, by identity.
    whole: Mutex<HashMap<String, usize>>,
}

impl OpenUploads {
    fn all(&self) -> MutexGuard<'_, HashMap<String, VecDeque<String>>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
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
        Err(too_many(format!("{actor} has {most} uploads open; close or cancel some of them")))
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
            self.look_at(registry, actor, &id).await?;
        }
        Ok(())
    }

    async fn look_at(&self, registry: &Registry, actor: &str, id: &str) -> Result<(), RegistryError> {
        if !registry.is_upload_open(id).await? {
            self.ended(actor, id);
        }
        Ok(())
    }

    /// Looks at all that there are now: those that ended at another replica, or were swept, count no more.
    pub async fn look_at_all(&self, registry: &Registry) -> Result<(), RegistryError> {
        let all: Vec<(String, VecDeque<String>)> =
            self.all().iter().map(|(actor, open)| (actor.clone(), open.clone())).collect();
        for (actor, open) in &all {
            for id in open {
                self.look_at(registry, actor, id).await?;
            }
        }
        Ok(())
    }

    /// An upload was begun.
    pub fn began(&self, actor: &str, id: &str) {
        self.all().entry(actor.to_owned()).or_default().push_back(id.to_owned());
    }

    /// Counts a blob that comes in one request, until what is answered here is dropped; or refuses it: 429.
    pub fn admit_whole(&self, actor: &str, most: usize) -> Result<Coming<'_>, Fault> {
        let mut whole = self.coming();
        let count = whole.entry(actor.to_owned()).or_default();
        if *count >= most {
            return Err(too_many(format!("{actor} sends {most} blobs at a time; wait until some of them are there")));
        }
        *count += 1;
        Ok(Coming { open: self, actor: actor.to_owned() })
    }

    fn coming(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A blob that comes in one request.
#[derive(Debug)]
pub struct Coming<'a> {
    open: &'a OpenUploads,
    actor: String,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut whole = self.open.coming();
        if let Some(count) = whole.get_mut(&self.actor) {
            *count -= 1;
            if *count == 0 {
                whole.remove(&self.actor);
            }
        }
    }
}

fn too_many(message: String) -> Fault {
    Fault::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
        .with_header(header::RETRY_AFTER, "60")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_blobs_that_come_in_one_request_only_so_many_are_on_their_way() {
        let open = OpenUploads::default();
        let first = open.admit_whole("me", 2).unwrap();
        let second = open.admit_whole("me", 2).unwrap();
        assert_eq!(open.admit_whole("me", 2).unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
        assert!(open.admit_whole("you", 2).is_ok());
        drop(first);
        assert!(open.admit_whole("me", 2).is_ok());
        drop(second);
        assert!(open.coming().is_empty());
    }
}
