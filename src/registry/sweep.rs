//! What is swept now and then: temporaries that no writer can land any more, uploads that ended or were abandoned,
//! and the journal's far end.

use std::time::{Duration, SystemTime};

use super::{Registry, Result, journal, layout};
use crate::store::{Child, Key, Walk};

/// A temporary older than this lands nothing: its writer, if it wakes up, begins again.
pub const TEMPORARY: Duration = Duration::from_hours(1);

/// An upload that nothing was appended to for this long is abandoned.
pub const UPLOAD: Duration = Duration::from_hours(168);

/// How long the journal is kept: a reader that was away for longer compares in full.
pub const JOURNAL: Duration = Duration::from_hours(168);

/// How often a process sweeps: each sweep lists some directories, which a bucket counts.
pub const EVERY: Duration = Duration::from_hours(1);

/// How many names are listed at a time.
const PAGE: usize = 1_000;

/// How much was swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Temporary files.
    pub temporaries: u64,
    /// Uploads.
    pub uploads: u64,
    /// Journal records.
    pub records: u64,
}

impl Registry {
    /// Sweeps once.
    pub async fn sweep(&self) -> Result<Swept> {
        let now = self.inner.store.now().await?;
        let horizon =
            self.inner.clock.now_millis().saturating_sub(u64::try_from(JOURNAL.as_millis()).unwrap_or(u64::MAX));
        Ok(Swept {
            temporaries: self.sweep_temporaries(now).await?,
            uploads: self.sweep_uploads(now).await?,
            records: journal::trim(&self.inner.store, horizon).await?,
        })
    }

    async fn sweep_temporaries(&self, now: SystemTime) -> Result<u64> {
        let directory = layout::temporaries();
        let (mut swept, mut walk) = (0, Walk::new(&self.inner.store, directory.clone(), None));
        loop {
            let children = walk.names(PAGE).await?;
            for child in &children {
                let key = directory.join(&child.name);
                if self.is_older(&key, now, TEMPORARY).await? && self.inner.store.delete(&key).await? {
                    swept += 1;
                }
            }
            if children.len() < PAGE {
                return Ok(swept);
            }
        }
    }

    pub(super) async fn is_older(&self, key: &Key, now: SystemTime, than: Duration) -> Result<bool> {
        let meta = self.inner.store.head(key).await?;
        Ok(meta.is_some_and(|meta| now.duration_since(meta.modified).is_ok_and(|age| age > than)))
    }

    async fn sweep_uploads(&self, now: SystemTime) -> Result<u64> {
        let (mut swept, mut walk) = (0, Walk::new(&self.inner.store, layout::uploads(), None));
        loop {
            let uploads = walk.names(PAGE).await?;
            for upload in &uploads {
                swept += u64::from(self.sweep_upload_if_old(&layout::upload(&upload.name), now).await?);
            }
            if uploads.len() < PAGE {
                return Ok(swept);
            }
        }
    }

    async fn sweep_upload_if_old(&self, directory: &Key, now: SystemTime) -> Result<bool> {
        // There are only so many: see `uploads`.
        let children = self.inner.store.children(directory, None, usize::MAX).await?;
        // Versions come before parts.
        let Some(newest) = children.first() else { return Ok(false) };
        // One that has more than its first version, and no parts, was closed or cancelled: it is worth an hour.
        let ended = children.len() > 1 && !children.iter().any(|child| layout::is_upload_part(&child.name));
        let age = if ended { TEMPORARY } else { UPLOAD };
        if !self.is_older(&directory.join(&newest.name), now, age).await? {
            return Ok(false);
        }
        self.sweep_upload(directory, &children).await?;
        Ok(true)
    }

    async fn sweep_upload(&self, directory: &Key, children: &[Child]) -> Result<()> {
        // The parts go first and the newest version last: until then the upload reads as what it is.
        for child in children.iter().rev() {
            self.inner.store.delete(&directory.join(&child.name)).await?;
        }
        Ok(())
    }
}
