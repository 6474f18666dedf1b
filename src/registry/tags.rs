//! Tags: one register each, listed by names alone.

use futures::future::try_join_all;

use super::journal::Ticket;
use super::register::{Author, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, Result, layout};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::store::Child;

/// The most names that one listing is asked for.
const PAGE: usize = 1_001;

/// The fewest: some will have ended. Where that is not enough, so many have that the next listing is a long one.
const FEW: usize = 100;

/// How many tags are looked at together: in a bucket, or on a network's filesystem, each look takes a while. So many are
/// polled in a row without a queue.
const AT_ONCE: usize = 30;

/// How many tags one page looks at, whatever has ended of them.
const LOOKED_AT: usize = 10_000;

impl Registry {
    /// Up to `limit` tags that are set, in lexical order, those after `last` only; and the one behind which there may be
    /// more: the last of them, or one that has ended, where so many have that the page ends before it is full.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        last: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Tag>, Option<Tag>)> {
        let (tags, next) = self.set_tags(repository, last, limit).await?;
        // Only what was pushed to has any.
        if tags.is_empty() && next.is_none() {
            self.require(repository).await?;
        }
        Ok((tags, next))
    }

    async fn set_tags(
        &self,
        repository: &RepositoryName,
        last: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Tag>, Option<Tag>)> {
        let (mut tags, mut looked_at) = (Vec::<Tag>::new(), 0);
        let mut after = last.map(|last| format!("{last}!/"));
        loop {
            // One more than is wanted tells whether there is one: then the directory is listed once.
            let wanted = (limit - tags.len()).saturating_add(1);
            let page = if looked_at == 0 { wanted.clamp(FEW, PAGE) } else { PAGE };
            let (names, next) = self.tag_names(repository, after.as_deref(), page).await?;
            looked_at += page;
            after = next;
            let end = names.last().filter(|_| after.is_some()).cloned();
            let mut names = names.into_iter().peekable();
            while names.peek().is_some() {
                let wanted = (limit - tags.len()).saturating_add(1).min(AT_ONCE);
                let together: Vec<Register> =
                    names.by_ref().take(wanted).map(|tag| Register::Tag(repository.clone(), tag)).collect();
                let set = try_join_all(together.iter().map(|register| self.is_tag_set(register))).await?;
                for (register, _) in together.into_iter().zip(set).filter(|(_, set)| *set) {
                    if tags.len() == limit {
                        let last = tags.last().cloned();
                        return Ok((tags, last));
                    }
                    tags.extend(register.into_tag());
                }
            }
            if after.is_none() || (looked_at >= LOOKED_AT && end.is_some()) {
                return Ok((tags, end));
            }
        }
    }

    /// Names of tags, set or not, and where the next ones are listed from. Whatever else lies there is passed over.
    async fn tag_names(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        page: usize,
    ) -> Result<(Vec<Tag>, Option<String>)> {
        let children = self.inner.store.children(&layout::tags(repository), after, page).await?;
        let next = children.last().filter(|_| children.len() == page).map(Child::as_start);
        let tag = |child: &Child| child.name.strip_suffix(layout::SEPARATOR)?.parse().ok();
        Ok((children.iter().filter_map(tag).collect(), next))
    }

    /// The tag's head, if the tag is set.
    pub async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Head> {
        let head = self.head_if_set(&Register::Tag(repository.clone(), tag.clone())).await?;
        head.ok_or_else(|| unknown(repository, tag.clone().into()))
    }

    /// Every tag that points to this digest.
    pub async fn tags_of(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<(Tag, Head)>> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (names, next) = self.tag_names(repository, after.as_deref(), PAGE).await?;
            for together in names.chunks(AT_ONCE) {
                let registers: Vec<Register> =
                    together.iter().map(|tag| Register::Tag(repository.clone(), tag.clone())).collect();
                let heads = try_join_all(registers.iter().map(|register| self.head_if_set(register))).await?;
                let pointing = |head: &Head| head.entry.digest == *digest;
                let heads = together.iter().zip(heads).filter_map(|(tag, head)| Some((tag, head.filter(pointing)?)));
                found.extend(heads.map(|(tag, head)| (tag.clone(), head)));
            }
            if next.is_none() {
                return Ok(found);
            }
            after = next;
        }
    }

    /// Ends a tag. What it points to stays.
    pub async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag, author: &Author) -> Result<()> {
        let register = Register::Tag(repository.clone(), tag.clone());
        self.tag(repository, tag).await?;
        let ticket = self.journal().record(vec![register.clone()]).await?;
        let ended = self.end_tag(&register, None, author, &ticket).await;
        ticket.settle(&ended);
        if ended? { Ok(()) } else { Err(unknown(repository, tag.clone().into())) }
    }

    /// Ends a tag, if it is set and (where one is given) points to this digest. The journal has named it.
    pub(super) async fn end_tag(
        &self,
        register: &Register,
        only: Option<&Digest>,
        author: &Author,
        ticket: &Ticket,
    ) -> Result<bool> {
        loop {
            let head = self.head_if_set(register).await?;
            let Some(head) = head.filter(|head| only.is_none_or(|only| head.entry.digest == *only)) else {
                return Ok(false);
            };
            let draft = Draft::from_entry(&head.entry, Op::Delete);
            if self.land(register, Some(&head), &draft, author, Permit::Recorded(ticket)).await?.is_some() {
                return Ok(true);
            }
        }
    }
}

pub(super) fn unknown(repository: &RepositoryName, reference: Reference) -> RegistryError {
    RegistryError::ManifestUnknown { repository: repository.clone(), reference }
}
