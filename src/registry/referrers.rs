//! Referrers: hints under their subject, verified against the register that made them; and those that an index under
//! the referrers tag schema lists (distribution-spec, "Enabling the Referrers API"), verified against their manifest.

use std::collections::BTreeSet;

use super::{Register, Registry, RegistryError, Result, layout, register::to_json};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::store::{Durability, Key};

/// How many names are looked at in one listing.
const LISTED: usize = 1_000;

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

    fn has_last(&self, digest: &Digest) -> bool {
        self.referrers.last().is_some_and(|last| last.digest == *digest)
    }
}

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
        let mut after = wanted.last.map(|last| format!("{}\"", layout::in_a_name(last)));
        loop {
            let children = self.inner.store.children(&directory, after.as_deref(), LISTED).await?;
            for child in &children {
                let Some((digest, _)) = layout::referrer_of(&child.name) else { continue };
                let behind = listed.split_off(&digest);
                for earlier in std::mem::replace(&mut listed, behind) {
                    self.consider(&subject, earlier, None, &mut page).await?;
                }
                listed.remove(&digest);
                self.consider(&subject, digest, Some(directory.join(&child.name)), &mut page).await?;
            }
            match children.last() {
                Some(last) if children.len() == LISTED && page.next.is_none() => after = Some(last.name.clone()),
                Some(_) | None => break,
            }
        }
        for rest in listed {
            self.consider(&subject, rest, None, &mut page).await?;
        }
        Ok(page)
    }

    /// Adds a referrer to the page, if it is one; or notes that the page is full.
    async fn consider(&self, subject: &Subject<'_>, digest: Digest, hint: Option<Key>, page: &mut Page) -> Result<()> {
        if page.next.is_some() || page.has_last(&digest) {
            return Ok(());
        }
        if page.is_full(&subject.wanted) {
            page.next.clone_from(&page.reached);
            return Ok(());
        }
        page.looked_at += 1;
        let before = page.reached.replace(digest.clone());
        let register = Register::Manifest(subject.repository.clone(), digest.clone());
        if self.head_if_set(&register).await?.is_none() {
            return Ok(());
        }
        let descriptor = match hint {
            Some(key) => self.read_hint(&key).await?,
            None => self.describe_referrer(subject, &digest).await,
        };
        let wanted = subject.wanted.artifact_type;
        let matches = |found: &Descriptor| wanted.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted));
        if let Some(descriptor) = descriptor.filter(matches) {
            let bytes = to_json(&descriptor).len();
            if !page.referrers.is_empty() && page.bytes + bytes > BYTES {
                page.next = before;
                return Ok(());
            }
            page.bytes += bytes;
            page.referrers.push(descriptor);
        }
        Ok(())
    }

    async fn read_hint(&self, key: &Key) -> Result<Option<Descriptor>> {
        let corrupt =
            |error: serde_json::Error| RegistryError::Corrupt { key: key.to_string(), why: error.to_string() };
        let value = self.inner.store.read(key).await?;
        value.map(|value| serde_json::from_slice(&value).map_err(corrupt)).transpose()
    }

    /// What a manifest says of itself, if it says that it refers to the subject. One that cannot be read refers to
    /// nothing: the index that lists it is a client's.
    async fn describe_referrer(&self, subject: &Subject<'_>, digest: &Digest) -> Option<Descriptor> {
        let stored = self.manifest(subject.repository, &digest.clone().into()).await.ok()?;
        let manifest = self.read_manifest(subject.repository, digest).await.ok()?;
        let refers = manifest.subject.as_ref().is_some_and(|named| named.digest == *subject.digest);
        refers.then(|| manifest.descriptor(digest.clone(), stored.size))
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
        match self.read_manifest(subject.repository, &head.entry.digest).await {
            Ok(index) => {
                let digests = index.manifests.into_iter().map(|listed| listed.digest);
                Ok(digests.filter(|digest| subject.wanted.last.is_none_or(|last| digest > last)).collect())
            }
            Err(RegistryError::Store(error)) => Err(error.into()),
            Err(_) => Ok(BTreeSet::new()),
        }
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
