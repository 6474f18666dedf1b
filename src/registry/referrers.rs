//! Referrers: hints under their subject, verified against the register that made them; and those that an index under
//! the referrers tag schema lists (distribution-spec, "Enabling the Referrers API"), verified against their manifest.

use std::collections::BTreeSet;

use futures::future::try_join_all;

use super::{Register, Registry, RegistryError, Result, layout, register::to_json};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::store::{Durability, Key, Walk};

/// How many names are looked at in one listing.
const LISTED: usize = 1_000;

/// How many of them are looked at together.
const AT_ONCE: usize = 16;

/// How many referrers one page looks at, whatever is filtered out of them.
const LOOKED_AT: usize = 2_000;

/// How many bytes of descriptors one page has, unless it has only one: annotations are as long as their manifest lets
/// them, and clients read an index of 4 MiB.
const BYTES: usize = 3 * 1024 * 1024;

/// What a client wants to see of a subject's referrers.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Those after this digest only.
    pub last: Option<&'a Digest>,
    /// Only of this `artifactType`.
    pub artifact_type: Option<&'a str>,
    /// How many at most.
    pub limit: usize,
}

/// Some of a subject's referrers, ordered by digest.
#[derive(Debug, Default)]
pub struct Page {
    /// Their descriptors.
    pub referrers: Vec<Descriptor>,
    /// Where there may be more: they come after this digest.
    pub next: Option<Digest>,
    bytes: usize,
    looked_at: usize,
    reached: Option<Digest>,
}

impl Page {
    fn is_full(&self, wanted: &Wanted<'_>) -> bool {
        self.referrers.len() >= wanted.limit || self.looked_at >= LOOKED_AT
    }

    /// Takes the next candidate, and what was found of it.
    fn take(&mut self, wanted: &Wanted<'_>, digest: &Digest, found: Option<Descriptor>) {
        if self.next.is_some() || self.referrers.last().is_some_and(|last| last.digest == *digest) {
            return;
        }
        if self.is_full(wanted) {
            self.next.clone_from(&self.reached);
            return;
        }
        self.looked_at += 1;
        let before = self.reached.replace(digest.clone());
        let matches = |found: &Descriptor| {
            wanted.artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted))
        };
        if let Some(descriptor) = found.filter(matches) {
            let bytes = to_json(&descriptor).len();
            if !self.referrers.is_empty() && self.bytes + bytes > BYTES {
                self.next = before;
                return;
            }
            self.bytes += bytes;
            self.referrers.push(descriptor);
        }
    }
}

/// What may be a referrer, and the hint that says so.
type Candidate = (Digest, Option<Key>);

/// What a page is made from.
struct Subject<'a> {
    repository: &'a RepositoryName,
    digest: &'a Digest,
    wanted: Wanted<'a>,
}

impl Registry {
    /// What refers to a subject in this repository, ordered by digest. The subject need not exist.
    pub async fn referrers(&self, repository: &RepositoryName, subject: &Digest) -> Result<Vec<Descriptor>> {
        let (mut found, mut last) = (Vec::new(), None);
        loop {
            let wanted = Wanted { last: last.as_ref(), artifact_type: None, limit: LISTED };
            let page = self.referrers_page(repository, subject, wanted).await?;
            found.extend(page.referrers);
            match page.next {
                Some(next) => last = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// A page of what refers to a subject in this repository. The subject need not exist.
    pub async fn referrers_page(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        wanted: Wanted<'_>,
    ) -> Result<Page> {
        let subject = Subject { repository, digest: subject, wanted };
        let directory = layout::referrers(repository, subject.digest);
        let mut listed = self.listed_by_tag(&subject).await?;
        let mut page = Page::default();
        // Behind all hints of that digest: `"` sorts just after the separator.
        let after = wanted.last.map(|last| format!("{}\"", layout::in_a_name(last)));
        let mut walk = Walk::new(&self.inner.store, directory.clone(), after);
        loop {
            let children = walk.names(LISTED).await?;
            let mut candidates = Vec::with_capacity(children.len());
            for child in &children {
                let Some((digest, _)) = layout::referrer_of(&child.name) else { continue };
                let behind = listed.split_off(&digest);
                candidates.extend(std::mem::replace(&mut listed, behind).into_iter().map(|earlier| (earlier, None)));
                listed.remove(&digest);
                candidates.push((digest, Some(directory.join(&child.name))));
            }
            self.consider(&subject, candidates, &mut page).await?;
            if children.len() < LISTED || page.next.is_some() {
                break;
            }
        }
        self.consider(&subject, listed.into_iter().map(|rest| (rest, None)).collect(), &mut page).await?;
        Ok(page)
    }

    /// Adds the referrers among these, which are in order, to the page; or notes that the page is full. Some are looked at
    /// together: in a bucket each look takes a while.
    async fn consider(&self, subject: &Subject<'_>, candidates: Vec<Candidate>, page: &mut Page) -> Result<()> {
        let mut candidates = candidates;
        // A digest has a hint for each version that made it one: the first counts.
        candidates.dedup_by(|later, first| later.0 == first.0);
        for together in candidates.chunks(AT_ONCE) {
            if page.next.is_some() {
                return Ok(());
            }
            let found = try_join_all(together.iter().map(|candidate| self.look_at(subject, candidate))).await?;
            for ((digest, _), found) in together.iter().zip(found) {
                page.take(&subject.wanted, digest, found);
            }
        }
        Ok(())
    }

    /// What is said of a candidate, if it is a referrer.
    async fn look_at(&self, subject: &Subject<'_>, (digest, hint): &Candidate) -> Result<Option<Descriptor>> {
        let register = Register::Manifest(subject.repository.clone(), digest.clone());
        if self.head_if_set(&register).await?.is_none() {
            return Ok(None);
        }
        match hint {
            Some(key) => self.read_hint(key).await,
            None => self.describe_referrer(subject, digest).await,
        }
    }

    async fn read_hint(&self, key: &Key) -> Result<Option<Descriptor>> {
        let corrupt =
            |error: serde_json::Error| RegistryError::Corrupt { key: key.to_string(), why: error.to_string() };
        let value = self.inner.store.read(key).await?;
        value.map(|value| serde_json::from_slice(&value).map_err(corrupt)).transpose()
    }

    /// What a manifest says of itself, if it says that it refers to the subject.
    async fn describe_referrer(&self, subject: &Subject<'_>, digest: &Digest) -> Result<Option<Descriptor>> {
        let Some((stored, manifest)) = self.read_if_manifest(subject.repository, digest).await? else {
            return Ok(None);
        };
        let refers = manifest.subject.as_ref().is_some_and(|named| named.digest == *subject.digest);
        Ok(refers.then(|| manifest.descriptor(digest.clone(), stored.size)))
    }

    /// A manifest; none where it is no manifest, or is none any more: it refers to nothing then, and lists nothing, since the
    /// index that lists it is a client's. Every other failure is the store's: a list that leaves out what could not be read
    /// would say that an image is not signed.
    async fn read_if_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(super::manifests::Stored, Manifest)>> {
        let read = match self.read_manifest(repository, digest).await {
            Ok(manifest) => Some(manifest),
            Err(RegistryError::ManifestUnknown { .. }) => None,
            Err(RegistryError::Schema1 { .. } | RegistryError::Manifest(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stored = match self.manifest(repository, &digest.clone().into()).await {
            Ok(stored) => stored,
            Err(RegistryError::ManifestUnknown { .. } | RegistryError::Schema1 { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let lost = || RegistryError::Corrupt {
            key: layout::blob_data(digest).to_string(),
            why: format!("it is not there, though repository `{repository}` has this manifest"),
        };
        let manifest = read.ok_or_else(lost)?;
        Ok(Some((stored, manifest)))
    }

    /// The manifests, after the wanted digest, that an index under the referrers tag schema lists. It is the clients'
    /// own affair whether there is one and what is in it.
    async fn listed_by_tag(&self, subject: &Subject<'_>) -> Result<BTreeSet<Digest>> {
        let Some(tag) = fallback_tag(subject.digest) else { return Ok(BTreeSet::new()) };
        let head = self.head_if_set(&Register::Tag(subject.repository.clone(), tag)).await?;
        let is_index = |media_type: &crate::oci::MediaType| media_type.is_index();
        let Some(head) = head.filter(|head| head.entry.media_type.as_ref().is_some_and(is_index)) else {
            return Ok(BTreeSet::new());
        };
        let index = self.read_if_manifest(subject.repository, &head.entry.digest).await?;
        let digests = index.into_iter().flat_map(|(_, index)| index.manifests).map(|listed| listed.digest);
        Ok(digests.filter(|digest| subject.wanted.last.is_none_or(|last| digest > last)).collect())
    }

    /// Writes the hint, before the version that it belongs to lands.
    pub(super) async fn hint_referrer(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
        digest: &Digest,
        size: u64,
        version: u64,
    ) -> Result<()> {
        let Some(subject) = &manifest.subject else { return Ok(()) };
        let key = layout::referrer(repository, &subject.digest, digest, version);
        let descriptor = to_json(&manifest.descriptor(digest.clone(), size));
        self.inner.store.put_new(&key, descriptor, Durability::Durable).await?;
        Ok(())
    }
}

/// `<algorithm>-<the first 64 of its digits>` (distribution-spec, "Referrers Tag Schema").
fn fallback_tag(subject: &Digest) -> Option<Tag> {
    format!("{}-{}", subject.algorithm().as_str(), &subject.hex()[..64]).parse().ok()
}
