//! Signatures, attestations, and whatever else refers to a manifest.

use futures::future::BoxFuture;

use super::{Mirror, Outcome};
use crate::{
    client::{Referrers, referrers::referrers_tag},
    oci::{Descriptor, Digest, RepositoryName},
    replicate::{AtEnd, ReplicateError},
};

impl Mirror {
    /// Copies one referrer, and those that refer to it.
    pub async fn copy_referrer(&self, repository: &RepositoryName, digest: &Digest) -> Result<Outcome, ReplicateError> {
        let outcome = self.copy_digest(repository, digest).await?;
        for next in self.source_referrers(repository, digest).await? {
            self.copy_referrer_of(repository, &next).await?;
        }
        Ok(outcome)
    }

    /// As [`Mirror::copy_referrer`], of one that was just listed.
    pub(super) fn copy_referrer_of<'a>(
        &'a self,
        repository: &'a RepositoryName,
        referrer: &'a Descriptor,
    ) -> BoxFuture<'a, Result<(), ReplicateError>> {
        Box::pin(async move {
            // A chain of referrers ends: a digest cannot be known before what it is over.
            if !self.ensure_manifest(repository, &referrer.digest, false).await? {
                return Ok(());
            }
            for next in self.source_referrers(repository, &referrer.digest).await? {
                self.copy_referrer_of(repository, &next).await?;
            }
            Ok(())
        })
    }

    /// The destination's referrers of a manifest.
    pub(in crate::replicate) async fn destination_referrers(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, ReplicateError> {
        match self.ends.destination.referrers(repository, digest).await.at_destination()? {
            Referrers::Known(found) => Ok(found),
            Referrers::Unsupported if self.destination_schema.has(repository, digest) => {
                self.ends.destination.tagged_referrers(repository, digest).await.at_destination()
            }
            Referrers::Unsupported => Ok(Vec::new()),
        }
    }

    /// Writes a referrer into the tag schema of a destination without the API. One list a subject, one writer at a
    /// time.
    pub(super) async fn note_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrer: Descriptor,
    ) -> Result<(), ReplicateError> {
        let _lock = self.lock_list(repository, subject).await;
        let destination = &self.ends.destination;
        let mut listed = destination.tagged_referrers(repository, subject).await.at_destination()?;
        if listed.iter().any(|known| known.digest == referrer.digest) {
            return Ok(());
        }
        listed.push(referrer);
        if let Some(tag) = referrers_tag(subject) {
            self.destination_schema.add(repository, tag);
        }
        destination.put_tagged_referrers(repository, subject, &listed).await.at_destination()
    }

    /// Takes a referrer out of the tag schema again.
    pub(super) async fn forget_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<(), ReplicateError> {
        let destination = &self.ends.destination;
        if !destination.lacks_referrers() {
            return Ok(());
        }
        let _lock = self.lock_list(repository, subject).await;
        let mut listed = destination.tagged_referrers(repository, subject).await.at_destination()?;
        let before = listed.len();
        listed.retain(|known| known.digest != *referrer);
        if listed.len() == before {
            return Ok(());
        }
        destination.put_tagged_referrers(repository, subject, &listed).await.at_destination()
    }

    async fn lock_list(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let tag = referrers_tag(subject)?;
        Some(self.locks.lock(&(repository.clone(), tag.into())).await)
    }
}
