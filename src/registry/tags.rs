//! Tags: one register each, listed by names alone.

use futures::future::try_join_all;

use super::journal::Ticket;
use super::register::{Author, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, Result, layout, versions};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::store::{Child, Walk};

/// The most names that one listing is asked for.
const PAGE: usize = 1_001;

/// How many keys below the tags are listed together, where that is cheaper than a listing of each.
const KEYS: usize = 1_000;

/// The fewest: some will have ended. Where that is not enough, so many have that the next listing is a long one.
const FEW: usize = 100;

/// How many tags are looked at together: in a bucket, or on a network's filesystem, each look takes a while. So many are
/// polled in a row without a queue.
const AT_ONCE: usize = 30;

/// How many tags one page looks at, whatever has ended of them.
const LOOKED_AT: usize = 10_000;

/// What one listing tells.
struct Listed {
    /// Whether a tag is set, where its names alone say so.
    names: Vec<(Tag, Option<bool>)>,
    /// Behind what the next ones come.
    next: Option<String>,
}

impl Listed {
    /// From keys of a listing that ends after so many: each tag's newest version first, and its hint behind that.
    fn from_keys(keys: &[Child], most: usize) -> Self {
        let groups: Vec<&[Child]> = keys.chunk_by(|a, b| component(a) == component(b)).collect();
        let is_full = keys.len() >= most;
        // What the last one's second key is may not be known.
        let whole = if is_full && groups.len() > 1 { &groups[..groups.len() - 1] } else { &groups[..] };
        let name = |group: &&[Child]| Some((tag_of(component(group.first()?))?, set_by_name(group)));
        let next = whole.last().and_then(|group| group.first()).filter(|_| is_full);
        let next = next.map(|key| format!("{}/~", component(key)));
        Self { names: whole.iter().filter_map(name).collect(), next }
    }
}

fn component(key: &Child) -> &str {
    key.name.split_once('/').map_or(&key.name, |(first, _)| first)
}

fn tag_of(name: &str) -> Option<Tag> {
    name.strip_suffix(layout::SEPARATOR)?.parse().ok()
}

/// Behind all keys of a tag.
fn behind(tag: &str) -> String {
    format!("{tag}{}/~", layout::SEPARATOR)
}

fn set_by_name(keys: &[Child]) -> Option<bool> {
    let version = keys.first()?.name.split_once('/')?.1;
    versions::number(version)?;
    let hint = keys.get(1)?.name.split_once('/')?.1.strip_prefix(version)?.strip_prefix(layout::SEPARATOR)?;
    Some(hint == Op::Set.hint())
}

fn of(repository: &RepositoryName, tag: Tag) -> Register {
    Register::Tag(repository.clone(), tag)
}

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
        let mut walk = self.walk_tags(repository, last.map(behind));
        loop {
            // One more than is wanted tells whether there is one: then the directory is listed once.
            let wanted = (limit - tags.len()).saturating_add(1);
            let page = if looked_at == 0 { wanted.clamp(FEW, PAGE) } else { PAGE };
            let Listed { names, next } = list_tags(&mut walk, page).await?;
            looked_at += page;
            let end = names.last().filter(|_| next.is_some()).map(|(tag, _)| tag.clone());
            let mut names = names.into_iter().peekable();
            while names.peek().is_some() {
                let wanted = (limit - tags.len()).saturating_add(1).min(AT_ONCE);
                let together: Vec<(Register, Option<bool>)> =
                    names.by_ref().take(wanted).map(|(tag, set)| (of(repository, tag), set)).collect();
                let looks = together.iter().map(async |(register, set)| match set {
                    Some(set) => Ok(*set),
                    None => self.is_tag_set(register).await,
                });
                let set = try_join_all(looks).await?;
                for ((register, _), _) in together.into_iter().zip(set).filter(|(_, set)| *set) {
                    if tags.len() == limit {
                        let last = tags.last().cloned();
                        return Ok((tags, last));
                    }
                    tags.extend(register.into_tag());
                }
            }
            if next.is_none() || (looked_at >= LOOKED_AT && end.is_some()) {
                return Ok((tags, end));
            }
        }
    }

    fn walk_tags(&self, repository: &RepositoryName, after: Option<String>) -> Walk {
        Walk::new(&self.inner.store, layout::tags(repository), after)
    }

    /// The tag's head, if the tag is set.
    pub async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Head> {
        let head = self.head_if_set(&Register::Tag(repository.clone(), tag.clone())).await?;
        head.ok_or_else(|| unknown(repository, tag.clone().into()))
    }

    /// Every tag that points to this digest.
    pub async fn tags_of(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<(Tag, Head)>> {
        let (mut found, mut walk) = (Vec::new(), self.walk_tags(repository, None));
        loop {
            let Listed { names, next } = list_tags(&mut walk, PAGE).await?;
            let names: Vec<Tag> =
                names.into_iter().filter(|(_, set)| *set != Some(false)).map(|(tag, _)| tag).collect();
            for together in names.chunks(AT_ONCE) {
                let registers: Vec<Register> = together.iter().map(|tag| of(repository, tag.clone())).collect();
                let heads = try_join_all(registers.iter().map(|register| self.head_if_set(register))).await?;
                let pointing = |head: &Head| head.entry.digest == *digest;
                let heads = together.iter().zip(heads).filter_map(|(tag, head)| Some((tag, head.filter(pointing)?)));
                found.extend(heads.map(|(tag, head)| (tag.clone(), head)));
            }
            if next.is_none() {
                return Ok(found);
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

/// The next names of tags, and what else the listing says. Whatever else lies there is passed over.
async fn list_tags(walk: &mut Walk, page: usize) -> Result<Listed> {
    // Most have a version and its hint.
    let most = (3 * page).min(KEYS);
    if let Some(keys) = walk.keys(most).await? {
        let listed = Listed::from_keys(&keys, most);
        if let Some(next) = &listed.next {
            walk.go_on_behind(next.clone(), keys);
        }
        return Ok(listed);
    }
    let children = walk.names(page).await?;
    let next = children.last().filter(|_| children.len() == page).map(Child::as_start);
    let name = |child: &Child| Some((tag_of(&child.name)?, None));
    Ok(Listed { names: children.iter().filter_map(name).collect(), next })
}

pub(super) fn unknown(repository: &RepositoryName, reference: Reference) -> RegistryError {
    RegistryError::ManifestUnknown { repository: repository.clone(), reference }
}
