//! Uploads: write-once parts that any replica continues.
//!
//! An upload is a register: `begin`, then `part`s, then `close` or `cancel`. A chunk streams to a file of its own and is
//! hashed on the way; then its part is landed. Of two chunks at one offset one lands, the other is told where the
//! upload is. None of this is synced: an upload in progress need not survive a power cut. Closing puts the parts
//! together, verifies, and makes durable what it publishes.

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::register::{Author, to_json};
use super::{Registry, RegistryError, Result, layout, nonce, versions};
use crate::oci::{Algorithm, Digest, Hasher, RepositoryName};
use crate::store::{Durability, Key, PutNew};

/// One version of an upload's register.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Step {
    /// Bound to a repository and an identity.
    Begin { repository: RepositoryName, actor: String },
    /// Some bytes.
    Part(Part),
    /// What was kept of a broken body is thrown away: the client began again.
    Reset {},
    /// What was kept of a broken body counts: the client asked for it.
    Keep {},
    /// Published and linked under this digest.
    Close { digest: Digest, size: u64 },
    /// Given up by the client.
    Cancel {},
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    offset: u64,
    length: u64,
    /// The file's name.
    nonce: String,
    /// The process that wrote it: only that one knows its bytes to be what it hashed.
    origin: String,
    /// The state of the SHA-256 over everything up to and with this part, in hex.
    state: String,
    /// The body broke off.
    #[serde(default)]
    broken: bool,
}

/// An upload as it stands.
#[derive(Debug, Clone)]
pub struct Upload {
    id: String,
    repository: RepositoryName,
    /// The number of its newest version.
    version: u64,
    parts: Vec<Part>,
    closed: Option<(Digest, u64)>,
}

impl Upload {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the last body broke off, and nobody has asked since.
    fn is_broken(&self) -> bool {
        self.parts.last().is_some_and(|part| part.broken)
    }

    /// How many bytes are there.
    pub fn size(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.offset + part.length)
    }
}

/// A request's body.
pub trait Body: Stream<Item = std::io::Result<Bytes>> + Send + Unpin {}
impl<T: Stream<Item = std::io::Result<Bytes>> + Send + Unpin> Body for T {}

/// Whether a text can be an upload's id: what [`nonce`] makes.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Registry {
    /// Begins an upload.
    pub async fn begin_upload(&self, repository: &RepositoryName, actor: &str) -> Result<Upload> {
        let id = nonce();
        let begin = Step::Begin { repository: repository.clone(), actor: actor.to_owned() };
        versions::land(&self.inner.store, &layout::upload(&id), 1, to_json(&begin), Durability::Volatile).await?;
        Ok(Upload { id, repository: repository.clone(), version: 1, parts: Vec::new(), closed: None })
    }

    /// The upload of this id, if it was begun in this repository by this identity and not cancelled.
    pub async fn upload(&self, repository: &RepositoryName, id: &str, actor: &str) -> Result<Upload> {
        let unknown = || RegistryError::UploadUnknown(id.to_owned());
        if !is_id(id) {
            return Err(unknown());
        }
        let mut upload =
            Upload { id: id.to_owned(), repository: repository.clone(), version: 0, parts: Vec::new(), closed: None };
        let mut bound = false;
        for version in versions::all(&self.inner.store, &layout::upload(id)).await?.into_iter().rev() {
            upload.version = version.number;
            let step = serde_json::from_slice(&version.value).map_err(|error| RegistryError::Corrupt {
                key: layout::upload(id).to_string(),
                why: error.to_string(),
            })?;
            match step {
                Step::Begin { repository: of, actor: by } => bound = of == *repository && by == actor,
                Step::Part(part) => upload.parts.push(part),
                Step::Reset {} => upload.parts.clear(),
                Step::Keep {} => upload.parts.iter_mut().for_each(|part| part.broken = false),
                Step::Close { digest, size } => upload.closed = Some((digest, size)),
                Step::Cancel {} => return Err(unknown()),
            }
        }
        if bound { Ok(upload) } else { Err(unknown()) }
    }

    /// Appends a chunk. `at` is where the client says that it goes; `length` how long it says that it is. A body that
    /// breaks off is kept as far as it came, and answered with an error.
    pub async fn append(
        &self,
        upload: &Upload,
        at: Option<u64>,
        length: Option<u64>,
        body: impl Body,
    ) -> Result<Upload> {
        self.append_with(upload, at, length, body, Algorithm::Sha256).await.map(|(upload, _)| upload)
    }

    async fn append_with(
        &self,
        upload: &Upload,
        at: Option<u64>,
        length: Option<u64>,
        body: impl Body,
        algorithm: Algorithm,
    ) -> Result<(Upload, Option<Hasher>)> {
        let upload = &self.reset_if_broken(upload, at).await?;
        let expected = upload.size();
        if upload.closed.is_some() || at.is_some_and(|at| at != expected) {
            return Err(RegistryError::UploadRange { expected });
        }
        let mut hasher = self.hasher_so_far(upload, algorithm);
        let nonce = nonce();
        let key = layout::upload_part(&upload.id, &nonce);
        let (received, outcome) = match self.receive(&key, body, hasher.as_mut()).await {
            Ok(received) => received,
            // A store that fails has kept nobody knows how much: nothing of it counts.
            Err(error) => {
                self.inner.store.delete(&key).await?;
                return Err(error);
            }
        };
        let outcome = outcome.and_then(|()| check_length(length, received));
        if received == 0 {
            outcome?;
            return Ok((upload.clone(), hasher));
        }
        let state = match &hasher {
            Some(Hasher::Sha256(_)) => hasher.as_ref().map(|hasher| hex::encode(hasher.state())).unwrap_or_default(),
            Some(Hasher::Sha512(_)) | None => String::new(),
        };
        let broken = outcome.is_err();
        let part = Part { offset: expected, length: received, nonce, origin: self.inner.origin.clone(), state, broken };
        let Some(mut grown) = self.land_step(upload, Step::Part(part.clone())).await? else {
            self.inner.store.delete(&key).await?;
            return Err(RegistryError::UploadRange { expected });
        };
        grown.parts.push(part);
        outcome?;
        Ok((grown, hasher))
    }

    /// What was kept of a body that broke off counts only if the client goes on by range, or asked how much it was: one
    /// that simply sends everything again begins anew.
    async fn reset_if_broken(&self, upload: &Upload, at: Option<u64>) -> Result<Upload> {
        if at.is_some() || !upload.is_broken() {
            return Ok(upload.clone());
        }
        let expected = upload.size();
        let reset = self.land_step(upload, Step::Reset {}).await?.ok_or(RegistryError::UploadRange { expected })?;
        Ok(Upload { parts: Vec::new(), ..reset })
    }

    /// The client asked how much there is: all of it counts from now on.
    pub async fn keep(&self, upload: &Upload) -> Result<()> {
        if upload.is_broken() {
            self.land_step(upload, Step::Keep {}).await?;
        }
        Ok(())
    }

    /// The hash of what is there, if this very process hashed it all.
    fn hasher_so_far(&self, upload: &Upload, algorithm: Algorithm) -> Option<Hasher> {
        match upload.parts.last() {
            None => Some(Hasher::new(algorithm)),
            Some(part) if algorithm == Algorithm::Sha256 && self.hashed_all(upload) => {
                Hasher::resume(algorithm, &hex::decode(&part.state).ok()?)
            }
            Some(_) => None,
        }
    }

    fn hashed_all(&self, upload: &Upload) -> bool {
        upload.parts.iter().all(|part| part.origin == self.inner.origin && !part.state.is_empty())
    }

    /// Takes a body into a file: how many bytes are in it, and whether the body came to its end.
    async fn receive(
        &self,
        key: &Key,
        mut body: impl Body,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<(u64, Result<()>)> {
        // The PUT that closes an upload mostly has no body: no file is made for nothing.
        let mut writer = None;
        let mut received = 0;
        let mut outcome = Ok(());
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => {
                    received += chunk.len() as u64;
                    if let Some(hasher) = hasher.as_deref_mut() {
                        hasher.update(&chunk);
                    }
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        none @ None => none.insert(self.inner.store.temporary(key).await?),
                    };
                    writer.write(chunk).await?;
                }
                Err(error) => {
                    outcome = Err(RegistryError::Body(error));
                    break;
                }
            }
        }
        let written = match writer {
            Some(writer) => writer.finish(Durability::Volatile).await?,
            None => 0,
        };
        if written != received {
            return Err(RegistryError::SizeInvalid { expected: received, received: written });
        }
        Ok((received, outcome))
    }

    /// Lands the next step; `None` where another request was first.
    async fn land_step(&self, upload: &Upload, step: Step) -> Result<Option<Upload>> {
        // Not by way of `versions::land`: that clears away old versions, and every part of an upload counts.
        let next = upload.version + 1;
        let key = layout::upload(&upload.id).join(versions::name(next));
        let landed = self.inner.store.put_new(&key, to_json(&step), Durability::Volatile).await? == PutNew::Created;
        Ok(landed.then(|| Upload { version: next, ..upload.clone() }))
    }

    /// Appends the last chunk, verifies, publishes and links. A second close repeats the work and ends the same.
    pub async fn close(
        &self,
        upload: &Upload,
        at: Option<u64>,
        length: Option<u64>,
        body: impl Body,
        digest: &Digest,
        author: &Author,
    ) -> Result<u64> {
        if let Some((closed, size)) = &upload.closed
            && closed == digest
            && self.link_blob(&upload.repository, digest, *size, author).await?
        {
            return Ok(*size);
        }
        let (upload, hasher) = self.append_with(upload, at, length, body, digest.algorithm()).await?;
        let size = upload.size();
        let whole = self.assemble(&upload, digest, hasher).await?;
        // The bytes may be condemned, or the link deleted, between publishing and linking: once more, then.
        loop {
            self.publish(&whole, digest).await?;
            if self.link_blob(&upload.repository, digest, size, author).await? {
                break;
            }
        }
        self.land_step(&upload, Step::Close { digest: digest.clone(), size }).await?;
        self.delete_parts(&upload.id).await?;
        Ok(size)
    }

    /// One file with all the bytes, verified.
    async fn assemble(&self, upload: &Upload, digest: &Digest, hasher: Option<Hasher>) -> Result<Key> {
        match (upload.parts.as_slice(), hasher) {
            ([part], Some(hasher)) => {
                verify(digest, hasher.finish())?;
                let key = layout::upload_part(&upload.id, &part.nonce);
                let there = self.inner.store.head(&key).await?.map_or(0, |meta| meta.size);
                if there != part.length {
                    return Err(RegistryError::SizeInvalid { expected: part.length, received: there });
                }
                Ok(key)
            }
            (parts, hasher) => self.concatenate(upload, parts, digest, hasher).await,
        }
    }

    async fn concatenate(
        &self,
        upload: &Upload,
        parts: &[Part],
        digest: &Digest,
        known: Option<Hasher>,
    ) -> Result<Key> {
        if let Some(hasher) = known {
            verify(digest, hasher.finish())?;
        }
        let whole = layout::upload_part(&upload.id, &nonce());
        let mut writer = self.inner.store.temporary(&whole).await?;
        let mut hasher = Hasher::new(digest.algorithm());
        for part in parts {
            let key = layout::upload_part(&upload.id, &part.nonce);
            let unknown = || RegistryError::UploadUnknown(upload.id.clone());
            let object = self.inner.store.open(&key).await?.ok_or_else(unknown)?;
            if object.meta.size != part.length {
                return Err(RegistryError::SizeInvalid { expected: part.length, received: object.meta.size });
            }
            let mut bytes = object.stream(0, part.length);
            while let Some(chunk) = bytes.try_next().await.map_err(RegistryError::Body)? {
                hasher.update(&chunk);
                writer.write(chunk).await?;
            }
        }
        writer.finish(Durability::Volatile).await?;
        verify(digest, hasher.finish())?;
        Ok(whole)
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
        let upload = self.begin_upload(repository, &author.actor).await?;
        let closed = self.close(&upload, Some(0), length, body, digest, author).await;
        if closed.is_err() {
            // Nobody knows its id: it cannot be continued.
            self.cancel(&upload).await?;
        }
        closed
    }

    /// Ends an upload; what came so far is thrown away.
    pub async fn cancel(&self, upload: &Upload) -> Result<()> {
        let directory = layout::upload(&upload.id);
        let cancel = to_json(&Step::Cancel {});
        versions::append(&self.inner.store, &directory, Durability::Volatile, |_| cancel.clone()).await?;
        self.delete_parts(&upload.id).await
    }

    async fn delete_parts(&self, id: &str) -> Result<()> {
        let directory = layout::upload(id).join("parts");
        for child in self.inner.store.children(&directory, None, usize::MAX).await? {
            self.inner.store.delete(&directory.join(&child.name)).await?;
        }
        Ok(())
    }
}

fn verify(expected: &Digest, actual: Digest) -> Result<()> {
    if *expected == actual {
        return Ok(());
    }
    Err(RegistryError::DigestMismatch { expected: expected.clone(), actual })
}

fn check_length(announced: Option<u64>, received: u64) -> Result<()> {
    match announced {
        Some(expected) if expected != received => Err(RegistryError::SizeInvalid { expected, received }),
        Some(_) | None => Ok(()),
    }
}
