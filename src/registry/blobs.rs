//! Blobs: global bytes, and a link for each repository that may read them.

use super::contents::Wanted;
use super::find::{ELSEWHERE, NEARBY};
use super::journal::Ticket;
use super::register::{Author, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, Result, layout};
use crate::oci::{Digest, RepositoryName};
use crate::store::{Durability, Key, Meta, Object, Published};

/// A link that was set longer ago than this is set again by whoever pushes or mounts the blob again, in milliseconds. A
/// link may so have been answered for with 201 this much later than it says: the collector adds it to the grace period.
pub const FRESH_MILLIS: u64 = 600_000;

impl Registry {
    /// Whether the repository links the blob and its bytes are in place: what HEAD answers. Bytes that are condemned, or
    /// damaged, are not: who asks before he pushes is to send them again.
    pub async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Meta> {
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        let link = self.current(&Register::Link(repository.clone(), digest.clone())).await?;
        let link = link.filter(|link| link.op.is_set()).ok_or_else(unknown)?;
        let data = self.data(digest).await?.ok_or_else(unknown)?;
        if let Err(damaged) = whole(digest, link.size, data.size) {
            tracing::error!(%digest, error = %damaged, "who asks for it is told that it is not there");
            return Err(unknown());
        }
        Ok(data)
    }

    /// The blob's bytes, condemned or not: what GET answers.
    pub async fn open_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Object> {
        self.open_blob_for(repository, digest, Wanted::Whole).await
    }

    /// The same, for who wants to know that it is there, or a part of it.
    pub async fn open_blob_in_part(&self, repository: &RepositoryName, digest: &Digest) -> Result<Object> {
        self.open_blob_for(repository, digest, Wanted::Part).await
    }

    async fn open_blob_for(&self, repository: &RepositoryName, digest: &Digest, wanted: Wanted) -> Result<Object> {
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        let link = self.current(&Register::Link(repository.clone(), digest.clone())).await?;
        let link = link.filter(|link| link.op.is_readable()).ok_or_else(unknown)?;
        let object = self.open_content_for(digest, wanted).await?.ok_or_else(unknown)?;
        whole(digest, link.size, object.meta.size)?;
        Ok(object)
    }

    /// A URL of the store at which the blob's bytes are, for whom may read them here. None where the store gives none, or
    /// the bytes are condemned: they might be gone before they are fetched.
    pub async fn blob_url(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<String>> {
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        let link = self.current(&Register::Link(repository.clone(), digest.clone())).await?;
        let link = link.filter(|link| link.op.is_readable()).ok_or_else(unknown)?;
        let Some(data) = self.data(digest).await? else { return Ok(None) };
        whole(digest, link.size, data.size)?;
        Ok(self.inner.store.redirect(&layout::blob_data(digest)).await?)
    }

    /// Removes the repository's link. The bytes are the collector's.
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest, author: &Author) -> Result<()> {
        let register = Register::Link(repository.clone(), digest.clone());
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        self.head(&register).await?.filter(Head::is_readable).ok_or_else(unknown)?;
        let ticket = self.journal().record(vec![register.clone()]).await?;
        let ended = self.end_link(&register, author, &ticket).await;
        ticket.settle(&ended);
        if ended? { Ok(()) } else { Err(unknown()) }
    }

    async fn end_link(&self, register: &Register, author: &Author, ticket: &Ticket) -> Result<bool> {
        loop {
            let Some(head) = self.head(register).await?.filter(Head::is_readable) else { return Ok(false) };
            let draft = Draft::from_entry(&head.entry, Op::Delete);
            if self.land(register, Some(&head), &draft, author, Permit::Recorded(ticket)).await?.is_some() {
                return Ok(true);
            }
        }
    }

    /// Links a blob from another repository that the caller may read. False where that repository has it not.
    pub async fn mount(
        &self,
        repository: &RepositoryName,
        from: &RepositoryName,
        digest: &Digest,
        author: &Author,
    ) -> Result<bool> {
        match self.blob(from, digest).await {
            Ok(meta) => self.link_blob(repository, digest, meta.size, author).await,
            Err(RegistryError::BlobUnknown { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Links a blob from whichever repository links it, the target itself or another. Only for who may read them all: how
    /// long it takes tells whether there are such bytes. False where no repository was found that links them.
    pub async fn mount_from_anywhere(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        author: &Author,
    ) -> Result<bool> {
        // Bytes that nobody links are the collector's; where there are none, nobody need be asked.
        if self.data(digest).await?.is_none() {
            return Ok(false);
        }
        if self.mount(repository, repository, digest, author).await? {
            return Ok(true);
        }
        let places = vec![repository.namespace().to_owned()];
        let found = match self.find_link(places, digest, &|_| true, NEARBY).await? {
            None => self.find_link(vec![String::new()], digest, &|_| true, ELSEWHERE).await?,
            found => found,
        };
        match found {
            Some(from) => self.mount(repository, &from, digest, author).await,
            None => Ok(false),
        }
    }

    /// Publishes finished bytes, which have this digest, under it. Bytes that are there and have another length are not
    /// what the digest names, and only those are replaced.
    pub(super) async fn publish(&self, temporary: &Key, digest: &Digest) -> Result<()> {
        let (store, key) = (&self.inner.store, layout::blob_data(digest));
        match store.publish(temporary, &key, Durability::Durable).await? {
            Published::Created => return Ok(()),
            // A bucket has objects as a whole or not at all: nothing need be asked, and nothing could be replaced.
            Published::Exists if store.abilities().seen_is_durable => return Ok(()),
            Published::Exists => {}
        }
        let size = async |key: &Key| store.head(key).await.map(|meta| meta.map(|meta| meta.size));
        let (Some(expected), Some(found)) = (size(temporary).await?, size(&key).await?) else { return Ok(()) };
        let Err(damaged) = whole(digest, expected, found) else { return Ok(()) };
        if !store.replace(temporary, &key).await? {
            return Err(damaged);
        }
        tracing::error!(%digest, error = %damaged, "damaged bytes were replaced by those that were pushed now");
        Ok(())
    }

    /// Links a blob whose bytes are in place. False where they, or the link that was found, are gone by the time.
    ///
    /// A link that was landed here and that a client has deleted since *was* there: it is not set once more, or one
    /// push would undo a deletion that came after it.
    pub(super) async fn link_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: u64,
        author: &Author,
    ) -> Result<bool> {
        let register = Register::Link(repository.clone(), digest.clone());
        let mut landed = false;
        if let Some(head) = self.head(&register).await?.filter(|head| self.is_fresh(head)) {
            self.make_durable(&register, &head).await?;
        } else {
            let ticket = self.journal().record(vec![register.clone()]).await?;
            let set = self.set_link(&register, digest, size, author, &ticket).await;
            ticket.settle(&set);
            landed = set?;
        }
        // A collector may have condemned the bytes before it could see the link; and the link may be gone again.
        let is_there = self.secure_data(digest).await? && self.is_whole(digest, size).await?;
        let head = self.head(&register).await?;
        Ok(is_there && head.is_some_and(|head| head.is_set() || (landed && head.entry.op == Op::Delete)))
    }

    /// Whether bytes that are in place have their length. Where the store has objects as a whole or not at all, that need
    /// not be asked at each push.
    pub(super) async fn is_whole(&self, digest: &Digest, size: u64) -> Result<bool> {
        if self.inner.store.abilities().seen_is_durable {
            return Ok(true);
        }
        Ok(self.data(digest).await?.is_some_and(|meta| meta.size == size))
    }

    fn is_fresh(&self, head: &Head) -> bool {
        head.is_set() && head.entry.clock.millis + FRESH_MILLIS > self.inner.clock.now_millis()
    }

    /// Sets a link, unless it was set lately: what is pushed again is young again to the collector. The journal has
    /// named it. Whether it was set here.
    pub(super) async fn set_link(
        &self,
        register: &Register,
        digest: &Digest,
        size: u64,
        author: &Author,
        ticket: &Ticket,
    ) -> Result<bool> {
        let draft = Draft { op: Op::Set, digest: digest.clone(), media_type: None, size };
        loop {
            let head = self.head(register).await?;
            if let Some(fresh) = head.as_ref().filter(|head| self.is_fresh(head)) {
                self.make_durable(register, fresh).await?;
                return Ok(false);
            }
            let permit = Permit::Recorded(ticket);
            if self.land(register, head.as_ref(), &draft, author, permit).await?.is_some() {
                return Ok(true);
            }
        }
    }
}

/// An error where bytes have another length than when they were linked.
pub(super) fn whole(digest: &Digest, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(RegistryError::Damaged { digest: digest.clone(), expected, found })
}
