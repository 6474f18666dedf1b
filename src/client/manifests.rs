//! Manifests: byte for byte, and never without their digest having been checked.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::Response;

use super::{
    Client, ClientError, Scope,
    transport::{Body, Request},
};
use crate::oci::{Algorithm, Digest, Manifest, MediaType, Reference, RepositoryName};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Every form of a manifest that we can carry; what is not listed some registries would convert to schema 1.
const ACCEPTED: [&str; 5] = [
    MediaType::OCI_INDEX,
    MediaType::OCI_MANIFEST,
    MediaType::DOCKER_LIST,
    MediaType::DOCKER_MANIFEST,
    MediaType::OCI_ARTIFACT,
];

/// A manifest as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// Its bytes.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
    /// The `Content-Type` that it came with.
    pub media_type: MediaType,
}

impl FetchedManifest {
    /// What it names.
    pub fn parse(&self) -> Result<Manifest, ClientError> {
        Manifest::parse(Some(&self.media_type), &self.bytes)
            .map_err(|source| ClientError::Manifest { what: self.digest.to_string(), source })
    }
}

/// A manifest was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutManifest {
    /// Whether the registry said that it counts this manifest among its subject's referrers (`OCI-Subject`).
    pub subject_known: bool,
}

/// What became of a wish to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// It was not there.
    Absent,
    /// The registry does not do this.
    Unsupported,
}

impl Client {
    /// The manifest; `None` where there is none (or no repository).
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<FetchedManifest>, ClientError> {
        let answer = self.ask_manifest(Method::GET, repository, reference).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.unexpected(&Method::GET, answer).await),
        }
        let media_type = content_type(answer.headers());
        let claimed = claimed_digest(answer.headers());
        let bytes = self.body(answer).await?;
        let what = format!("manifest {repository} {reference}");
        let digest = verify(&what, reference, claimed, &bytes)?;
        let media_type = match media_type {
            Some(media_type) => media_type,
            None => media_type_of_body(&what, &bytes)?,
        };
        Ok(Some(FetchedManifest { bytes, digest, media_type }))
    }

    /// The digest of the manifest; `None` where there is none. Registries that leave it out are asked for the bytes.
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, ClientError> {
        let answer = self.ask_manifest(Method::HEAD, repository, reference).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.unexpected(&Method::HEAD, answer).await),
        }
        match (claimed_digest(answer.headers()), reference) {
            (Some(digest), _) => Ok(Some(digest)),
            (None, Reference::Digest(digest)) => Ok(Some(digest.clone())),
            (None, Reference::Tag(_)) => Ok(self.get_manifest(repository, reference).await?.map(|found| found.digest)),
        }
    }

    async fn ask_manifest(
        &self,
        method: Method,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response, ClientError> {
        let url = self.inner.endpoint.url(&format!("/v2/{repository}/manifests/{reference}"))?;
        let mut request = Request::new(method, url, Scope::pull(repository));
        for accepted in ACCEPTED {
            request = request.header(ACCEPT, HeaderValue::from_static(accepted));
        }
        self.send(request).await
    }

    /// Puts a manifest, by tag or by digest, byte for byte.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        manifest: &FetchedManifest,
    ) -> Result<PutManifest, ClientError> {
        let FetchedManifest { bytes, digest, media_type } = manifest;
        let url = self.inner.endpoint.url(&format!("/v2/{repository}/manifests/{reference}"))?;
        let content_type = HeaderValue::try_from(media_type.as_str())
            .map_err(|_| ClientError::Protocol { url: url.to_string(), why: "not a media type".to_owned() })?;
        let request = Request::new(Method::PUT, url, Scope::push(repository))
            .header(CONTENT_TYPE, content_type)
            .body(Body::Bytes(bytes.clone()));
        let answer = self.send(request).await?;
        if !matches!(answer.status(), StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED) {
            return Err(self.unexpected(&Method::PUT, answer).await);
        }
        match claimed_digest(answer.headers()) {
            Some(actual) if actual.algorithm() == digest.algorithm() && actual != *digest => {
                let what = format!("manifest {repository} {reference} as stored");
                Err(ClientError::DigestMismatch { what, expected: digest.clone(), actual })
            }
            Some(_) | None => Ok(PutManifest { subject_known: answer.headers().contains_key(OCI_SUBJECT) }),
        }
    }

    /// Deletes a tag or a manifest. 400 and 405 are how registries say that they do not delete this
    /// (distribution-spec, "Deleting tags", "Deleting manifests").
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Deleted, ClientError> {
        let url = self.inner.endpoint.url(&format!("/v2/{repository}/manifests/{reference}"))?;
        let answer = self.send(Request::new(Method::DELETE, url, Scope::delete(repository))).await?;
        match answer.status() {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(Deleted::Gone),
            StatusCode::NOT_FOUND => Ok(Deleted::Absent),
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Ok(Deleted::Unsupported)
            }
            _ => Err(self.unexpected(&Method::DELETE, answer).await),
        }
    }
}

/// Hashes what came against what was asked for and what the registry claims it to be.
fn verify(what: &str, asked: &Reference, claimed: Option<Digest>, bytes: &[u8]) -> Result<Digest, ClientError> {
    let expected = match (asked, claimed) {
        (Reference::Digest(digest), _) => digest.clone(),
        (Reference::Tag(_), Some(claimed)) => claimed,
        (Reference::Tag(_), None) => return Ok(Digest::of(Algorithm::Sha256, bytes)),
    };
    let actual = Digest::of(expected.algorithm(), bytes);
    if actual == expected {
        Ok(actual)
    } else {
        Err(ClientError::DigestMismatch { what: what.to_owned(), expected, actual })
    }
}

fn claimed_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DOCKER_CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let media_type: MediaType = headers.get(CONTENT_TYPE)?.to_str().ok()?.parse().ok()?;
    // File servers and careless proxies say what every file is to them: not a manifest's type.
    let generic = matches!(media_type.as_str(), "application/json" | "application/octet-stream" | "text/plain");
    (!generic).then_some(media_type)
}

fn media_type_of_body(what: &str, bytes: &[u8]) -> Result<MediaType, ClientError> {
    Manifest::parse(None, bytes)
        .map(|manifest| manifest.media_type)
        .map_err(|source| ClientError::Manifest { what: what.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2024_3727_bytes_that_are_not_what_was_asked_for_are_an_error() {
        let (good, other) = (Digest::sha256(b"good"), Digest::sha256(b"other"));
        let tag: Reference = "v1".parse().unwrap();
        assert_eq!(verify("", &good.clone().into(), None, b"good").unwrap(), good);
        assert_eq!(verify("", &tag, None, b"good").unwrap(), good);
        assert!(verify("", &good.clone().into(), Some(other.clone()), b"other").is_err());
        assert!(verify("", &tag, Some(other), b"good").is_err());
    }
}
