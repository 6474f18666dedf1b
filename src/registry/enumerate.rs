//! Everything that lies in the store, by listing registers: what the collector marks from. Never from hints.

use futures::future::BoxFuture;

use super::{Register, Registry, RegistryError, Result, layout};
use crate::oci::{Algorithm, Digest, RepositoryName, Tag};
use crate::store::{Key, Meta};

/// Directories of a repository that this release knows. Another one was made by a later release.
const KNOWN: [&str; 4] = ["_links", "_manifests", "_referrers", "_tags"];

/// Bytes in the trash.
#[derive(Debug, Clone)]
pub struct Trashed {
    /// Whose.
    pub digest: Digest,
    /// Where: the name carries the condemnation's time and nonce.
    pub key: Key,
    /// When they were condemned, in milliseconds since the epoch.
    pub at: u64,
    /// Bytes.
    pub size: u64,
}

/// A referrer's hint under its subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// What is referred to.
    pub subject: Digest,
    /// The manifest that refers to it.
    pub referrer: Digest,
    /// The version of the referrer's register that was about to land when the hint was made.
    pub version: u64,
}

impl Registry {
    /// Every repository that has a register, in no order that matters.
    pub async fn all_repositories(&self) -> Result<Vec<RepositoryName>> {
        let mut found = Vec::new();
        self.descend(layout::repositories(), String::new(), &mut found).await?;
        Ok(found)
    }

    fn descend<'a>(
        &'a self,
        directory: Key,
        name: String,
        found: &'a mut Vec<RepositoryName>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut is_repository = false;
            for child in self.names(&directory).await? {
                if child.starts_with('_') {
                    if !KNOWN.contains(&child.as_str()) {
                        let key = directory.join(&child).to_string();
                        return Err(RegistryError::Corrupt {
                            key,
                            why: "a kind of key that this release does not know".into(),
                        });
                    }
                    is_repository = true;
                } else {
                    let inner = if name.is_empty() { child.clone() } else { format!("{name}/{child}") };
                    self.descend(directory.join(&child), inner, found).await?;
                }
            }
            if is_repository {
                let corrupt = |error: crate::oci::Invalid| RegistryError::Corrupt {
                    key: directory.to_string(),
                    why: error.to_string(),
                };
                found.push(name.parse().map_err(corrupt)?);
            }
            Ok(())
        })
    }

    /// Every name below a directory.
    async fn names(&self, directory: &Key) -> Result<Vec<String>> {
        let children = self.store().children(directory, None, usize::MAX).await?;
        Ok(children.into_iter().map(|child| child.name).collect())
    }

    /// Every tag that has a register.
    pub async fn all_tags(&self, repository: &RepositoryName) -> Result<Vec<Tag>> {
        let names = self.names(&layout::tags(repository)).await?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(layout::SEPARATOR)?.parse().ok()).collect())
    }

    /// Every manifest that has a register.
    pub async fn all_manifests(&self, repository: &RepositoryName) -> Result<Vec<Digest>> {
        self.digests(&layout::manifests(repository)).await
    }

    /// Every link that has a register.
    pub async fn all_links(&self, repository: &RepositoryName) -> Result<Vec<Digest>> {
        self.digests(&layout::links(repository)).await
    }

    async fn digests(&self, directory: &Key) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = directory.join(algorithm.as_str());
            for fan in self.names(&directory).await? {
                found.extend(self.hexes(algorithm, &directory.join(fan)).await?);
            }
        }
        Ok(found)
    }

    async fn hexes(&self, algorithm: Algorithm, directory: &Key) -> Result<Vec<Digest>> {
        let names = self.names(directory).await?;
        Ok(names.iter().filter_map(|hex| format!("{}:{hex}", algorithm.as_str()).parse().ok()).collect())
    }

    /// The bytes that lie in place in one of the 256 fans of an algorithm.
    pub async fn data_in_fan(&self, algorithm: Algorithm, fan: u8) -> Result<Vec<(Digest, Meta)>> {
        let mut found = Vec::new();
        let directory = layout::blobs(algorithm).join(format_args!("{fan:02x}"));
        for digest in self.hexes(algorithm, &directory).await? {
            if let Some(meta) = self.data(&digest).await? {
                found.push((digest, meta));
            }
        }
        Ok(found)
    }

    /// Everything in the trash.
    pub async fn all_trash(&self) -> Result<Vec<Trashed>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for digest in self.digests_in(algorithm, &layout::trashed_blobs(algorithm)).await? {
                let directory = layout::trashed_blob(&digest);
                for name in self.names(&directory).await? {
                    let key = directory.join(&name);
                    let at = name.split('-').next().and_then(|at| at.parse().ok());
                    let meta = self.store().head(&key).await?;
                    if let (Some(at), Some(meta)) = (at, meta) {
                        found.push(Trashed { digest: digest.clone(), key, at, size: meta.size });
                    }
                }
            }
        }
        Ok(found)
    }

    async fn digests_in(&self, algorithm: Algorithm, directory: &Key) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for fan in self.names(directory).await? {
            found.extend(self.hexes(algorithm, &directory.join(fan)).await?);
        }
        Ok(found)
    }

    /// Whether Distribution's repositories lie here, which were never adopted: their blobs are not ours to judge.
    pub async fn has_foreign_repositories(&self) -> Result<bool> {
        let directory = Key::of("docker/registry/v2/repositories".to_owned());
        Ok(!self.store().children(&directory, None, 1).await?.is_empty())
    }

    /// Every referrer's hint in a repository.
    pub async fn all_hints(&self, repository: &RepositoryName) -> Result<Vec<Hint>> {
        let mut found = Vec::new();
        for subject in self.digests(&layout::all_referrers(repository)).await? {
            for name in self.names(&layout::referrers(repository, &subject)).await? {
                let Some((referrer, version)) = layout::referrer_of(&name) else { continue };
                found.push(Hint { subject: subject.clone(), referrer, version });
            }
        }
        Ok(found)
    }

    /// Removes this very hint: one that a later push made has another name.
    pub async fn forget_hint(&self, repository: &RepositoryName, hint: &Hint) -> Result<bool> {
        let key = layout::referrer(repository, &hint.subject, &hint.referrer, hint.version);
        Ok(self.store().delete(&key).await?)
    }

    /// Removes the catalog's key of a repository in which nothing is set.
    pub async fn forget_repository(&self, repository: &RepositoryName) -> Result<bool> {
        Ok(self.store().delete(&layout::catalog_entry(repository)).await?)
    }

    /// Whether any tag, manifest or link of a repository is set or condemned.
    pub async fn is_empty(&self, repository: &RepositoryName) -> Result<bool> {
        let tags = self.all_tags(repository).await?.into_iter().map(|tag| Register::Tag(repository.clone(), tag));
        let manifests = self.all_manifests(repository).await?;
        let manifests = manifests.into_iter().map(|digest| Register::Manifest(repository.clone(), digest));
        let links = self.all_links(repository).await?;
        let links = links.into_iter().map(|digest| Register::Link(repository.clone(), digest));
        for register in tags.chain(manifests).chain(links) {
            if self.head(&register).await?.is_some_and(|head| head.is_readable()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
