//! The protocol as types: what the OCI distribution and image specifications have a grammar for.
//!
//! Every type has private fields and is validated where it is made, so that a `RepositoryName` that exists is a valid
//! one. No I/O and no tokio in this room.
//!
//! Sources: OCI distribution-spec 1.1.1 ("the distribution spec"), OCI image-spec 1.1.1, and Docker's Registry HTTP
//! API V2 where clients still follow that.

pub mod digest;
pub mod error;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod range;

pub use digest::{Algorithm, Digest, Hasher};
pub use error::{ErrorBody, ErrorCode, ErrorEntry};
pub use manifest::{Descriptor, Manifest, ManifestError};
pub use media_type::MediaType;
pub use name::{Reference, RepositoryName, Tag};
pub use range::{ByteRange, ByteRanges, ContentRange, RangeError};

/// A text that does not have the grammar of what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} `{}`: {why}", shorten(.text))]
pub struct Invalid {
    /// What it should have been: "repository name", "digest" ...
    pub what: &'static str,
    /// What it was.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

impl Invalid {
    fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: shorten(text), why }
    }
}

/// Names in errors come from clients: a megabyte of it helps nobody.
fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain("...".chars()).collect()
}

/// Serde and `FromStr` for a newtype over a validated `String`.
macro_rules! text_type {
    ($type:ty) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl TryFrom<String> for $type {
            type Error = $crate::oci::Invalid;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}
pub(crate) use text_type;
