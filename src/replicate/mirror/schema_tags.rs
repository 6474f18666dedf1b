//! The tags by which registries without referrers API keep referrers, as the last scan saw them.
//!
//! Most manifests have no such tag; knowing the tags from the list saves asking for each.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    client::referrers::{is_referrers_tag, referrers_tag},
    oci::{Digest, RepositoryName, Tag},
};

type TagsOf = HashMap<RepositoryName, HashSet<Tag>>;

/// Of one registry.
#[derive(Debug, Default)]
pub(super) struct SchemaTags(Mutex<TagsOf>);

impl SchemaTags {
    fn lock(&self) -> MutexGuard<'_, TagsOf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a repository's list of tags in.
    pub(super) fn note<'a>(&self, repository: &RepositoryName, tags: impl IntoIterator<Item = &'a Tag>) {
        let tags: HashSet<Tag> = tags.into_iter().filter(|tag| is_referrers_tag(tag)).cloned().collect();
        if tags.is_empty() {
            self.lock().remove(repository);
        } else {
            self.lock().insert(repository.clone(), tags);
        }
    }

    /// One more.
    pub(super) fn add(&self, repository: &RepositoryName, tag: Tag) {
        self.lock().entry(repository.clone()).or_default().insert(tag);
    }

    /// Whether the repository keeps referrers of this manifest.
    pub(super) fn has(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        referrers_tag(digest).is_some_and(|tag| self.lock().get(repository).is_some_and(|tags| tags.contains(&tag)))
    }
}
