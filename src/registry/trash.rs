//! Condemned bytes: moved aside, still readable, moved back when something names them.

use super::contents::Wanted;
use super::{Registry, Result, layout, nonce};
use crate::oci::Digest;
use crate::store::{Key, Meta, Object};

impl Registry {
    /// A blob's bytes where they are in place.
    pub async fn data(&self, digest: &Digest) -> Result<Option<Meta>> {
        Ok(self.inner.store.head(&layout::blob_data(digest)).await?)
    }

    /// A blob's bytes, in place or condemned: data, else trash, else data once more (it may have been rescued).
    pub async fn open_data(&self, digest: &Digest) -> Result<Option<Object>> {
        self.open_data_for(digest, Wanted::Whole).await
    }

    /// As [`Self::open_data`], for who may want less than all.
    pub(super) async fn open_data_for(&self, digest: &Digest, wanted: Wanted) -> Result<Option<Object>> {
        let (store, key) = (&self.inner.store, layout::blob_data(digest));
        let open = async |key: &Key| match wanted {
            Wanted::Whole => store.open(key).await,
            Wanted::Part => store.open_in_part(key).await,
        };
        if let Some(object) = open(&key).await? {
            return Ok(Some(object));
        }
        if let Some(trashed) = self.trashed(digest).await?
            && let Some(object) = open(&trashed).await?
        {
            return Ok(Some(object));
        }
        Ok(open(&key).await?)
    }

    /// A condemnation of a blob's bytes, if there is one.
    async fn trashed(&self, digest: &Digest) -> Result<Option<Key>> {
        let directory = layout::trashed_blob(digest);
        let children = self.inner.store.children(&directory, None, 1).await?;
        Ok(children.first().map(|child| directory.join(&child.name)))
    }

    /// Makes sure that a blob's bytes are in place, taking them out of the trash if they are there.
    pub async fn rescue_data(&self, digest: &Digest) -> Result<bool> {
        loop {
            if self.data(digest).await?.is_some() {
                return Ok(true);
            }
            let Some(trashed) = self.trashed(digest).await? else {
                return Ok(self.data(digest).await?.is_some());
            };
            // Lost to another rescuer, or to the purge: the next round tells which.
            self.inner.store.rename(&trashed, &layout::blob_data(digest)).await?;
        }
    }

    /// As [`Self::rescue_data`], and they survive a power cut, whoever published them.
    pub(super) async fn secure_data(&self, digest: &Digest) -> Result<bool> {
        loop {
            if self.inner.store.make_durable(&layout::blob_data(digest)).await? {
                return Ok(true);
            }
            // Condemned, or never there. What is rescued may be condemned again before the next look.
            if !self.rescue_data(digest).await? {
                return Ok(false);
            }
        }
    }

    /// Puts a blob's bytes into the trash at a moment (milliseconds since the epoch), under a name that no other
    /// condemnation has.
    pub async fn condemn_data(&self, digest: &Digest, at: u64) -> Result<bool> {
        let trash = layout::trashed_blob(digest).join(format_args!("{at}-{}", nonce()));
        Ok(self.inner.store.rename(&layout::blob_data(digest), &trash).await?)
    }
}
