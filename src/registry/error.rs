//! What can go wrong in the registry's domain. The server translates to status and code.

use std::sync::Arc;

use crate::oci::{Digest, ManifestError, Reference, RepositoryName};
use crate::store::StoreError;

/// Errors of this room.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key holds what this release cannot read: damaged, or written by a later release.
    #[error("`{key}` cannot be read: {why}")]
    Corrupt {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The journal could not be written, so nothing else was.
    #[error("the journal could not be written")]
    Journal(#[source] Arc<Self>),
    /// The write was frozen between its journal record and its landing, for longer than readers look at the record.
    #[error("the write took longer than 55 minutes from its announcement on, so it was not made; try again")]
    TooLate,
    /// A collector holds the store read-only.
    #[error("the registry is read-only while garbage is collected; try again later")]
    ReadOnly,
    /// The repository holds no such blob.
    #[error("repository `{repository}` has no blob `{digest}`")]
    BlobUnknown {
        /// The repository.
        repository: RepositoryName,
        /// The blob.
        digest: Digest,
    },
    /// The repository holds no such manifest.
    #[error("repository `{repository}` has no manifest `{reference}`")]
    ManifestUnknown {
        /// The repository.
        repository: RepositoryName,
        /// The tag or digest.
        reference: Reference,
    },
    /// An adopted manifest of a form that is served to nobody.
    #[error(
        "`{reference}` in repository `{repository}` is a Docker schema 1 manifest, which is not served; push the image \
         again with a current client"
    )]
    Schema1 {
        /// The repository.
        repository: RepositoryName,
        /// The tag or digest.
        reference: Reference,
    },
    /// Nothing was ever pushed to the repository.
    #[error("repository `{0}` does not exist")]
    NameUnknown(RepositoryName),
    /// No such upload in this repository for this identity.
    #[error("upload `{0}` does not exist in this repository; begin a new one")]
    UploadUnknown(String),
    /// A chunk that does not go where the upload is.
    #[error("the upload continues at byte {expected}")]
    UploadRange {
        /// The next byte.
        expected: u64,
    },
    /// An upload of so many chunks that putting them together would be a burden.
    #[error("the upload has {most} parts already; close it, or begin a new one and send larger chunks")]
    TooManyParts {
        /// How many it may have.
        most: u64,
    },
    /// A body that is shorter or longer than its headers say.
    #[error("expected {expected} bytes, received {received}")]
    SizeInvalid {
        /// As announced.
        expected: u64,
        /// As counted.
        received: u64,
    },
    /// The bytes have another digest.
    #[error("the content's digest is `{actual}`, not `{expected}`")]
    DigestMismatch {
        /// As the client said.
        expected: Digest,
        /// As computed.
        actual: Digest,
    },
    /// The store has other bytes under a digest than were put there.
    #[error("`{digest}` is damaged in the store: it has {found} bytes, not {expected}; push it again")]
    Damaged {
        /// Whose bytes.
        digest: Digest,
        /// How many there were when they were linked, or are in what was pushed now.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// Not a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A manifest that names what the repository has not.
    #[error("the manifest names what repository `{repository}` does not have: {}", list(.missing))]
    ReferencesUnknown {
        /// The repository.
        repository: RepositoryName,
        /// What is missing.
        missing: Vec<Digest>,
    },
    /// A manifest that names more than is looked for.
    #[error("the manifest names {named} different things; at most {most} can be")]
    TooManyReferences {
        /// How many it names.
        named: usize,
        /// How many it may name.
        most: usize,
    },
    /// What was opened is not there any more.
    #[error("another store, or none, is where this one was; see to the volume, then start the registry again")]
    Replaced,
    /// The client's body broke off.
    #[error("the request's body ended early")]
    Body(#[source] std::io::Error),
}

impl RegistryError {
    /// Bytes of the store's that could not be read. [`RegistryError::Body`] is for what clients send: they would be told
    /// that the fault is theirs.
    pub(super) fn unreadable(key: impl std::fmt::Display, source: std::io::Error) -> Self {
        Self::Store(StoreError::io("reading", key, source))
    }
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(Digest::as_str).collect::<Vec<_>>().join(", ")
}
