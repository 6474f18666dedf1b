//! Media types (RFC 6838), and those that this registry knows by name.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, text_type};

/// A media type without parameters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaType(String);

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// Docker image manifest, version 2 schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The OCI artifact manifest of the 1.1 release candidates.
    pub const OCI_ARTIFACT: &'static str = "application/vnd.oci.artifact.manifest.v1+json";
    /// The empty descriptor's.
    pub const OCI_EMPTY: &'static str = "application/vnd.oci.empty.v1+json";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The OCI index: the type of referrers' answers.
    pub fn oci_index() -> Self {
        Self(Self::OCI_INDEX.to_owned())
    }

    /// What nothing is known of.
    pub fn octets() -> Self {
        Self("application/octet-stream".to_owned())
    }

    /// The OCI manifest.
    pub fn oci_manifest() -> Self {
        Self(Self::OCI_MANIFEST.to_owned())
    }

    /// Docker's schema 1, signed or not: never accepted.
    pub fn is_schema_1(&self) -> bool {
        matches!(
            self.as_str(),
            "application/vnd.docker.distribution.manifest.v1+json"
                | "application/vnd.docker.distribution.manifest.v1+prettyjws"
        )
    }

    /// Whether what is described is an index: a list of manifests.
    pub fn is_index(&self) -> bool {
        matches!(self.as_str(), Self::OCI_INDEX | Self::DOCKER_LIST)
    }

    /// Whether what is described is a manifest or an index.
    pub fn is_manifest(&self) -> bool {
        self.is_index() || matches!(self.as_str(), Self::OCI_MANIFEST | Self::DOCKER_MANIFEST | Self::OCI_ARTIFACT)
    }

    /// Layers that registries need not hold: OCI's non-distributable and Docker's foreign ones.
    pub fn is_non_distributable(&self) -> bool {
        self.0.starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self.0.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }
}

text_type!(MediaType);

impl FromStr for MediaType {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bare = text.split(';').next().unwrap_or_default().trim();
        let restricted = |part: &str| {
            (1..=127).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        match bare.split_once('/') {
            Some((kind, subtype)) if restricted(kind) && restricted(subtype) => Ok(Self(bare.to_owned())),
            Some(_) | None => Err(Invalid::new("media type", text, "expected `type/subtype` of RFC 6838")),
        }
    }
}
