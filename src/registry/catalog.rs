//! The catalog: a key a repository, so that names are listed without looking at what is in them.

use futures::future::BoxFuture;

use super::{Registry, RegistryError, Result, layout};
use crate::oci::RepositoryName;
use crate::store::{Durability, Key, Walk};

/// The most names that one listing is asked for.
const PAGE: usize = 1_001;

/// The fewest: a directory may hold no repository.
const FEW: usize = 100;

impl Registry {
    /// Up to `limit` repositories in lexical order, those after `last` only.
    pub async fn repositories(&self, last: Option<&str>, limit: usize) -> Result<Vec<RepositoryName>> {
        let mut found = Vec::new();
        self.walk(layout::catalog(), String::new(), last, limit, &mut found).await?;
        Ok(found)
    }

    /// As [`Self::repositories`], of those whose names begin as this one and go on behind it. `last` is what comes then.
    pub async fn repositories_below(
        &self,
        above: &RepositoryName,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        let mut found = Vec::new();
        self.walk(layout::catalog().join(above), format!("{above}/"), last, limit, &mut found).await?;
        Ok(found)
    }

    /// Whether anything was pushed to the repository.
    pub async fn has_repository(&self, repository: &RepositoryName) -> Result<bool> {
        Ok(self.inner.store.head(&layout::catalog_entry(repository)).await?.is_some())
    }

    /// Walks one directory of the catalog in key order, which is the order of names.
    fn walk<'a>(
        &'a self,
        directory: Key,
        prefix: String,
        after: Option<&'a str>,
        limit: usize,
        found: &'a mut Vec<RepositoryName>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // `a/b` goes on inside directory `a`, then behind it; `a` goes on behind the key of `a` itself.
            let from = match after.and_then(|after| after.split_once('/')) {
                Some((first, rest)) => {
                    if !is_component(first) {
                        return Ok(());
                    }
                    self.walk(directory.join(first), format!("{prefix}{first}/"), Some(rest), limit, found).await?;
                    Some(format!("{first}/"))
                }
                None => after.map(|after| format!("{after}{}", layout::SEPARATOR)),
            };
            let mut names = Walk::new(&self.inner.store, directory.clone(), from);
            while found.len() < limit {
                let page = (limit - found.len()).clamp(FEW, PAGE);
                let children = names.names(page).await?;
                for child in &children {
                    if found.len() >= limit {
                        return Ok(());
                    }
                    if child.is_directory {
                        let prefix = format!("{prefix}{}/", child.name);
                        self.walk(directory.join(&child.name), prefix, None, limit, found).await?;
                    } else if let Some(name) = child.name.strip_suffix(layout::SEPARATOR) {
                        found.extend(format!("{prefix}{name}").parse::<RepositoryName>().ok());
                    }
                }
                if children.len() < page {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    /// Makes the repository's key; it may be there, made by somebody who has not come as far as the disk yet.
    pub async fn enter(&self, repository: &RepositoryName) -> Result<()> {
        let key = layout::catalog_entry(repository);
        if !self.inner.store.make_durable(&key).await? {
            self.inner.store.put_new(&key, bytes::Bytes::new(), Durability::Durable).await?;
        }
        Ok(())
    }

    /// An error, unless something was pushed to the repository.
    pub async fn require(&self, repository: &RepositoryName) -> Result<()> {
        if self.has_repository(repository).await? {
            Ok(())
        } else {
            Err(RegistryError::NameUnknown(repository.clone()))
        }
    }
}

/// `last` comes from clients and need not be a name.
fn is_component(text: &str) -> bool {
    text.parse::<RepositoryName>().is_ok()
}
