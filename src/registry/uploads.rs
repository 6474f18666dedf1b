//! Uploads: write-once parts that any replica continues.
//!
//! An upload is a register: `begin`, then `part`s, then `close` or `cancel`. A chunk streams to a file of its own and is
//! hashed on the way; then its part is landed. Of two chunks at one offset one lands, the other is told where the
//! upload is. None of this is synced: an upload in progress need not survive a power cut. Closing puts the parts
//! together, verifies, and makes durable what it publishes.

mod close;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};

use super::register::{is_torn, to_json};
use super::{Registry, RegistryError, Result, layout, nonce, versions};
use crate::oci::{Algorithm, Digest, Hasher, RepositoryName};
use crate::store::{Durability, Key, PutNew};

/// One version of an upload's register.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Step {
    /// Bound to a repository and an identity. The algorithm is what the client said that it will close with.
    Begin {
        repository: RepositoryName,
        actor: String,
        #[serde(default = "usual")]
        algorithm: Algorithm,
    },
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

const fn usual() -> Algorithm {
    Algorithm::Sha256
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
    /// The state of the hash over everything up to and with this part, in hex, by the upload's algorithm.
    state: String,
    /// The body broke off.
    #[serde(default)]
    broken: bool,
}

/// What a request brought.
struct Brought {
    /// It throws away what was kept of a broken body.
    begins_again: bool,
    /// The bytes, in a file of their own; none where the body was empty.
    part: Option<Part>,
    /// The hash over everything up to and with them, where it is known.
    hasher: Option<Hasher>,
    /// Whether the body came to its end.
    outcome: Result<()>,
}

/// An upload as it stands.
#[derive(Debug, Clone)]
pub struct Upload {
    id: String,
    repository: RepositoryName,
    actor: String,
    algorithm: Algorithm,
    /// The number of its newest version.
    version: u64,
    parts: Vec<Part>,
    closed: Option<(Digest, u64)>,
}

impl Upload {
    fn new(repository: &RepositoryName, id: &str, actor: &str) -> Self {
        let (id, repository, actor) = (id.to_owned(), repository.clone(), actor.to_owned());
        Self { id, repository, actor, algorithm: usual(), version: 0, parts: Vec::new(), closed: None }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the last body broke off, and nobody has asked since.
    fn is_broken(&self) -> bool {
        self.parts.last().is_some_and(|part| part.broken)
    }

    /// A part from its record. False where it does not go on where the one before ends: a power cut has taken a record
    /// between them, or the store is damaged.
    fn add(&mut self, part: Part) -> bool {
        let fits = part.offset == self.size() && part.offset.checked_add(part.length).is_some() && is_id(&part.nonce);
        if fits {
            self.parts.push(part);
        }
        fits
    }

    /// How many bytes are there.
    pub fn size(&self) -> u64 {
        end_of(&self.parts)
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
    /// Begins an upload that will be closed with a SHA-256.
    pub async fn begin_upload(&self, repository: &RepositoryName, actor: &str) -> Result<Upload> {
        self.begin_upload_for(repository, actor, Algorithm::Sha256).await
    }

    /// Begins an upload. Chunks are hashed by `algorithm` as they come; closing with another hashes them again.
    pub async fn begin_upload_for(
        &self,
        repository: &RepositoryName,
        actor: &str,
        algorithm: Algorithm,
    ) -> Result<Upload> {
        let id = nonce();
        let begin = Step::Begin { repository: repository.clone(), actor: actor.to_owned(), algorithm };
        versions::land(&self.inner.store, &layout::upload(&id), 1, to_json(&begin), Durability::Volatile).await?;
        Ok(Upload { version: 1, algorithm, ..Upload::new(repository, &id, actor) })
    }

    /// Whether an upload of this id is neither closed nor cancelled nor swept.
    pub async fn is_upload_open(&self, id: &str) -> Result<bool> {
        let newest = versions::newest(&self.inner.store, &layout::upload(id)).await?;
        let Some(newest) = newest.filter(|newest| !is_torn(&newest.value)) else { return Ok(false) };
        Ok(match step(id, &newest.value)? {
            Step::Begin { .. } | Step::Part(_) | Step::Reset {} | Step::Keep {} => true,
            Step::Close { .. } | Step::Cancel {} => false,
        })
    }

    /// The upload of this id, if it was begun in this repository by this identity and not cancelled.
    pub async fn upload(&self, repository: &RepositoryName, id: &str, actor: &str) -> Result<Upload> {
        let unknown = || RegistryError::UploadUnknown(id.to_owned());
        if !is_id(id) {
            return Err(unknown());
        }
        let mut upload = Upload::new(repository, id, actor);
        let mut bound = false;
        for version in versions::all(&self.inner.store, &layout::upload(id)).await?.into_iter().rev() {
            upload.version = version.number;
            if is_torn(&version.value) {
                return Err(unknown());
            }
            match step(id, &version.value)? {
                Step::Begin { repository: of, actor: by, algorithm } => {
                    bound = of == *repository && by == actor;
                    upload.algorithm = algorithm;
                }
                Step::Part(part) => {
                    if !upload.add(part) {
                        return Err(unknown());
                    }
                }
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
        let brought = self.bring(upload, at, length, body, upload.algorithm).await?;
        self.land_brought(upload, brought).await
    }

    /// Takes a body into a file of its own. Nothing is landed yet.
    async fn bring(
        &self,
        upload: &Upload,
        at: Option<u64>,
        length: Option<u64>,
        body: impl Body,
        algorithm: Algorithm,
    ) -> Result<Brought> {
        // What was kept of a body that broke off counts only if the client goes on by range, or asked how much it was:
        // one that simply sends everything again begins anew.
        let begins_again = at.is_none() && upload.is_broken();
        let before = if begins_again { &[] } else { upload.parts.as_slice() };
        let offset = end_of(before);
        if upload.closed.is_some() || at.is_some_and(|at| at != offset) {
            return Err(RegistryError::UploadRange { expected: offset });
        }
        let mut hasher = self.hasher_so_far(upload, before, algorithm);
        let nonce = nonce();
        let key = layout::upload_part(&upload.id, &nonce);
        let (received, outcome) = match self.receive(&key, body, hasher.as_mut()).await {
            Ok(received) => received,
            // A store that fails has kept nobody knows how much: nothing of it counts.
            Err(error) => {
                self.discard(&key).await;
                return Err(error);
            }
        };
        // Only a body that broke off is kept as far as it came. One that came to its end with another length than its
        // headers say is nobody knows what.
        if outcome.is_ok()
            && let Err(error) = check_length(length, received)
        {
            self.discard(&key).await;
            return Err(error);
        }
        let resumable = hasher.as_ref().filter(|hasher| hasher.algorithm() == upload.algorithm);
        let state = resumable.map(|hasher| hex::encode(hasher.state())).unwrap_or_default();
        let (origin, broken) = (self.inner.origin.clone(), outcome.is_err());
        let part = Part { offset, length: received, nonce, origin, state, broken };
        Ok(Brought { begins_again, part: (received > 0).then_some(part), hasher, outcome })
    }

    /// Makes what was brought the upload's next part; answers as the body ended.
    async fn land_brought(&self, upload: &Upload, brought: Brought) -> Result<Upload> {
        let Brought { begins_again, part, hasher: _, outcome } = brought;
        let expected = upload.size();
        let mut grown = upload.clone();
        if begins_again {
            let reset = self.land_step(upload, Step::Reset {}).await?.ok_or(RegistryError::UploadRange { expected })?;
            grown = Upload { parts: Vec::new(), ..reset };
        }
        if let Some(part) = part {
            let Some(landed) = self.land_step(&grown, Step::Part(part.clone())).await? else {
                self.discard(&layout::upload_part(&upload.id, &part.nonce)).await;
                return Err(RegistryError::UploadRange { expected });
            };
            grown = landed;
            grown.parts.push(part);
        }
        outcome.map(|()| grown)
    }

    /// Deletes a file that does not count. That this fails is of no interest: it goes with the upload.
    async fn discard(&self, key: &Key) {
        if let Err(error) = self.inner.store.delete(key).await {
            tracing::debug!(%key, error = %error, "a part that does not count was not deleted");
        }
    }

    /// The client asked how much there is: all of it counts from now on.
    pub async fn keep(&self, upload: &Upload) -> Result<()> {
        if upload.is_broken() {
            self.land_step(upload, Step::Keep {}).await?;
        }
        Ok(())
    }

    /// The hash of what is there, if this very process hashed it all.
    fn hasher_so_far(&self, upload: &Upload, parts: &[Part], algorithm: Algorithm) -> Option<Hasher> {
        let hashed_all = || parts.iter().all(|part| part.origin == self.inner.origin && !part.state.is_empty());
        match parts.last() {
            None => Some(Hasher::new(algorithm)),
            Some(part) if algorithm == upload.algorithm && hashed_all() => {
                Hasher::resume(algorithm, &hex::decode(&part.state).ok()?)
            }
            Some(_) => None,
        }
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
        let next = upload.version + 1;
        Ok(self.put_step(&upload.id, next, &step).await?.then(|| Upload { version: next, ..upload.clone() }))
    }

    /// Not by way of [`versions::land`]: that clears away old versions, and every part of an upload counts.
    async fn put_step(&self, id: &str, number: u64, step: &Step) -> Result<bool> {
        let key = layout::upload(id).join(versions::name(number));
        Ok(self.inner.store.put_new(&key, to_json(step), Durability::Volatile).await? == PutNew::Created)
    }

    /// Lands the last step, whatever came meanwhile. An upload that was swept has ended already.
    async fn end_upload(&self, id: &str, step: &Step) -> Result<()> {
        while let Some((newest, _)) = versions::newest_number(&self.inner.store, &layout::upload(id)).await? {
            if self.put_step(id, newest + 1, step).await? {
                break;
            }
        }
        self.delete_parts(id).await
    }

    /// Ends an upload; what came so far is thrown away.
    pub async fn cancel(&self, upload: &Upload) -> Result<()> {
        self.end_upload(&upload.id, &Step::Cancel {}).await
    }

    async fn delete_parts(&self, id: &str) -> Result<()> {
        let directory = layout::upload(id);
        for child in self.inner.store.children(&directory, None, usize::MAX).await? {
            if layout::is_upload_part(&child.name) {
                self.inner.store.delete(&directory.join(&child.name)).await?;
            }
        }
        Ok(())
    }
}

/// Where the next part begins.
fn end_of(parts: &[Part]) -> u64 {
    parts.last().map_or(0, |part| part.offset + part.length)
}

fn step(id: &str, value: &[u8]) -> Result<Step> {
    let corrupt = |error: serde_json::Error| RegistryError::Corrupt {
        key: layout::upload(id).to_string(),
        why: error.to_string(),
    };
    serde_json::from_slice(value).map_err(corrupt)
}

fn check_length(announced: Option<u64>, received: u64) -> Result<()> {
    match announced {
        Some(expected) if expected != received => Err(RegistryError::SizeInvalid { expected, received }),
        Some(_) | None => Ok(()),
    }
}
