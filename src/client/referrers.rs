//! What refers to a manifest (distribution-spec, "Listing referrers" and "Referrers tag schema").

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Client, ClientError, Deleted, FetchedManifest, Scope, error::shown, transport::Request};
use crate::oci::{Descriptor, Digest, MediaType, Reference, RepositoryName, Tag};

/// What is known of a registry's referrers API.
const UNKNOWN: u8 = 0;
const ABSENT: u8 = 1;
const PRESENT: u8 = 2;

/// What a registry says of a manifest's referrers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referrers {
    /// These.
    Known(Vec<Descriptor>),
    /// The registry has no such API: look at the tag of [`referrers_tag`].
    Unsupported,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewIndex<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: &'a [Descriptor],
}

/// The tag under which registries without the API keep the referrers of a manifest: `<algorithm>-<hex>`, each part
/// cut to the lengths that the specification states.
pub fn referrers_tag(digest: &Digest) -> Option<Tag> {
    let algorithm: String = digest.algorithm().as_str().chars().take(32).collect();
    let hex: String = digest.hex().chars().take(64).collect();
    format!("{algorithm}-{hex}").parse().ok()
}

/// Whether a tag is of that form.
pub fn is_referrers_tag(tag: &Tag) -> bool {
    tag.as_str().split_once('-').is_some_and(|(algorithm, hex)| {
        matches!(algorithm, "sha256" | "sha512")
            && hex.len() == 64
            && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

impl Client {
    /// Whether the registry is known to have no referrers API.
    pub fn lacks_referrers(&self) -> bool {
        self.inner.referrers_api.load(Ordering::Relaxed) == ABSENT
    }

    /// The referrers of a manifest, by the API. Once a registry has said that it has none, it is not asked again.
    pub async fn referrers(&self, repository: &RepositoryName, digest: &Digest) -> Result<Referrers, ClientError> {
        let asking = if self.inner.referrers_api.load(Ordering::Relaxed) == UNKNOWN {
            Some(self.inner.referrers_asked.lock().await)
        } else {
            None
        };
        if self.lacks_referrers() {
            return Ok(Referrers::Unsupported);
        }
        let _asking = asking.filter(|_| !self.has_referrers());
        let mut all = Vec::new();
        let mut next = Some(self.inner.endpoint.url(&format!("/v2/{repository}/referrers/{digest}"))?);
        while let Some(url) = next {
            let answer = self.send(Request::new(Method::GET, url.clone(), Scope::pull(repository))).await?;
            if answer.status() != StatusCode::OK {
                return self.no_referrers(self.unexpected(&Method::GET, answer).await);
            }
            next = self.next_page(&url, answer.headers())?;
            let body = self.body(answer).await?;
            let index: Index = serde_json::from_slice(&body)
                .map_err(|error| ClientError::Protocol { url: shown(&url), why: format!("not an index: {error}") })?;
            all.extend(index.manifests);
        }
        self.inner.referrers_api.store(PRESENT, Ordering::Relaxed);
        Ok(Referrers::Known(all))
    }

    /// A registry with the API answers 200 to whatever exists, so 404 says that there is no API, unless it says that
    /// there is no repository.
    fn no_referrers(&self, error: ClientError) -> Result<Referrers, ClientError> {
        let ClientError::Status { status, code, .. } = &error else { return Err(error) };
        let absent = matches!(status.as_u16(), 400 | 404 | 405 | 501);
        if code.as_deref() == Some("NAME_UNKNOWN") || (absent && self.has_referrers()) {
            return Ok(Referrers::Known(Vec::new()));
        }
        if !absent {
            return Err(error);
        }
        let _ = self.inner.referrers_api.compare_exchange(UNKNOWN, ABSENT, Ordering::Relaxed, Ordering::Relaxed);
        Ok(Referrers::Unsupported)
    }

    fn has_referrers(&self) -> bool {
        self.inner.referrers_api.load(Ordering::Relaxed) == PRESENT
    }

    /// The referrers that the tag schema has for a manifest.
    pub async fn tagged_referrers(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let Some(tag) = referrers_tag(digest) else { return Ok(Vec::new()) };
        match self.get_manifest(repository, &Reference::Tag(tag)).await? {
            Some(found) => Ok(found.parse()?.manifests),
            None => Ok(Vec::new()),
        }
    }

    /// Makes the tag schema's list for a manifest; an empty one is deleted.
    pub async fn put_tagged_referrers(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        referrers: &[Descriptor],
    ) -> Result<(), ClientError> {
        let Some(tag) = referrers_tag(digest) else { return Ok(()) };
        let reference = Reference::Tag(tag);
        if referrers.is_empty()
            && matches!(self.delete_manifest(repository, &reference).await?, Deleted::Gone | Deleted::Absent)
        {
            return Ok(());
        }
        let index = NewIndex { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: referrers };
        let bytes: Bytes = serde_json::to_vec(&index)
            .map_err(|error| ClientError::Protocol { url: reference.to_string(), why: error.to_string() })?
            .into();
        let manifest = FetchedManifest { digest: Digest::sha256(&bytes), bytes, media_type: MediaType::oci_index() };
        self.put_manifest(repository, &reference, &manifest).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_the_schema_is_the_digest_with_a_dash() {
        let digest = Digest::sha256(b"x");
        let tag = referrers_tag(&digest).unwrap();
        assert_eq!(tag.as_str(), format!("sha256-{}", digest.hex()));
        assert!(is_referrers_tag(&tag));
        assert!(!is_referrers_tag(&"v1.0-rc1".parse().unwrap()));
        assert!(!is_referrers_tag(&format!("{tag}.sig").parse().unwrap()));
    }
}
