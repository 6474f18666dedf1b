//! What can go wrong between two registries: always with the side that it went wrong at.

use crate::{
    client::{ClientError, error::chain},
    oci::{Reference, RepositoryName},
};

/// Why something could not be replicated.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// At the source.
    #[error("source")]
    Source(#[source] ClientError),
    /// At the destination.
    #[error("destination")]
    Destination(#[source] ClientError),
    /// A filter that is not one.
    #[error("the glob `{glob}` cannot be used: {why}")]
    Glob {
        /// As it was given.
        glob: String,
        /// Why not.
        why: String,
    },
    /// Nobody says which repositories there are.
    #[error("the source does not list its repositories: name them in the filters, without `*` and `?`")]
    NoCatalog,
    /// The destination deletes only what would take more with it.
    #[error(
        "the destination cannot delete the tag {repository}:{reference} alone: it deletes manifests only, and \
             this one is also tagged {others}"
    )]
    CannotDelete {
        /// Of which repository.
        repository: RepositoryName,
        /// Which tag.
        reference: Reference,
        /// Some of the other tags.
        others: String,
    },
    /// The destination does not delete.
    #[error(
        "the destination does not delete {repository} {reference}; allow deletions there, or set `deletions: Ignore`"
    )]
    NoDeletions {
        /// Of which repository.
        repository: RepositoryName,
        /// What.
        reference: Reference,
    },
}

impl ReplicateError {
    /// With all its causes, in one line.
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// Whether it is about a registry as a whole and not about one thing in it.
    pub fn is_about_a_registry(&self) -> bool {
        match self {
            Self::Source(error) | Self::Destination(error) => error.is_about_the_registry(),
            Self::NoCatalog => true,
            Self::Glob { .. } | Self::CannotDelete { .. } | Self::NoDeletions { .. } => false,
        }
    }

    /// Whether the same may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) | Self::Destination(error) => error.is_transient(),
            Self::NoCatalog | Self::Glob { .. } | Self::CannotDelete { .. } | Self::NoDeletions { .. } => false,
        }
    }
}

/// Says at which side an error was.
pub trait AtEnd<T> {
    /// At the source.
    fn at_source(self) -> Result<T, ReplicateError>;
    /// At the destination.
    fn at_destination(self) -> Result<T, ReplicateError>;
}

impl<T> AtEnd<T> for Result<T, ClientError> {
    fn at_source(self) -> Result<T, ReplicateError> {
        self.map_err(ReplicateError::Source)
    }
    fn at_destination(self) -> Result<T, ReplicateError> {
        self.map_err(ReplicateError::Destination)
    }
}
