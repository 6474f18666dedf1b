//! What collections did, as bytes: kept here because the pod of a run, and what it has left there, may be gone before
//! anybody has looked. Nothing rests on it.

use std::time::Duration;

use bytes::Bytes;

use super::{Registry, Result, layout};
use crate::store::{Durability, PutNew};

/// How long what a collection did is kept.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// Whether a text can be the name of a run, and so a key's component: the grammar of the names of Jobs.
pub fn is_run_name(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.as_bytes().first(), text.as_bytes().last()];
    text.len() <= 63
        && ends.iter().all(|end| end.is_some_and(alphanumeric))
        && text.bytes().all(|byte| alphanumeric(&byte) || byte == b'-')
}

impl Registry {
    /// Keeps what a run did; false where that is known of a run of this name already. The name must be one: see
    /// [`is_run_name`].
    pub async fn keep_run(&self, name: &str, summary: Bytes) -> Result<bool> {
        match self.inner.store.put_new(&layout::run(name), summary, Durability::Durable).await? {
            PutNew::Created => Ok(true),
            PutNew::Exists(_) => Ok(false),
        }
    }

    /// What a run did.
    pub async fn run(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.inner.store.read(&layout::run(name)).await?)
    }

    /// Forgets what was done longer ago than it is kept; how many runs that were.
    pub async fn forget_runs(&self, kept: Duration) -> Result<u64> {
        let (directory, now) = (layout::runs(), self.inner.store.now().await?);
        let mut forgotten = 0;
        for child in self.inner.store.children(&directory, None, usize::MAX).await? {
            let key = directory.join(&child.name);
            if self.is_older(&key, now, kept).await? && self.inner.store.delete(&key).await? {
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }
}
