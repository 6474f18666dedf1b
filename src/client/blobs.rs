//! Blobs: is it there, and its bytes from any offset on.

use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE},
};
use reqwest::Response;

use super::{Client, ClientError, Scope, error::shown, transport::Request};
use crate::oci::{Digest, RepositoryName};

/// An answer with a blob's bytes.
pub(super) struct OpenBlob {
    pub(super) answer: Response,
    /// Bytes to pass over: a registry without ranges sends everything.
    pub(super) skip: u64,
    /// The blob's whole size, where the registry says it.
    pub(super) size: Option<u64>,
}

impl Client {
    /// Whether the repository has this blob.
    pub async fn has_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, ClientError> {
        let url = self.inner.endpoint.url(&format!("/v2/{repository}/blobs/{digest}"))?;
        let answer = self.send(Request::new(Method::HEAD, url, Scope::pull(repository))).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.unexpected(&Method::HEAD, answer).await),
        }
    }

    /// Begins to read a blob at an offset.
    pub(super) async fn open_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        offset: u64,
    ) -> Result<OpenBlob, ClientError> {
        let url = self.inner.endpoint.url(&format!("/v2/{repository}/blobs/{digest}"))?;
        let mut request = Request::new(Method::GET, url.clone(), Scope::pull(repository));
        if offset > 0 {
            request = request.header(RANGE, range_from(offset));
        }
        let answer = self.send(request).await?;
        let header = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        match answer.status() {
            StatusCode::OK => {
                let size = header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
                Ok(OpenBlob { answer, skip: offset, size })
            }
            StatusCode::PARTIAL_CONTENT => match header(CONTENT_RANGE).and_then(content_range) {
                Some((start, size)) if start == offset => Ok(OpenBlob { answer, skip: 0, size }),
                Some(_) | None => {
                    let why = format!("asked for the bytes from {offset} on and got others");
                    Err(ClientError::Protocol { url: shown(&url), why })
                }
            },
            StatusCode::NOT_FOUND => Err(ClientError::Missing { what: format!("blob {digest} of {repository}") }),
            _ => Err(self.unexpected(&Method::GET, answer).await),
        }
    }
}

fn range_from(offset: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes={offset}-")).unwrap_or_else(|_| HeaderValue::from_static("bytes=0-"))
}

/// The first byte, and the whole size where it is known, of `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, size.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_says_where_it_begins_and_how_large_the_whole_is() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        assert_eq!(content_range("5-9"), None);
    }
}
