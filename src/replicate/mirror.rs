//! Making one tag, or one manifest, at the destination equal to the source's head of now.
//!
//! Every operation reads the source's head first, under a lock of the register's name, so that two that overlap end
//! with the newer head, and a plan that grew old does no harm.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::{StreamExt, TryStreamExt, future::BoxFuture};

use super::{
    AtEnd, Counters, ReplicateError,
    blobs::{BlobMover, GOOD_FOR},
    locks::Locks,
};
use crate::{
    client::{Client, ClientError, Deleted, FetchedManifest, Referrers},
    oci::{Descriptor, Digest, Manifest, Reference, RepositoryName, Tag},
};

pub mod delete;
pub mod referrers;
mod schema_tags;

use schema_tags::SchemaTags;

/// How many blobs of one manifest are asked for at the same time; how many fly is the mover's bound.
const BLOBS_AT_ONCE: usize = 4;

/// Source and destination.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The authority.
    pub source: Client,
    /// What is made equal to it.
    pub destination: Client,
}

/// What became of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has now what the source has.
    Copied,
    /// It had it already.
    Equal,
    /// The source has no such thing: whether to delete is another question.
    Absent,
    /// It is a referrer whose subject is not there yet; the subject should go first.
    AwaitsSubject,
    /// It is gone from the destination.
    Deleted,
    /// It is not for this edge to touch.
    NotCovered,
}

/// What is known of the destination before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The repository is new: nothing of it is there.
    NewRepository,
    /// The tag is not there, or is another.
    Differs,
    /// Nothing: look.
    Nothing,
}

type Register = (RepositoryName, Reference);

/// Mirrors one registry into another.
#[derive(Debug)]
pub struct Mirror {
    ends: Ends,
    blobs: BlobMover,
    counters: Arc<Counters>,
    locks: Locks<Register>,
    /// Manifests that the destination is known to have, with their closure.
    manifests: Mutex<HashMap<(RepositoryName, Digest), Instant>>,
    source_schema: SchemaTags,
    destination_schema: SchemaTags,
}

impl Mirror {
    /// Between these two, with at most so many blobs in flight.
    pub fn new(ends: Ends, counters: Arc<Counters>, blobs_in_flight: usize) -> Self {
        let blobs = BlobMover::new(ends.source.clone(), ends.destination.clone(), counters.clone(), blobs_in_flight);
        Self {
            ends,
            blobs,
            counters,
            locks: Locks::default(),
            manifests: Mutex::default(),
            source_schema: SchemaTags::default(),
            destination_schema: SchemaTags::default(),
        }
    }

    /// The two sides.
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// What was done so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Finds out whether the destination is a Regatta, which saves requests and lets large blobs go in parts. That it
    /// cannot be found out is no error: the first real request will say what is wrong.
    pub async fn probe(&self) {
        let path = "replication/cursor/0000000000000000";
        if let Err(error) = self.ends.destination.extension_get::<serde_json::Value>(path).await {
            tracing::debug!(error = error.chain(), "the destination does not say what it is");
        }
    }

    /// Forgets what was seen too long ago to be relied upon.
    pub fn forget_old(&self) {
        self.blobs.forget_old();
        self.known_manifests().retain(|_, since| since.elapsed() < GOOD_FOR);
    }

    fn known_manifests(&self) -> std::sync::MutexGuard<'_, HashMap<(RepositoryName, Digest), Instant>> {
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        let known = self.known_manifests();
        known.get(&(repository.clone(), digest.clone())).is_some_and(|since| since.elapsed() < GOOD_FOR)
    }

    /// The destination is known to have this manifest and all that it names.
    pub(super) fn remember(&self, repository: &RepositoryName, digest: &Digest) {
        self.known_manifests().insert((repository.clone(), digest.clone()), Instant::now());
    }

    fn forget(&self, repository: &RepositoryName, digest: &Digest) {
        self.known_manifests().remove(&(repository.clone(), digest.clone()));
    }

    /// Takes the tags of a repository, as they were just listed, in.
    pub(super) fn note_tags(&self, repository: &RepositoryName, source: &BTreeSet<Tag>, destination: &BTreeSet<Tag>) {
        self.source_schema.note(repository, source);
        self.destination_schema.note(repository, destination);
    }

    /// Sets the destination's tag to what the source's is now. Unless `subject_may_be_absent`, a manifest with a
    /// subject that has not been copied is put off.
    pub async fn set_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        known: Known,
        subject_may_be_absent: bool,
    ) -> Result<Outcome, ReplicateError> {
        let reference = Reference::Tag(tag.clone());
        let _lock = self.locks.lock(&(repository.clone(), reference.clone())).await;
        let Some(fetched) = self.ends.source.get_manifest(repository, &reference).await.at_source()? else {
            return Ok(Outcome::Absent);
        };
        if known == Known::Nothing
            && self.ends.destination.head_manifest(repository, &reference).await.at_destination()?.as_ref()
                == Some(&fetched.digest)
        {
            self.remember(repository, &fetched.digest);
            return Ok(Outcome::Equal);
        }
        let manifest = fetched.parse().at_source()?;
        if let Some(subject) = &manifest.subject
            && !subject_may_be_absent
            && !self.is_there(repository, &subject.digest, known == Known::NewRepository).await?
        {
            return Ok(Outcome::AwaitsSubject);
        }
        self.set_fetched(repository, &reference, &fetched, &manifest, known).await?;
        self.counters.tag_set();
        tracing::info!(%repository, %tag, digest = %fetched.digest, "tag set");
        Ok(Outcome::Copied)
    }

    /// Closure, referrers, and the tag last.
    async fn set_fetched(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        fetched: &FetchedManifest,
        manifest: &Manifest,
        known: Known,
    ) -> Result<(), ReplicateError> {
        let new = known == Known::NewRepository;
        let there = self.is_there(repository, &fetched.digest, new).await?;
        if !there {
            self.copy_named(repository, manifest, new).await?;
        }
        let referrers = if there { Vec::new() } else { self.source_referrers(repository, &fetched.digest).await? };
        if !referrers.is_empty() {
            // Who verifies signatures must find them as soon as the tag is there, and they want their subject first.
            self.put(repository, &fetched.digest.clone().into(), fetched, manifest).await?;
            for referrer in &referrers {
                self.copy_referrer_of(repository, referrer).await?;
            }
        }
        self.put(repository, reference, fetched, manifest).await
    }

    /// Copies a manifest that is not tagged, by its digest.
    pub async fn copy_digest(&self, repository: &RepositoryName, digest: &Digest) -> Result<Outcome, ReplicateError> {
        // What is known of the destination says nothing of the source, where it may have been deleted.
        if self.ends.source.head_manifest(repository, &digest.clone().into()).await.at_source()?.is_none() {
            return Ok(Outcome::Absent);
        }
        if self.ensure_manifest(repository, digest, false).await? { Ok(Outcome::Copied) } else { Ok(Outcome::Equal) }
    }

    /// Whether the destination has a manifest. In a new repository only what this run put there.
    async fn is_there(&self, repository: &RepositoryName, digest: &Digest, new: bool) -> Result<bool, ReplicateError> {
        if self.knows(repository, digest) {
            return Ok(true);
        }
        if new {
            return Ok(false);
        }
        let found = self.ends.destination.head_manifest(repository, &digest.clone().into()).await.at_destination()?;
        if found.is_some() {
            self.remember(repository, digest);
        }
        Ok(found.is_some())
    }

    /// Makes sure that the destination has a manifest and all that it names; whether it had to be copied.
    fn ensure_manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        new: bool,
    ) -> BoxFuture<'a, Result<bool, ReplicateError>> {
        Box::pin(async move {
            let reference = Reference::Digest(digest.clone());
            let _lock = self.locks.lock(&(repository.clone(), reference.clone())).await;
            if self.is_there(repository, digest, new).await? {
                return Ok(false);
            }
            let fetched =
                self.ends.source.get_manifest(repository, &reference).await.at_source()?.ok_or_else(|| {
                    ReplicateError::Source(ClientError::Missing { what: format!("manifest {digest} of {repository}") })
                })?;
            let manifest = fetched.parse().at_source()?;
            self.copy_named(repository, &manifest, new).await?;
            self.put(repository, &reference, &fetched, &manifest).await?;
            Ok(true)
        })
    }

    /// Copies what a manifest names: blobs, and an index's children with theirs.
    async fn copy_named(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
        new: bool,
    ) -> Result<(), ReplicateError> {
        let mut seen = BTreeSet::new();
        let blobs: Vec<Descriptor> =
            manifest.blobs().filter(|blob| seen.insert(blob.digest.clone())).cloned().collect();
        futures::stream::iter(blobs)
            .map(|blob| async move { self.blobs.ensure(repository, &blob).await })
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        for child in &manifest.manifests {
            self.ensure_manifest(repository, &child.digest, new).await?;
        }
        Ok(())
    }

    /// Puts a manifest. Where the destination misses what we had seen there, that is forgotten, so that the next
    /// attempt sends it again.
    async fn put(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        fetched: &FetchedManifest,
        manifest: &Manifest,
    ) -> Result<(), ReplicateError> {
        let put = match self.ends.destination.put_manifest(repository, reference, fetched).await {
            Ok(put) => put,
            Err(error) => {
                self.blobs.forget(repository, manifest.blobs().map(|blob| &blob.digest)).await;
                for digest in manifest.manifests.iter().map(|child| &child.digest).chain([&fetched.digest]) {
                    self.forget(repository, digest);
                }
                return Err(ReplicateError::Destination(error));
            }
        };
        self.counters.manifest();
        self.remember(repository, &fetched.digest);
        if let Some(subject) = &manifest.subject
            && !put.subject_known
        {
            let descriptor = manifest.descriptor(fetched.digest.clone(), fetched.bytes.len() as u64);
            self.note_referrer(repository, &subject.digest, descriptor).await?;
        }
        Ok(())
    }

    /// The source's referrers of a manifest.
    pub(super) async fn source_referrers(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, ReplicateError> {
        match self.ends.source.referrers(repository, digest).await.at_source()? {
            Referrers::Known(found) => Ok(found),
            Referrers::Unsupported if self.source_schema.has(repository, digest) => {
                self.ends.source.tagged_referrers(repository, digest).await.at_source()
            }
            Referrers::Unsupported => Ok(Vec::new()),
        }
    }

    async fn delete_at_destination(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Deleted, ReplicateError> {
        self.ends.destination.delete_manifest(repository, reference).await.at_destination()
    }
}
