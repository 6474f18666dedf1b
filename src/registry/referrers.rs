//! Referrers: hints under their subject, verified against the register that made them.

use super::{Register, Registry, RegistryError, Result, layout, register::to_json};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};
use crate::store::Durability;

impl Registry {
    /// What refers to a subject in this repository, ordered by digest. The subject need not exist.
    pub async fn referrers(&self, repository: &RepositoryName, subject: &Digest) -> Result<Vec<Descriptor>> {
        let directory = layout::referrers(repository, subject);
        let mut found: Vec<Descriptor> = Vec::new();
        for child in self.inner.store.children(&directory, None, usize::MAX).await? {
            let Some((digest, _)) = layout::referrer_of(&child.name) else { continue };
            if found.last().is_some_and(|last| last.digest == digest) {
                continue;
            }
            let register = Register::Manifest(repository.clone(), digest);
            let key = directory.join(&child.name);
            if self.head_if_set(&register).await?.is_some()
                && let Some(value) = self.inner.store.read(&key).await?
            {
                let corrupt =
                    |error: serde_json::Error| RegistryError::Corrupt { key: key.to_string(), why: error.to_string() };
                found.push(serde_json::from_slice(&value).map_err(corrupt)?);
            }
        }
        Ok(found)
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
