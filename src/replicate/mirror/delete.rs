//! Deleting at the destination what the source does not have: nothing more, and not if it has come back.

use super::{Mirror, Outcome};
use crate::{
    client::Deleted,
    oci::{Digest, Reference, RepositoryName, Tag},
    replicate::{AtEnd, Coverage, ReplicateError},
};

impl Mirror {
    /// Deletes a tag that the source does not have.
    pub async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Outcome, ReplicateError> {
        let reference = Reference::Tag(tag.clone());
        let _lock = self.locks.lock(&(repository.clone(), reference.clone())).await;
        if self.ends.source.head_manifest(repository, &reference).await.at_source()?.is_some() {
            return Ok(Outcome::Equal);
        }
        match self.delete_at_destination(repository, &reference).await? {
            Deleted::Gone => {}
            Deleted::Absent => return Ok(Outcome::Equal),
            Deleted::Unsupported => self.delete_tag_by_digest(repository, tag).await?,
        }
        self.counters.deleted();
        tracing::info!(%repository, %tag, "tag deleted");
        Ok(Outcome::Deleted)
    }

    /// Registries that do not delete tags delete manifests, with every tag of them: only done where the tag is alone.
    async fn delete_tag_by_digest(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), ReplicateError> {
        let reference = Reference::Tag(tag.clone());
        let found = self.ends.destination.head_manifest(repository, &reference).await.at_destination()?;
        let Some(digest) = found else { return Ok(()) };
        let mut others = self.destination_tags_of(repository, &digest, 4).await?;
        others.retain(|other| other != tag);
        if !others.is_empty() {
            let others = others.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ");
            return Err(ReplicateError::CannotDelete { repository: repository.clone(), reference, others });
        }
        match self.delete_at_destination(repository, &digest.clone().into()).await? {
            Deleted::Gone | Deleted::Absent => {
                self.forget(repository, &digest);
                Ok(())
            }
            Deleted::Unsupported => Err(ReplicateError::NoDeletions { repository: repository.clone(), reference }),
        }
    }

    /// Deletes a manifest that the source does not have.
    ///
    /// Registries delete a manifest's tags with it. So where tags are filtered, a manifest that has one which is not
    /// covered stays.
    pub async fn delete_digest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        subject: Option<&Digest>,
        coverage: &Coverage,
    ) -> Result<Outcome, ReplicateError> {
        let reference = Reference::Digest(digest.clone());
        let _lock = self.locks.lock(&(repository.clone(), reference.clone())).await;
        if self.ends.source.head_manifest(repository, &reference).await.at_source()?.is_some() {
            return Ok(Outcome::Equal);
        }
        if !coverage.is_whole() {
            let tags = self.destination_tags_of(repository, digest, usize::MAX).await?;
            if tags.iter().any(|tag| !coverage.tag(tag)) {
                return Ok(Outcome::NotCovered);
            }
        }
        self.forget(repository, digest);
        let deleted = self.delete_at_destination(repository, &reference).await?;
        if let Some(subject) = subject {
            self.forget_referrer(repository, subject, digest).await?;
        }
        match deleted {
            Deleted::Gone => {
                self.counters.deleted();
                tracing::info!(%repository, %digest, "manifest deleted");
                Ok(Outcome::Deleted)
            }
            Deleted::Absent => Ok(Outcome::Equal),
            Deleted::Unsupported => Err(ReplicateError::NoDeletions { repository: repository.clone(), reference }),
        }
    }

    /// The destination's tags of a manifest, up to `most`.
    async fn destination_tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        most: usize,
    ) -> Result<Vec<Tag>, ReplicateError> {
        let destination = &self.ends.destination;
        let mut found = Vec::new();
        for tag in destination.tags(repository).await.at_destination()? {
            if found.len() >= most {
                break;
            }
            let head = destination.head_manifest(repository, &tag.clone().into()).await.at_destination()?;
            if head.as_ref() == Some(digest) {
                found.push(tag);
            }
        }
        Ok(found)
    }
}
