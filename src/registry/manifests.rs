//! Manifests: kept byte for byte, and only when everything that they name is there.
//!
//! A PUT checks what the manifest names; publishes its bytes; makes the referrer's and the catalog's keys; writes the
//! journal record; *looks once more* at all that it names and takes back what was condemned meanwhile; only then lands
//! its versions, the digest's first. Where another writer lands one of them first it looks and lands again, but no tag twice:
//! somebody may have moved it since.

use std::time::Duration;

use bytes::Bytes;

use super::journal::Ticket;
use super::register::{Author, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, Result, blobs, layout, nonce, tags};
use crate::clock::Hlc;
use crate::oci::{Digest, Manifest, MediaType, Reference, RepositoryName, Tag};
use crate::store::{Durability, Object, PutNew};

/// A first look at what a manifest names is repeated when it is older than this: the undelete window is longer.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(90);

/// A manifest as it is served.
#[derive(Debug)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// The type that it was put with.
    pub media_type: MediaType,
    /// Bytes.
    pub size: u64,
}

/// A manifest to be put.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Where.
    pub repository: &'a RepositoryName,
    /// Its bytes.
    pub bytes: Bytes,
    /// What they say.
    pub manifest: Manifest,
    /// Their digest.
    pub digest: Digest,
    /// The tags to set.
    pub tags: Vec<Tag>,
    /// Whether it may name what the repository does not have. What it names is kept from the collector all the same,
    /// as soon as it comes.
    pub sparse: bool,
}

impl<'a> Incoming<'a> {
    /// Reads and checks what a client sent under a reference. By digest: the bytes must have it. By tag: their
    /// SHA-256 is computed.
    pub fn new(
        repository: &'a RepositoryName,
        reference: &Reference,
        content_type: Option<&MediaType>,
        bytes: Bytes,
    ) -> Result<Self> {
        let manifest = Manifest::parse(content_type, &bytes)?;
        manifest.require_pushable(&bytes)?;
        Self::of(repository, reference, manifest, bytes)
    }

    /// As [`Self::new`], of bytes that were read already.
    pub fn of(repository: &'a RepositoryName, reference: &Reference, manifest: Manifest, bytes: Bytes) -> Result<Self> {
        let (digest, tags) = match reference {
            Reference::Tag(tag) => (Digest::sha256(&bytes), vec![tag.clone()]),
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), &bytes);
                if actual != *expected {
                    return Err(RegistryError::DigestMismatch { expected: expected.clone(), actual });
                }
                (actual, Vec::new())
            }
        };
        Ok(Self { repository, bytes, manifest, digest, tags, sparse: false })
    }

    /// Sets these tags too (distribution-spec, "Pushing Manifests": `?tag=`).
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        for tag in tags {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
        self
    }

    /// May name what is missing.
    #[must_use]
    pub fn sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn draft(&self) -> Draft {
        let media_type = Some(self.manifest.media_type.clone());
        Draft { op: Op::Set, digest: self.digest.clone(), media_type, size: self.size() }
    }

    fn register(&self) -> Register {
        Register::Manifest(self.repository.clone(), self.digest.clone())
    }

    fn tag_registers(&self) -> Vec<Register> {
        self.tags.iter().map(|tag| Register::Tag(self.repository.clone(), tag.clone())).collect()
    }
}

impl Registry {
    /// What a reference is, if it is set: what HEAD answers.
    pub async fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Stored> {
        self.find(repository, reference, Op::is_set).await
    }

    /// What a reference is, with its bytes; by digest also when it is condemned.
    pub async fn open_manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<(Stored, Object)> {
        let stored = self.find(repository, reference, Op::is_readable).await?;
        let object = self.open_content(&stored.digest).await?;
        let object = object.ok_or_else(|| tags::unknown(repository, reference.clone()))?;
        blobs::whole(&stored.digest, stored.size, object.meta.size)?;
        Ok((stored, object))
    }

    async fn find(&self, repository: &RepositoryName, reference: &Reference, good: fn(Op) -> bool) -> Result<Stored> {
        let (register, good): (_, fn(Op) -> bool) = match reference {
            Reference::Tag(tag) => (Register::Tag(repository.clone(), tag.clone()), Op::is_set),
            Reference::Digest(digest) => (Register::Manifest(repository.clone(), digest.clone()), good),
        };
        let current = self.current(&register).await?.filter(|current| good(current.op));
        let current = current.ok_or_else(|| tags::unknown(repository, reference.clone()))?;
        let media_type = current.media_type.unwrap_or_else(MediaType::oci_manifest);
        if media_type.is_schema_1() {
            return Err(RegistryError::Schema1 { repository: repository.clone(), reference: reference.clone() });
        }
        Ok(Stored { digest: current.digest, media_type, size: current.size })
    }

    /// Puts a manifest and sets its tags.
    pub async fn put_manifest(&self, incoming: &Incoming<'_>, author: &Author) -> Result<()> {
        let looked = self.inner.clock.moment();
        self.check_references(incoming).await?;
        self.publish_bytes(incoming).await?;
        self.enter(incoming.repository).await?;
        let mut names = vec![incoming.register()];
        names.extend(incoming.tag_registers());
        let ticket = self.journal().record(names).await?;
        if looked.age() > LOOK_AGAIN_AFTER {
            self.check_references(incoming).await?;
        }
        let landed = self.rescue_and_land(incoming, author, &ticket).await;
        ticket.settle(&landed);
        landed?;
        self.enter(incoming.repository).await
    }

    pub(super) async fn rescue_and_land(
        &self,
        incoming: &Incoming<'_>,
        author: &Author,
        ticket: &Ticket,
    ) -> Result<()> {
        let mut left = incoming.tag_registers();
        loop {
            let required = !incoming.sparse;
            self.rescue_references(incoming.repository, &incoming.manifest, author, ticket, required).await?;
            if !self.rescue_data(&incoming.digest).await? {
                self.publish_bytes(incoming).await?;
            }
            if self.land_all(incoming, &mut left, author, ticket).await? {
                return Ok(());
            }
        }
    }

    /// Lands the digest's version, then those of the tags that are left, with one clock; at the first one lost all that
    /// did not land is decided anew. What landed was seen, and moved by others who were told so: it is not landed again.
    /// Reads the digest's register again after the tags: it may have been deleted while they were set.
    async fn land_all(
        &self,
        incoming: &Incoming<'_>,
        left: &mut Vec<Register>,
        author: &Author,
        ticket: &Ticket,
    ) -> Result<bool> {
        let permit = Permit::Recorded(ticket);
        let register = incoming.register();
        let head = self.head(&register).await?;
        let mut tag_heads = Vec::new();
        for tag in left.iter() {
            tag_heads.push((self.head(tag).await?, tag.clone()));
        }
        let clock = self.clock_after(head.iter().chain(tag_heads.iter().filter_map(|(head, _)| head.as_ref())));
        let version = head.as_ref().map_or(1, |head| head.version + 1);
        self.hint_referrer(incoming.repository, &incoming.manifest, &incoming.digest, incoming.size(), version).await?;
        let draft = incoming.draft();
        if self.land_at(&register, head.as_ref(), &draft, author, clock.clone(), permit).await?.is_none() {
            return Ok(false);
        }
        for (head, tag) in &tag_heads {
            if self.land_at(tag, head.as_ref(), &draft, author, clock.clone(), permit).await?.is_none() {
                return Ok(false);
            }
            left.retain(|other| other != tag);
        }
        Ok(tag_heads.is_empty() || self.head_if_set(&register).await?.is_some())
    }

    fn clock_after<'a>(&self, heads: impl Iterator<Item = &'a Head>) -> Hlc {
        self.inner.clock.tick(heads.map(|head| &head.entry.clock).max())
    }

    /// Also where the bytes are there already: whoever put them may not have come as far as the disk.
    async fn publish_bytes(&self, incoming: &Incoming<'_>) -> Result<()> {
        let data = layout::blob_data(&incoming.digest);
        match self.inner.store.put_new(&data, incoming.bytes.clone(), Durability::Durable).await? {
            PutNew::Created => return Ok(()),
            // Those that are whole stay, whatever became of their bytes: scrubbing is for that.
            PutNew::Exists(stored) if stored.len() == incoming.bytes.len() => return Ok(()),
            PutNew::Exists(_) => {}
        }
        let temporary = layout::temporaries().join(nonce());
        let mut writer = self.inner.store.temporary(&temporary).await?;
        writer.write(incoming.bytes.clone()).await?;
        writer.finish(Durability::Volatile).await?;
        self.publish(&temporary, &incoming.digest).await?;
        self.inner.store.delete(&temporary).await?;
        Ok(())
    }

    /// A manifest's bytes, read for what they name.
    pub async fn read_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<Manifest> {
        let (stored, object) = self.open_manifest(repository, &digest.clone().into()).await?;
        let bytes = object.read().await.map_err(|source| RegistryError::unreadable(digest, source))?;
        Ok(Manifest::parse(Some(&stored.media_type), &bytes)?)
    }

    /// Deletes a digest: the tags that name it, then it, then tags that were set meanwhile.
    pub async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest, author: &Author) -> Result<()> {
        let register = Register::Manifest(repository.clone(), digest.clone());
        let unknown = || tags::unknown(repository, digest.clone().into());
        self.head(&register).await?.filter(Head::is_readable).ok_or_else(unknown)?;
        let tags = self.registers_of(repository, digest).await?;
        let names = std::iter::once(&register).chain(&tags).cloned().collect();
        let ticket = self.journal().record(names).await?;
        let deleted = self.end_manifest(repository, &register, &tags, digest, author, &ticket).await;
        ticket.settle(&deleted);
        if deleted? { Ok(()) } else { Err(unknown()) }
    }

    async fn registers_of(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Register>> {
        let tags = self.tags_of(repository, digest).await?;
        Ok(tags.into_iter().map(|(tag, _)| Register::Tag(repository.clone(), tag)).collect())
    }

    async fn end_manifest(
        &self,
        repository: &RepositoryName,
        register: &Register,
        tags: &[Register],
        digest: &Digest,
        author: &Author,
        ticket: &Ticket,
    ) -> Result<bool> {
        for tag in tags {
            self.end_tag(tag, Some(digest), author, ticket).await?;
        }
        loop {
            let Some(head) = self.head(register).await?.filter(Head::is_readable) else { return Ok(false) };
            let draft = Draft::from_entry(&head.entry, Op::Delete);
            if self.land(register, Some(&head), &draft, author, Permit::Recorded(ticket)).await?.is_some() {
                break;
            }
        }
        self.end_late(repository, digest, author).await?;
        Ok(true)
    }

    /// Ends the tags that were set while their digest was deleted.
    async fn end_late(&self, repository: &RepositoryName, digest: &Digest, author: &Author) -> Result<()> {
        let late = self.registers_of(repository, digest).await?;
        if late.is_empty() {
            return Ok(());
        }
        let ticket = self.journal().record(late.clone()).await?;
        let mut ended = Ok(());
        for tag in &late {
            ended = self.end_tag(tag, Some(digest), author, &ticket).await.map(|_| ());
            if ended.is_err() {
                break;
            }
        }
        ticket.settle(&ended);
        ended
    }
}
