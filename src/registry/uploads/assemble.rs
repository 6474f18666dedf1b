//! One object of an upload's parts, verified.
//!
//! Best is to do nothing: one part that was hashed as it came is the whole. Several are put together by the store itself
//! where it can do that; their bytes are read only where what was hashed as they came does not tell the digest. Elsewhere
//! they are read, verified, and written once more.

use futures::TryStreamExt as _;

use super::{GivenUp, Part, Upload};
use crate::oci::{Digest, Hasher};
use crate::registry::{Registry, RegistryError, Result, layout, nonce};
use crate::store::{Durability, Key, Piece, StoreError, Writer};

impl Registry {
    /// One file with all the bytes, verified; and what clears it away if it is a copy.
    pub(super) async fn assemble(
        &self,
        upload: &Upload,
        parts: &[Part],
        digest: &Digest,
        hasher: Option<Hasher>,
    ) -> Result<(Key, GivenUp)> {
        let known = hasher.map(|hasher| verify(digest, hasher.finish())).transpose()?.is_some();
        // What was copied was read, and is read once more: what was hashed is what came.
        let is_verified = known && parts.iter().all(|part| part.copied.is_none());
        if let [part] = parts
            && (is_verified || self.keeps_what_is_seen())
        {
            return self.only_part(upload, part, digest, is_verified).await;
        }
        match self.compose(upload, parts, digest, is_verified).await? {
            Some(composed) => Ok(composed),
            None => self.concatenate(upload, parts, digest).await,
        }
    }

    /// Whether what can be read survives whatever comes: it may then be verified by reading, and published as it is. A
    /// directory's file may be in memory only, of another process that failed to sync it.
    pub(super) fn keeps_what_is_seen(&self) -> bool {
        self.inner.store.abilities().seen_is_durable
    }

    async fn only_part(
        &self,
        upload: &Upload,
        part: &Part,
        digest: &Digest,
        is_verified: bool,
    ) -> Result<(Key, GivenUp)> {
        let key = part.key(upload);
        if !is_verified {
            self.verify_parts(upload, std::slice::from_ref(part), digest, None).await?;
            return Ok((key, GivenUp::nothing()));
        }
        // What could not be synced is gone.
        let unknown = || RegistryError::UploadUnknown(upload.id.clone());
        let there = self.inner.store.head(&key).await?.ok_or_else(unknown)?.size;
        if there != part.length {
            return Err(RegistryError::SizeInvalid { expected: part.length, received: there });
        }
        Ok((key, GivenUp::nothing()))
    }

    /// Lets the store put them together; `None` where it cannot.
    async fn compose(
        &self,
        upload: &Upload,
        parts: &[Part],
        digest: &Digest,
        is_verified: bool,
    ) -> Result<Option<(Key, GivenUp)>> {
        let pieces: Vec<Piece> = parts.iter().map(|part| Piece { key: part.key(upload), size: part.length }).collect();
        let whole = layout::upload_part(&upload.id, &nonce());
        let Some(composed) = self.inner.store.compose(&pieces, &whole) else { return Ok(None) };
        if !is_verified {
            self.verify_parts(upload, parts, digest, None).await?;
        }
        let mut copy = GivenUp::file(self, whole.clone());
        let Err(error) = composed.await else { return Ok(Some((whole, copy))) };
        copy.forget();
        self.discard(&whole).await;
        match error {
            // It would not take the bytes either.
            StoreError::Full { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::Busy { .. }
            | StoreError::Silent { .. } => Err(error.into()),
            StoreError::Io { .. } | StoreError::Unsuitable { .. } => {
                tracing::debug!(%error, "the store does not put an upload's parts together, so they are sent once more");
                Ok(None)
            }
        }
    }

    async fn concatenate(&self, upload: &Upload, parts: &[Part], digest: &Digest) -> Result<(Key, GivenUp)> {
        let whole = layout::upload_part(&upload.id, &nonce());
        let mut copy = GivenUp::file(self, whole.clone());
        let copied = self.copy_parts(upload, parts, digest, &whole).await;
        if copied.is_err() {
            copy.forget();
            self.discard(&whole).await;
        }
        copied.map(|()| (whole, copy))
    }

    /// Writes the parts to one file, and verifies what was read.
    async fn copy_parts(&self, upload: &Upload, parts: &[Part], digest: &Digest, whole: &Key) -> Result<()> {
        let mut writer = self.inner.store.temporary(whole).await?;
        self.verify_parts(upload, parts, digest, Some(&mut *writer)).await?;
        writer.finish(Durability::Volatile).await?;
        Ok(())
    }

    /// Reads the parts, and writes them somewhere if that is asked for.
    async fn verify_parts(
        &self,
        upload: &Upload,
        parts: &[Part],
        digest: &Digest,
        mut writer: Option<&mut dyn Writer>,
    ) -> Result<()> {
        let mut hasher = Hasher::new(digest.algorithm());
        for part in parts {
            let key = part.key(upload);
            let unknown = || RegistryError::UploadUnknown(upload.id.clone());
            let object = self.inner.store.open(&key).await?.ok_or_else(unknown)?;
            if object.meta.size != part.length {
                return Err(RegistryError::SizeInvalid { expected: part.length, received: object.meta.size });
            }
            let mut bytes = object.stream(0, part.length);
            let failed = |source| RegistryError::unreadable(&key, source);
            while let Some(chunk) = bytes.try_next().await.map_err(failed)? {
                hasher.update(&chunk);
                if let Some(writer) = &mut writer {
                    writer.write(chunk).await?;
                }
            }
        }
        verify(digest, hasher.finish())
    }
}

fn verify(expected: &Digest, actual: Digest) -> Result<()> {
    if *expected == actual {
        return Ok(());
    }
    Err(RegistryError::DigestMismatch { expected: expected.clone(), actual })
}
