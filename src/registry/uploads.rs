//! Uploads: write-once parts that any replica continues.
//!
//! An upload is a register: `begin`, then `part`s, then `close` or `cancel`. Each step also says how the upload stands
//! after it, so that a request reads the newest one alone, whatever their number; only closing reads those of the parts.
//! A chunk streams to a file of its own and is hashed on the way; then its part is landed. Of two chunks at one offset
//! one lands, the other is told where the upload is. None of this is synced: an upload in progress need not survive a
//! power cut. Closing puts the parts together, verifies, and makes durable what it publishes.
//!
//! A chunk that comes after a small part is written behind a copy of it, and the new part takes the place of both: a
//! client that sends single bytes leaves a few files rather than thousands. What is copied is hashed once more at the end.

mod assemble;
mod close;
mod given_up;
mod step;

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};

use super::register::{is_torn, to_json};
use super::{Registry, RegistryError, Result, layout, nonce, versions};
use crate::oci::{Algorithm, Digest, Hasher, RepositoryName};
use crate::store::{Durability, Key, PutNew, Writer};
use given_up::GivenUp;
use step::{Done, Part, Standing, Step, end_of, is_id, step, thrown_away};

/// How many steps an upload may come to by chunks: closing reads as many records. S3 has the same bound.
pub const MOST_PARTS: u64 = if cfg!(test) { 200 } else { 10_000 };

/// A part shorter than this is put together with what comes after it.
const SMALL: u64 = 64 * 1024;

/// What a request brought.
struct Brought {
    /// What it goes on from, where it throws away what was kept of a broken body.
    reset: Option<Standing>,
    /// The bytes, in a file of their own, and how the upload stands with them; none where the body was empty.
    part: Option<(Part, Standing)>,
    /// Clears the file away, unless that is landed or published.
    file: GivenUp,
    /// The hash over everything up to and with them, where it is known.
    hasher: Option<Hasher>,
    /// Whether the body came to its end.
    outcome: Result<()>,
}

/// An upload as it stands.
#[derive(Debug, Clone)]
pub struct Upload {
    id: String,
    /// The number of its newest version, and what that says.
    version: u64,
    done: Done,
    stands: Standing,
}

impl Upload {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many bytes are there.
    pub fn size(&self) -> u64 {
        self.stands.size
    }

    fn closed(&self) -> Option<(&Digest, u64)> {
        match &self.done {
            Done::Close { digest, size } => Some((digest, *size)),
            Done::Begin | Done::Part(_) | Done::Reset | Done::Keep | Done::Cancel => None,
        }
    }

    /// One that was closed is there for who closes it once more, and for nothing else.
    fn require_open(&self) -> Result<()> {
        match self.closed() {
            Some(_) => Err(RegistryError::UploadUnknown(self.id.clone())),
            None => Ok(()),
        }
    }
}

/// A request's body.
pub trait Body: Stream<Item = std::io::Result<Bytes>> + Send + Unpin {}
impl<T: Stream<Item = std::io::Result<Bytes>> + Send + Unpin> Body for T {}

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
        let stands = Standing {
            repository: repository.clone(),
            actor: actor.to_owned(),
            algorithm,
            size: 0,
            state: String::new(),
            origin: String::new(),
            broken: false,
            from: 2,
            last: None,
        };
        let upload = Upload { id: nonce(), version: 1, done: Done::Begin, stands };
        self.put_step(&upload.id, 1, &Step { done: Done::Begin, stands: upload.stands.clone() }).await?;
        Ok(upload)
    }

    /// Whether an upload of this id is neither closed nor cancelled nor swept.
    pub async fn is_upload_open(&self, id: &str) -> Result<bool> {
        let newest = versions::newest(&self.inner.store, &layout::upload(id)).await?;
        let Some(newest) = newest.filter(|newest| !is_torn(&newest.value)) else { return Ok(false) };
        Ok(match step(id, &newest.value)?.done {
            Done::Begin | Done::Part(_) | Done::Reset | Done::Keep => true,
            Done::Close { .. } | Done::Cancel => false,
        })
    }

    /// The upload of this id, if it was begun in this repository by this identity and not cancelled.
    pub async fn upload(&self, repository: &RepositoryName, id: &str, actor: &str) -> Result<Upload> {
        let unknown = || RegistryError::UploadUnknown(id.to_owned());
        if !is_id(id) {
            return Err(unknown());
        }
        let newest = versions::newest(&self.inner.store, &layout::upload(id)).await?;
        let newest = newest.filter(|newest| !is_torn(&newest.value)).ok_or_else(unknown)?;
        let Step { done, stands } = step(id, &newest.value)?;
        if stands.repository != *repository || stands.actor != actor || matches!(done, Done::Cancel) {
            return Err(unknown());
        }
        if stands.is_sound() {
            Ok(Upload { id: id.to_owned(), version: newest.number, done, stands })
        } else {
            Err(unknown())
        }
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
        if upload.version > MOST_PARTS {
            return Err(RegistryError::TooManyParts { most: MOST_PARTS });
        }
        let brought = self.bring(upload, at, length, body, upload.stands.algorithm).await?;
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
        upload.require_open()?;
        // What was kept of a body that broke off counts only if the client goes on by range, or asked how much it was:
        // one that simply sends everything again begins anew.
        let reset = (at.is_none() && upload.stands.broken).then(|| thrown_away(upload));
        let before = reset.as_ref().unwrap_or(&upload.stands);
        if at.is_some_and(|at| at != before.size) {
            return Err(RegistryError::UploadRange { expected: before.size });
        }
        let mut hasher = self.hasher_so_far(before, algorithm);
        let nonce = nonce();
        let key = layout::upload_part(&upload.id, &nonce);
        let mut file = GivenUp::file(self, key.clone());
        let received = self.receive(upload, &key, before.last.as_ref(), body, hasher.as_mut()).await;
        // A store that fails has kept nobody knows how much: nothing of it counts. Nor does a body that came to its end
        // with another length than its headers say; one that broke off is kept as far as it came.
        let received = received.and_then(|(received, outcome)| {
            if outcome.is_ok() {
                check_length(length, received).map(|()| (received, outcome))
            } else {
                Ok((received, outcome))
            }
        });
        let (received, outcome) = match received {
            Ok(received) => received,
            Err(error) => {
                file.forget();
                self.discard(&key).await;
                return Err(error);
            }
        };
        let resumable = hasher.as_ref().filter(|hasher| hasher.algorithm() == upload.stands.algorithm);
        let state = resumable.map(|hasher| hex::encode(hasher.state())).unwrap_or_default();
        let (offset, copied) = before.last.as_ref().map_or((before.size, 0), |last| (last.offset, last.length));
        let copied_from = before.last.as_ref().map(|last| last.nonce.clone());
        let part = Part { offset, length: copied + received, nonce, copied: copied_from };
        let stands = Standing {
            size: before.size + received,
            state,
            origin: self.inner.origin.clone(),
            broken: outcome.is_err(),
            last: (part.length < SMALL).then(|| part.clone()),
            ..before.clone()
        };
        if received == 0 {
            file.forget();
        }
        Ok(Brought { part: (received > 0).then_some((part, stands)), reset, file, hasher, outcome })
    }

    /// Makes what was brought the upload's next part; answers as the body ended.
    async fn land_brought(&self, upload: &Upload, brought: Brought) -> Result<Upload> {
        let Brought { reset, part, mut file, hasher: _, outcome } = brought;
        let expected = upload.size();
        let lost = || RegistryError::UploadRange { expected };
        let mut grown = upload.clone();
        if let Some(reset) = reset {
            grown = self.land_step(upload, Done::Reset, reset).await?.ok_or_else(lost)?;
        }
        if let Some((part, stands)) = part {
            // From here on it may have landed, whatever is answered.
            file.forget();
            let key = part.key(upload);
            let before = grown.stands.last.clone();
            let Some(landed) = self.land_step(&grown, Done::Part(part), stands).await? else {
                self.discard(&key).await;
                return Err(lost());
            };
            // The part that is in this one stays for who is closing the upload just now; the one in that goes.
            if let Some(older) = before.and_then(|before| before.copied) {
                self.discard(&layout::upload_part(&upload.id, &older)).await;
            }
            grown = landed;
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
        upload.require_open()?;
        if upload.stands.broken {
            let stands = Standing { broken: false, ..upload.stands.clone() };
            self.land_step(upload, Done::Keep, stands).await?;
        }
        Ok(())
    }

    /// The hash of what is there, if it was hashed as it came: by this very process, or by any where what that was told to
    /// be there is there still.
    fn hasher_so_far(&self, before: &Standing, algorithm: Algorithm) -> Option<Hasher> {
        if before.size == 0 {
            return Some(Hasher::new(algorithm));
        }
        let are_those_bytes = before.origin == self.inner.origin || self.keeps_what_is_seen();
        if algorithm != before.algorithm || !are_those_bytes || before.state.is_empty() {
            return None;
        }
        Hasher::resume(algorithm, &hex::decode(&before.state).ok()?)
    }

    /// Takes a body into a file, behind a copy of the part before it: how many bytes came, and whether the body came to
    /// its end.
    async fn receive(
        &self,
        upload: &Upload,
        key: &Key,
        before: Option<&Part>,
        mut body: impl Body,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<(u64, Result<()>)> {
        // The PUT that closes an upload mostly has no body: no file is made for nothing.
        let mut writer: Option<Box<dyn Writer>> = None;
        let mut received = 0;
        let mut outcome = Ok(());
        while let Some(chunk) = next_of(&mut body, writer.as_deref_mut()).await {
            match chunk {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => {
                    received += chunk.len() as u64;
                    if let Some(hasher) = hasher.as_deref_mut() {
                        hasher.update(&chunk);
                    }
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        none @ None => none.insert(self.begin_part(upload, key, before).await?),
                    };
                    writer.write(chunk).await?;
                }
                Err(error) => {
                    outcome = Err(RegistryError::Body(error));
                    break;
                }
            }
        }
        let Some(writer) = writer else { return Ok((0, outcome)) };
        let expected = before.map_or(0, |before| before.length) + received;
        match writer.finish(Durability::Volatile).await? {
            written if written == expected => Ok((received, outcome)),
            written => Err(RegistryError::SizeInvalid { expected, received: written }),
        }
    }

    /// A part's file, with the bytes of the part before it.
    async fn begin_part(&self, upload: &Upload, key: &Key, before: Option<&Part>) -> Result<Box<dyn Writer>> {
        let mut writer = self.inner.store.temporary(key).await?;
        let Some(before) = before else { return Ok(writer) };
        let key = before.key(upload);
        let Some(object) = self.inner.store.open(&key).await?.filter(|object| object.meta.size == before.length) else {
            return Err(self.lost_part(upload).await);
        };
        let bytes = object.read().await.map_err(|source| RegistryError::unreadable(&key, source))?;
        writer.write(bytes).await?;
        Ok(writer)
    }

    /// A part is not what its record says: the upload has grown or ended meanwhile, or a power cut took the bytes.
    async fn lost_part(&self, upload: &Upload) -> RegistryError {
        let stands = &upload.stands;
        match self.upload(&stands.repository, &upload.id, &stands.actor).await {
            Ok(now) if now.version != upload.version && now.closed().is_none() => {
                RegistryError::UploadRange { expected: now.size() }
            }
            Ok(_) => RegistryError::UploadUnknown(upload.id.clone()),
            Err(error) => error,
        }
    }

    /// Lands the next step; `None` where another request was first.
    async fn land_step(&self, upload: &Upload, done: Done, stands: Standing) -> Result<Option<Upload>> {
        let version = upload.version + 1;
        let step = Step { done, stands };
        let landed = self.put_step(&upload.id, version, &step).await?;
        let Step { done, stands } = step;
        Ok(landed.then(|| Upload { id: upload.id.clone(), version, done, stands }))
    }

    /// Not by way of [`versions::land`]: that clears away old versions, and every part of an upload counts.
    async fn put_step(&self, id: &str, number: u64, step: &Step) -> Result<bool> {
        let key = layout::upload(id).join(versions::name(number));
        Ok(self.inner.store.put_new(&key, to_json(step), Durability::Volatile).await? == PutNew::Created)
    }

    /// Lands the last step, whatever came meanwhile. An upload that was swept has ended already.
    async fn end_upload(&self, upload: &Upload, done: Done) -> Result<()> {
        let step = Step { done, stands: upload.stands.clone() };
        while let Some((newest, _)) = versions::newest_number(&self.inner.store, &layout::upload(&upload.id)).await? {
            if self.put_step(&upload.id, newest + 1, &step).await? {
                break;
            }
        }
        self.delete_parts(&upload.id).await
    }

    /// Ends an upload; what came so far is thrown away.
    pub async fn cancel(&self, upload: &Upload) -> Result<()> {
        upload.require_open()?;
        self.end_upload(upload, Done::Cancel).await
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

/// What comes next of a body. One that takes room which others wait for, and comes too slowly, ends as if it broke off.
async fn next_of(body: &mut impl Body, writer: Option<&mut (dyn Writer + 'static)>) -> Option<std::io::Result<Bytes>> {
    let Some(writer) = writer else { return body.next().await };
    if let Some(ready) = body.next().now_or_never() {
        return ready;
    }
    tokio::select! {
        biased;
        next = body.next() => next,
        _ = writer.gives_way() => {
            let why = "it came too slowly, while others waited for the memory that it took";
            Some(Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why)))
        }
    }
}

fn check_length(announced: Option<u64>, received: u64) -> Result<()> {
    match announced {
        Some(expected) if expected != received => Err(RegistryError::SizeInvalid { expected, received }),
        Some(_) | None => Ok(()),
    }
}
