//! The end of an upload: its bytes put together, verified, published and linked.
//!
//! The chunk that comes with the closing request is no part of the upload: it counts once the whole has the digest
//! that the client said, and is forgotten otherwise, so that a client which tries again doubles nothing.

use super::{Body, Done, GivenUp, MOST_PARTS, Part, Upload, end_of, step};
use crate::oci::{Digest, Hasher, RepositoryName};
use crate::registry::register::{Author, is_torn};
use crate::registry::{Registry, RegistryError, Result, layout, versions};

impl Registry {
    /// Takes the last chunk, verifies, publishes and links. A second close repeats the work and ends the same. After one
    /// that fails the upload is what it was before; only a body that breaks off is kept as far as it came.
    pub async fn close(
        &self,
        upload: &Upload,
        at: Option<u64>,
        length: Option<u64>,
        body: impl Body,
        digest: &Digest,
        author: &Author,
    ) -> Result<u64> {
        if let Some(size) = self.link_closed(upload, digest, author).await? {
            return Ok(size);
        }
        upload.require_open()?;
        match self.try_close(upload, at, length, body, digest, author).await {
            Ok(size) => Ok(size),
            Err(RegistryError::Body(error)) => Err(RegistryError::Body(error)),
            // Another close may have come to its end meanwhile, and have taken the parts away.
            Err(error) => match self.upload(&upload.stands.repository, &upload.id, &upload.stands.actor).await {
                Ok(again) => self.link_closed(&again, digest, author).await?.ok_or(error),
                Err(_) => Err(error),
            },
        }
    }

    /// The size of an upload that was closed under this digest, linked once more.
    async fn link_closed(&self, upload: &Upload, digest: &Digest, author: &Author) -> Result<Option<u64>> {
        let Some((_, size)) = upload.closed().filter(|(closed, _)| *closed == digest) else { return Ok(None) };
        Ok(self.link_blob(&upload.stands.repository, digest, size, author).await?.then_some(size))
    }

    async fn try_close(
        &self,
        upload: &Upload,
        at: Option<u64>,
        length: Option<u64>,
        body: impl Body,
        digest: &Digest,
        author: &Author,
    ) -> Result<u64> {
        let mut brought = self.bring(upload, at, length, body, digest.algorithm()).await?;
        if brought.outcome.is_err() {
            return self.land_brought(upload, brought).await.map(|upload| upload.size());
        }
        let mut parts = if brought.reset.is_some() { Vec::new() } else { self.parts(upload).await? };
        let last = brought.part.take().map(|(part, _)| part);
        let is_whole = last.clone().is_none_or(|part| add(&mut parts, part));
        let hasher = brought.hasher.take();
        let published = if is_whole {
            self.publish_parts(upload, &parts, hasher, digest, author).await
        } else {
            Err(RegistryError::UploadUnknown(upload.id.clone()))
        };
        brought.file.forget();
        if let (Err(_), Some(part)) = (&published, &last) {
            // It was never landed: whoever tries again sends it again.
            self.discard(&part.key(upload)).await;
        }
        published?;
        let size = end_of(&parts);
        self.end_upload(upload, Done::Close { digest: digest.clone(), size }).await?;
        Ok(size)
    }

    /// The parts that count, in their order. Where a record between them is missing or torn, a power cut took it, and the
    /// upload is unknown.
    async fn parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let unknown = || RegistryError::UploadUnknown(upload.id.clone());
        let mut parts = Vec::new();
        // There are never many more: whatever a record says.
        let from = upload.stands.from.max(upload.version.saturating_sub(2 * MOST_PARTS));
        for number in from..=upload.version {
            let done = if number == upload.version {
                upload.done.clone()
            } else {
                let key = layout::upload(&upload.id).join(versions::name(number));
                let value = self.inner.store.read(&key).await?.filter(|value| !is_torn(value)).ok_or_else(unknown)?;
                step(&upload.id, &value)?.done
            };
            if let Done::Part(part) = done
                && !add(&mut parts, part)
            {
                return Err(unknown());
            }
        }
        if end_of(&parts) == upload.size() { Ok(parts) } else { Err(unknown()) }
    }

    async fn publish_parts(
        &self,
        upload: &Upload,
        parts: &[Part],
        hasher: Option<Hasher>,
        digest: &Digest,
        author: &Author,
    ) -> Result<()> {
        let (whole, mut copy) = self.assemble(upload, parts, digest, hasher).await?;
        // The bytes may be condemned, or the link deleted, between publishing and linking: once more, then.
        loop {
            self.publish(&whole, digest).await?;
            if self.link_blob(&upload.stands.repository, digest, end_of(parts), author).await? {
                // It goes with the parts.
                copy.forget();
                return Ok(());
            }
        }
    }

    /// Takes a whole blob in one request.
    pub async fn put_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        length: Option<u64>,
        body: impl Body,
        author: &Author,
    ) -> Result<u64> {
        let upload = self.begin_upload_for(repository, &author.actor, digest.algorithm()).await?;
        let mut given_up = GivenUp::upload(self, &upload);
        let closed = self.close(&upload, Some(0), length, body, digest, author).await;
        if closed.is_err() {
            // Nobody knows its id: it cannot be continued.
            self.cancel(&upload).await?;
        }
        given_up.forget();
        closed
    }
}

/// Adds a part to those before it, in place of those that are in it. False where it does not go on where they end: a power
/// cut has taken a record between them, or the store is damaged.
fn add(parts: &mut Vec<Part>, part: Part) -> bool {
    while parts.last().is_some_and(|last| last.offset >= part.offset) {
        parts.pop();
    }
    let fits = part.offset == end_of(parts) && part.is_sound();
    if fits {
        parts.push(part);
    }
    fits
}
