//! Where everything lies in the store.
//!
//! ```text
//! docker/registry/v2/blobs/<alg>/<2 hex>/<hex>/data   bytes, where Distribution and Harbor put them
//! regatta/v1/store                                    the store's identity and format
//! regatta/v1/tmp/<nonce>                              temporaries
//! regatta/v1/journal/<origin>/<n>                     change records
//! regatta/v1/journal-floor/<versions>                 how far the journal was trimmed
//! regatta/v1/hold/<versions>                          who holds the store read-only
//! regatta/v1/sole/<versions>                          who serves a store that only one may serve
//! regatta/v1/catalog/<repository>!                    a repository exists
//! regatta/v1/repositories/<repository>/
//!     _tags/<tag>!/<versions>                         what a tag is
//!     _manifests/<alg>/<2 hex>/<hex>/<versions>       a manifest in this repository
//!     _links/<alg>/<2 hex>/<hex>/<versions>           a blob that this repository may read
//!     _referrers/<alg>/<2 hex>/<hex>/<referrer>!<n>   hints: who refers to a manifest
//! regatta/v1/uploads/<id>/<versions>, part-<nonce>    uploads in progress
//! regatta/v1/trash/blobs/<alg>/<2 hex>/<hex>/<at>-<nonce>  condemned bytes, and when
//! regatta/v1/access/<versions>                        access documents
//! regatta/v1/terms/<versions>                         operators' terms of office
//! regatta/v1/runs/<name>                              what a collection did
//! regatta/v1/edges/..., regatta/v1/cursors/...        what the replicator does and did
//! ```
//!
//! `<versions>` are sixteen hex digits of the inverted number, so that the newest is listed first. A name and what
//! belongs to it are parted by `!`, which sorts below `-` and `.`: keys are then in the order of the names.

use serde::{Deserialize, Serialize};

use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::Key;

/// Everything of ours, with the number of the format.
const PREFIX: &str = "regatta/v1";

/// Begins the names of an upload's parts, which sort behind its versions.
const PART: &str = "part-";

/// Parts a name from its suffix.
pub const SEPARATOR: char = '!';

fn ours(rest: impl std::fmt::Display) -> Key {
    Key::of(format!("{PREFIX}/{rest}"))
}

fn fanned(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}/{}/{hex}", digest.algorithm().as_str(), &hex[..2])
}

/// A blob's bytes; a manifest's too.
pub fn blob_data(digest: &Digest) -> Key {
    Key::of(format!("docker/registry/v2/blobs/{}/data", fanned(digest)))
}

/// The directories of blobs by algorithm.
pub fn blobs(algorithm: crate::oci::Algorithm) -> Key {
    Key::of(format!("docker/registry/v2/blobs/{}", algorithm.as_str()))
}

/// The condemnations of a blob's bytes.
pub fn trashed_blob(digest: &Digest) -> Key {
    ours(format_args!("trash/blobs/{}", fanned(digest)))
}

/// The condemned bytes by algorithm.
pub fn trashed_blobs(algorithm: crate::oci::Algorithm) -> Key {
    ours(format_args!("trash/blobs/{}", algorithm.as_str()))
}

/// The store's identity.
pub fn store_identity() -> Key {
    ours("store")
}

/// The directory of temporaries.
pub fn temporaries() -> Key {
    ours("tmp")
}

/// The directory of origins' logs.
pub fn journal() -> Key {
    ours("journal")
}

/// One record of one origin's log.
pub fn journal_record(origin: &str, number: u64) -> Key {
    ours(format_args!("journal/{origin}/{number:016x}"))
}

/// How far the journal was trimmed.
pub fn journal_floor() -> Key {
    ours("journal-floor")
}

/// Who holds the store read-only.
pub fn hold() -> Key {
    ours("hold")
}

/// Who serves a store that only one may serve.
pub fn sole() -> Key {
    ours("sole")
}

/// The directory of the catalog.
pub fn catalog() -> Key {
    ours("catalog")
}

/// The catalog's key of a repository.
pub fn catalog_entry(repository: &RepositoryName) -> Key {
    ours(format_args!("catalog/{repository}{SEPARATOR}"))
}

/// The directory of all repositories.
pub fn repositories() -> Key {
    ours("repositories")
}

/// The directory of the repositories whose names begin with these components; all for the empty text.
pub fn repositories_below(place: &str) -> Key {
    if place.is_empty() { repositories() } else { ours(format_args!("repositories/{place}")) }
}

fn repository(name: &RepositoryName) -> Key {
    ours(format_args!("repositories/{name}"))
}

/// The tags of a repository.
pub fn tags(name: &RepositoryName) -> Key {
    repository(name).join("_tags")
}

/// The manifests of a repository.
pub fn manifests(name: &RepositoryName) -> Key {
    repository(name).join("_manifests")
}

/// The blobs of a repository.
pub fn links(name: &RepositoryName) -> Key {
    repository(name).join("_links")
}

/// The referrers of a repository's manifests.
pub fn all_referrers(name: &RepositoryName) -> Key {
    repository(name).join("_referrers")
}

/// What refers to a manifest.
pub fn referrers(name: &RepositoryName, subject: &Digest) -> Key {
    all_referrers(name).join(fanned(subject))
}

/// One referrer, by the version of its register that made it.
pub fn referrer(name: &RepositoryName, subject: &Digest, referrer: &Digest, version: u64) -> Key {
    referrers(name, subject).join(format_args!("{}{SEPARATOR}{version:016x}", in_a_name(referrer)))
}

/// A digest within the name of a key. A colon is awkward on some filesystems and in some tools; an algorithm's name has
/// no dash.
pub fn in_a_name(digest: &Digest) -> String {
    digest.as_str().replacen(':', "-", 1)
}

/// Whose hint a name in [`referrers`] is, and of which version of its register.
pub fn referrer_of(name: &str) -> Option<(Digest, u64)> {
    let (digest, version) = name.split_once(SEPARATOR)?;
    Some((digest.replacen('-', ":", 1).parse().ok()?, u64::from_str_radix(version, 16).ok()?))
}

/// The uploads in progress.
pub fn uploads() -> Key {
    ours("uploads")
}

/// One upload.
pub fn upload(id: &str) -> Key {
    ours(format_args!("uploads/{id}"))
}

/// A part of an upload.
pub fn upload_part(id: &str, nonce: &str) -> Key {
    ours(format_args!("uploads/{id}/{PART}{nonce}"))
}

/// Whether a name in [`upload`] is a part's rather than a version's.
pub fn is_upload_part(name: &str) -> bool {
    name.starts_with(PART)
}

/// The access documents.
pub fn access() -> Key {
    ours("access")
}

/// The terms of office.
pub fn terms() -> Key {
    ours("terms")
}

/// The directory of what collections did.
pub fn runs() -> Key {
    ours("runs")
}

/// What one collection did.
pub fn run(name: &str) -> Key {
    ours(format_args!("runs/{name}"))
}

/// The edges that run at this registry.
pub fn edges() -> Key {
    ours("edges/document")
}

/// The directory of what edges reported.
pub fn edge_statuses() -> Key {
    ours("edges/status")
}

/// What one edge reported.
pub fn edge_status(id: &str) -> Key {
    ours(format_args!("edges/status/{id}"))
}

/// Where an edge that ends here is in its source's journal.
pub fn edge_cursor(id: &str) -> Key {
    ours(format_args!("cursors/{id}"))
}

/// A register that clients see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Register {
    /// What a tag points to.
    Tag(RepositoryName, Tag),
    /// A manifest in a repository.
    Manifest(RepositoryName, Digest),
    /// A blob in a repository.
    Link(RepositoryName, Digest),
}

impl Register {
    /// The repository that it is in.
    pub fn repository(&self) -> &RepositoryName {
        match self {
            Self::Tag(name, _) | Self::Manifest(name, _) | Self::Link(name, _) => name,
        }
    }

    /// What it is named by, unless it is a tag.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Tag(..) => None,
            Self::Manifest(_, digest) | Self::Link(_, digest) => Some(digest),
        }
    }

    /// The tag, if it is one.
    pub fn into_tag(self) -> Option<Tag> {
        match self {
            Self::Tag(_, tag) => Some(tag),
            Self::Manifest(..) | Self::Link(..) => None,
        }
    }

    /// One of its versions.
    pub fn version_key(&self, number: u64) -> Key {
        self.key().join(super::versions::name(number))
    }

    /// The directory of its versions.
    pub fn key(&self) -> Key {
        match self {
            Self::Tag(name, tag) => tags(name).join(format_args!("{tag}{SEPARATOR}")),
            Self::Manifest(name, digest) => manifests(name).join(fanned(digest)),
            Self::Link(name, digest) => links(name).join(fanned(digest)),
        }
    }
}
