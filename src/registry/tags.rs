//! Tags: one register each, listed by names alone.

use super::journal::Ticket;
use super::register::{Author, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, Result, layout};
use crate::oci::{Digest, Reference, RepositoryName, Tag};

/// How many names are looked at in one listing.
const PAGE: usize = 1_000;

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
            let names = self.tag_names(repository, after.as_deref()).await?;
            looked_at += names.len();
            let end = names.last().filter(|_| names.len() == PAGE).cloned();
            after = end.as_ref().map(|tag| format!("{tag}!/"));
            for tag in names {
                let register = Register::Tag(repository.clone(), tag);
                if !self.is_known_set(&register).await? && !self.is_set(&register.key()).await? {
                    continue;
                }
                if tags.len() == limit {
                    let last = tags.last().cloned();
                    return Ok((tags, last));
                }
                tags.extend(register.into_tag());
            }
            if end.is_none() || looked_at >= LOOKED_AT {
                return Ok((tags, end));
            }
        }
    }

    async fn tag_names(&self, repository: &RepositoryName, after: Option<&str>) -> Result<Vec<Tag>> {
        let children = self.inner.store.children(&layout::tags(repository), after, PAGE).await?;
        Ok(children.iter().filter_map(|child| child.name.strip_suffix(layout::SEPARATOR)?.parse().ok()).collect())
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
            let names = self.tag_names(repository, after.as_deref()).await?;
            for tag in &names {
                let head = self.head_if_set(&Register::Tag(repository.clone(), tag.clone())).await?;
                found.extend(head.filter(|head| head.entry.digest == *digest).map(|head| (tag.clone(), head)));
            }
            match names.last() {
                Some(tag) if names.len() == PAGE => after = Some(format!("{tag}!/")),
                Some(_) | None => return Ok(found),
            }
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
