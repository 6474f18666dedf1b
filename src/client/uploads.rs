//! Writing blobs (distribution-spec, "Pushing blobs"): a POST that may mount, then one PUT, or PATCHes and a PUT.

use std::sync::Arc;

use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE},
};
use reqwest::{Response, Url};
use tokio::sync::Mutex;

use super::{
    BlobReader, Client, ClientError, Scope,
    error::shown,
    reader,
    transport::{Body, Request, StreamBody},
};
use crate::oci::{Digest, RepositoryName};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An upload that was begun.
#[derive(Debug, Clone)]
pub struct Upload {
    url: Url,
    repository: RepositoryName,
}

/// What the registry answered to the wish to begin one.
#[derive(Debug)]
pub enum Started {
    /// Nothing is to be sent: the repository has the blob now.
    Mounted,
    /// Send the bytes.
    Upload(Upload),
}

impl Client {
    /// Asks for the blob to be mounted, and begins an upload where that is not possible.
    ///
    /// `from` is the repository to mount from: another one that has the blob, or this very one, which asks whether the
    /// blob is there already.
    pub async fn start_upload(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<Started, ClientError> {
        let mut url = self.inner.endpoint.url(&format!("/v2/{repository}/blobs/uploads/"))?;
        let plain = url.clone();
        url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from.as_str());
        let scope = Scope::push(repository);
        let scope = if from == repository { scope } else { scope.and_pull(from) };
        let answer = self.send(Request::new(Method::POST, url, scope)).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(Started::Mounted),
            StatusCode::ACCEPTED => self.location(repository, &answer).map(Started::Upload),
            // Some registries refuse a mount that they cannot do instead of beginning an upload.
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                self.start_plain(repository, plain).await.map(Started::Upload)
            }
            _ => Err(self.unexpected(&Method::POST, answer).await),
        }
    }

    async fn start_plain(&self, repository: &RepositoryName, url: Url) -> Result<Upload, ClientError> {
        let answer = self.send(Request::new(Method::POST, url, Scope::push(repository))).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(self.unexpected(&Method::POST, answer).await);
        }
        self.location(repository, &answer)
    }

    fn location(&self, repository: &RepositoryName, answer: &Response) -> Result<Upload, ClientError> {
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| ClientError::Protocol {
            url: shown(answer.url()),
            why: "the answer does not say where the upload goes on".to_owned(),
        })?;
        let url = self.inner.endpoint.join(answer.url(), location)?;
        Ok(Upload { url, repository: repository.clone() })
    }

    /// Sends the rest of the blob from where the reader is, and closes the upload.
    pub async fn finish_upload(
        &self,
        upload: &Upload,
        digest: &Digest,
        reader: &Arc<Mutex<BlobReader>>,
        length: u64,
    ) -> Result<(), ClientError> {
        let body = if length == 0 {
            Body::Empty
        } else {
            Body::Stream(StreamBody::new(length, reader::stream(reader.clone(), length)))
        };
        let answer = self.send_reading(closing(upload, digest, body), reader).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.unexpected(&Method::PUT, answer).await),
        }
    }

    /// Sends the next `length` bytes, which begin at `offset` of the blob.
    pub async fn patch_upload(
        &self,
        upload: &Upload,
        offset: u64,
        reader: &Arc<Mutex<BlobReader>>,
        length: u64,
    ) -> Result<Upload, ClientError> {
        let range = HeaderValue::try_from(format!("{offset}-{}", offset + length - 1))
            .map_err(|_| ClientError::Protocol { url: shown(&upload.url), why: "not a range".to_owned() })?;
        let body = Body::Stream(StreamBody::new(length, reader::stream(reader.clone(), length)));
        let request = Request::new(Method::PATCH, upload.url.clone(), Scope::push(&upload.repository))
            .header(CONTENT_TYPE, OCTETS)
            .header(CONTENT_RANGE, range)
            .body(body);
        let answer = self.send_reading(request, reader).await?;
        match answer.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => self.location(&upload.repository, &answer),
            _ => Err(self.unexpected(&Method::PATCH, answer).await),
        }
    }

    /// How many bytes of an upload have arrived; `None` where the upload is not known any more.
    pub async fn upload_status(&self, upload: &Upload) -> Result<Option<(u64, Upload)>, ClientError> {
        let request = Request::new(Method::GET, upload.url.clone(), Scope::push(&upload.repository));
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::ACCEPTED | StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.unexpected(&Method::GET, answer).await),
        }
        let range = answer.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let arrived = range.and_then(arrived).unwrap_or_default();
        let upload = self.location(&upload.repository, &answer).unwrap_or_else(|_| upload.clone());
        Ok(Some((arrived, upload)))
    }

    /// Gives an upload up. That this fails is of no interest: registries forget uploads by themselves.
    pub async fn cancel_upload(&self, upload: &Upload) {
        let request = Request::new(Method::DELETE, upload.url.clone(), Scope::push(&upload.repository));
        if let Err(error) = self.send(request).await {
            tracing::debug!(error = error.chain(), "an upload could not be given up");
        }
    }

    /// Sends a request whose body is read elsewhere: where the reading failed, that is the error.
    async fn send_reading(&self, request: Request, reader: &Arc<Mutex<BlobReader>>) -> Result<Response, ClientError> {
        let sent = self.send(request).await;
        match (reader.lock().await.take_failure(), sent) {
            (Some(failure), _) => Err(failure),
            (None, sent) => sent,
        }
    }
}

/// The request that closes an upload. Without a body too it may take long: what came in parts is put together then.
fn closing(upload: &Upload, digest: &Digest, body: Body) -> Request {
    let mut url = upload.url.clone();
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    Request::new(Method::PUT, url, Scope::push(&upload.repository)).header(CONTENT_TYPE, OCTETS).body(body).long()
}

/// `0-41` is 42 bytes. `0-0` is what registries say of an empty upload too, and those are far more frequent.
fn arrived(range: &str) -> Option<u64> {
    let last: u64 = range.trim().trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_without_a_body_is_waited_for_like_one_with_a_body() {
        let url = Url::parse("http://localhost/v2/a/blobs/uploads/1").unwrap();
        let upload = Upload { url, repository: "a".parse().unwrap() };
        let digest = Digest::sha256(b"");
        let stream = StreamBody::new(1, futures::stream::empty());
        let with = closing(&upload, &digest, Body::Stream(stream));
        assert_eq!(closing(&upload, &digest, Body::Empty).patience(), with.patience());
        let other = Request::new(Method::GET, upload.url.clone(), Scope::none());
        assert!(with.patience() > other.patience());
    }

    #[test]
    fn the_range_of_an_upload_is_inclusive() {
        assert_eq!(arrived("0-41"), Some(42));
        assert_eq!(arrived("bytes=0-41"), Some(42));
        assert_eq!(arrived("0-0"), Some(0));
        assert_eq!(arrived("0--1"), None);
    }
}
