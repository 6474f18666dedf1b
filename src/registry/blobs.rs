//! Blobs: global bytes, and a link for each repository that may read them.

use super::journal::Ticket;
use super::register::{Author, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, Result, layout};
use crate::oci::{Digest, RepositoryName};
use crate::store::{Durability, Key, Meta, Object};

/// A link that was set longer ago than this is set again by whoever pushes or mounts the blob again, in milliseconds. A
/// link may so have been answered for with 201 this much later than it says: the collector adds it to the grace period.
pub const FRESH_MILLIS: u64 = 600_000;

impl Registry {
    /// Whether the repository links the blob and its bytes are in place: what HEAD answers.
    pub async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Meta> {
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        let link = self.current(&Register::Link(repository.clone(), digest.clone())).await?;
        link.filter(|link| link.op.is_set()).ok_or_else(unknown)?;
        self.data(digest).await?.ok_or_else(unknown)
    }

    /// The blob's bytes, condemned or not: what GET answers.
    pub async fn open_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Object> {
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        let link = self.current(&Register::Link(repository.clone(), digest.clone())).await?;
        link.filter(|link| link.op.is_readable()).ok_or_else(unknown)?;
        self.open_content(digest).await?.ok_or_else(unknown)
    }

    /// A URL of the store at which the blob's bytes are, for whom may read them here. None where the store gives none, or
    /// the bytes are condemned: they might be gone before they are fetched.
    pub async fn blob_url(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<String>> {
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        let link = self.current(&Register::Link(repository.clone(), digest.clone())).await?;
        link.filter(|link| link.op.is_readable()).ok_or_else(unknown)?;
        if self.data(digest).await?.is_none() {
            return Ok(None);
        }
        Ok(self.inner.store.redirect(&layout::blob_data(digest)).await?)
    }

    /// Removes the repository's link. The bytes are the collector's.
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest, author: &Author) -> Result<()> {
        let register = Register::Link(repository.clone(), digest.clone());
        let unknown = || RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        self.head(&register).await?.filter(Head::is_readable).ok_or_else(unknown)?;
        let ticket = self.journal().record(vec![register.clone()]).await?;
        loop {
            let Some(head) = self.head(&register).await?.filter(Head::is_readable) else {
                ticket.settle();
                return Err(unknown());
            };
            let draft = Draft::from_entry(&head.entry, Op::Delete);
            if self.land(&register, Some(&head), &draft, author, Permit::Recorded(&ticket)).await?.is_some() {
                ticket.settle();
                return Ok(());
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

    /// Links a blob from whichever repository has it. Only for who may read them all; false where none has it.
    pub async fn mount_from_anywhere(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        author: &Author,
    ) -> Result<bool> {
        match self.data(digest).await? {
            Some(meta) => self.link_blob(repository, digest, meta.size, author).await,
            None => Ok(false),
        }
    }

    /// Publishes finished bytes under their digest.
    pub(super) async fn publish(&self, temporary: &Key, digest: &Digest) -> Result<()> {
        self.inner.store.publish(temporary, &layout::blob_data(digest), Durability::Durable).await?;
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
            landed = self.set_link(&register, digest, size, author, &ticket).await?;
            ticket.settle();
        }
        // A collector may have condemned the bytes before it could see the link; and the link may be gone again.
        let is_there = self.secure_data(digest).await?;
        let head = self.head(&register).await?;
        Ok(is_there && head.is_some_and(|head| head.is_set() || (landed && head.entry.op == Op::Delete)))
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
