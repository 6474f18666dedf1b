//! Moving blobs: each unique one goes over the wire once a destination, whatever refers to it.
//!
//! One at a time for each digest: who comes second finds the blob there, and mounts it. Whether a blob is there
//! already needs no HEAD: the POST that begins the upload asks for a mount and so answers. From where: a repository
//! of the destination that is known to have it, else the very repository that it is wanted in: registries answer 201 if
//! it is there already. A Regatta mounts for a replicator from wherever the blob is, so nothing needs to be known.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{AtEnd, Counters, ReplicateError};
use crate::{
    client::{BlobReader, Client, ClientError, Started, Upload, retry},
    oci::{Descriptor, Digest, RepositoryName},
};

/// What was verified longer ago than this is verified again: a collector may have been by.
pub const GOOD_FOR: Duration = Duration::from_mins(90);
/// Blobs larger than this go to Regattas in parts.
const LARGE: u64 = 64 * 1024 * 1024;
/// So many bytes a part: what a broken link costs.
const PART: u64 = 32 * 1024 * 1024;
/// How often a blob's transfer is begun.
const ATTEMPTS: u32 = 4;

/// Where at the destination a blob is known to be, and since when that is known.
type Places = HashMap<RepositoryName, Instant>;

/// Moves blobs from one registry to another.
#[derive(Debug)]
pub struct BlobMover {
    source: Client,
    destination: Client,
    counters: Arc<Counters>,
    in_flight: Semaphore,
    known: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<Places>>>>,
}

impl BlobMover {
    /// With at most `in_flight` transfers at a time.
    pub fn new(source: Client, destination: Client, counters: Arc<Counters>, in_flight: usize) -> Self {
        Self { source, destination, counters, in_flight: Semaphore::new(in_flight.max(1)), known: Mutex::default() }
    }

    /// Forgets what is too old to be relied upon.
    pub fn forget_old(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, places| match places.try_lock() {
            Ok(mut places) => {
                places.retain(|_, since| since.elapsed() < GOOD_FOR);
                !places.is_empty()
            }
            Err(_) => true,
        });
    }

    /// Forgets a repository's blobs: the destination says that one of them is missing.
    pub async fn forget(&self, repository: &RepositoryName, digests: impl Iterator<Item = &Digest>) {
        for digest in digests {
            self.places(digest).lock().await.remove(repository);
        }
    }

    fn places(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<Places>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(digest.clone()).or_default().clone()
    }

    /// Makes sure that the destination's repository has this blob.
    pub async fn ensure(&self, repository: &RepositoryName, blob: &Descriptor) -> Result<(), ReplicateError> {
        let places = self.places(&blob.digest);
        let mut places = places.lock().await;
        places.retain(|_, since| since.elapsed() < GOOD_FOR);
        if places.contains_key(repository) {
            return Ok(());
        }
        let from = places.keys().next().cloned();
        self.transfer(repository, blob, from.as_ref()).await?;
        places.insert(repository.clone(), Instant::now());
        Ok(())
    }

    async fn transfer(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        from: Option<&RepositoryName>,
    ) -> Result<(), ReplicateError> {
        let _permit = self.in_flight.acquire().await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.try_transfer(repository, blob, from).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.is_transient() || attempt >= ATTEMPTS {
                return Err(error);
            }
            let pause = retry::jittered(Duration::from_millis(500), Duration::from_secs(10), attempt, retry::random());
            tracing::debug!(error = error.chain(), digest = %blob.digest, ?pause, "sending a blob again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_transfer(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        from: Option<&RepositoryName>,
    ) -> Result<(), ReplicateError> {
        let from = from.unwrap_or(repository);
        let started = self.destination.start_upload(repository, &blob.digest, from).await.at_destination()?;
        let upload = match started {
            Started::Mounted => {
                self.counters.mounted();
                return Ok(());
            }
            Started::Upload(upload) => upload,
        };
        let sent = self.send(repository, blob, &upload).await;
        if sent.is_err() {
            self.destination.cancel_upload(&upload).await;
        }
        sent?;
        self.counters.blob(blob.size);
        tracing::debug!(%repository, digest = %blob.digest, size = blob.size, "blob copied");
        Ok(())
    }

    async fn send(
        &self,
        repository: &RepositoryName,
        blob: &Descriptor,
        upload: &Upload,
    ) -> Result<(), ReplicateError> {
        let reader =
            Arc::new(tokio::sync::Mutex::new(BlobReader::new(&self.source, repository, &blob.digest, blob.size)));
        if blob.size == 0 {
            // Nothing will be read, so nothing would be hashed.
            reader.lock().await.next(0).await.at_source()?;
        }
        if blob.size > LARGE && self.destination.is_regatta() {
            return self.send_in_parts(blob, upload.clone(), &reader).await;
        }
        self.destination
            .finish_upload(upload, &blob.digest, &reader, blob.size)
            .await
            .map_err(|error| at(&reader, error))
    }

    async fn send_in_parts(
        &self,
        blob: &Descriptor,
        mut upload: Upload,
        reader: &Arc<tokio::sync::Mutex<BlobReader>>,
    ) -> Result<(), ReplicateError> {
        let (mut offset, mut broken) = (0, 0);
        while offset < blob.size {
            let checkpoint = reader.lock().await.checkpoint();
            let length = PART.min(blob.size - offset);
            match self.destination.patch_upload(&upload, offset, reader, length).await {
                Ok(next) => {
                    (upload, offset, broken) = (next, offset + length, 0);
                }
                Err(error) if broken < ATTEMPTS && may_continue(&error) => {
                    broken += 1;
                    tokio::time::sleep(retry::jittered(
                        Duration::from_millis(500),
                        Duration::from_secs(10),
                        broken,
                        retry::random(),
                    ))
                    .await;
                    let status = self.destination.upload_status(&upload).await.at_destination()?;
                    let Some((arrived, next)) =
                        status.filter(|(arrived, _)| (offset..=offset + length).contains(arrived))
                    else {
                        return Err(ReplicateError::Destination(error));
                    };
                    let mut reader = reader.lock().await;
                    reader.rewind(checkpoint);
                    reader.pass_over(arrived - offset).await.at_source()?;
                    (upload, offset) = (next, arrived);
                }
                Err(error) => return Err(at(reader, error)),
            }
        }
        self.destination.finish_upload(&upload, &blob.digest, reader, 0).await.at_destination()
    }
}

/// A broken part may be continued; so may one of which more arrived than we know (416).
fn may_continue(error: &ClientError) -> bool {
    error.is_transient() || error.status() == Some(http::StatusCode::RANGE_NOT_SATISFIABLE)
}

/// The side at which a transfer failed: reading errors are the source's.
fn at(_reader: &Arc<tokio::sync::Mutex<BlobReader>>, error: ClientError) -> ReplicateError {
    match &error {
        ClientError::DigestMismatch { .. } | ClientError::SizeMismatch { .. } | ClientError::Missing { .. } => {
            ReplicateError::Source(error)
        }
        ClientError::Transport { method, .. }
        | ClientError::Stalled { method, .. }
        | ClientError::Status { method, .. }
            if *method == http::Method::GET =>
        {
            ReplicateError::Source(error)
        }
        ClientError::Transport { .. }
        | ClientError::Stalled { .. }
        | ClientError::Status { .. }
        | ClientError::Unauthorized { .. }
        | ClientError::Address { .. }
        | ClientError::Certificates(_)
        | ClientError::Build(_)
        | ClientError::Credentials { .. }
        | ClientError::ForbiddenAddress { .. }
        | ClientError::ForeignRealm { .. }
        | ClientError::Protocol { .. }
        | ClientError::Manifest { .. }
        | ClientError::Invalid(_) => ReplicateError::Destination(error),
    }
}
