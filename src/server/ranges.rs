//! Several ranges of a blob in one answer: `multipart/byteranges` (RFC 9110, section 14.6).

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::{Stream, StreamExt as _, TryStreamExt as _};

use super::access_log::InPieces;
use crate::oci::{ByteRange, Digest, RepositoryName};
use crate::registry::Registry;

/// What each part says of itself; the whole's type.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A multipart answer over these ranges of a blob of `size` bytes. Each part is opened when it is its turn.
pub fn multipart(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    size: u64,
    ranges: &[ByteRange],
) -> Response {
    let boundary = crate::registry::nonce();
    let heads: Vec<(String, ByteRange)> = ranges.iter().map(|range| (head(&boundary, *range, size), *range)).collect();
    let end = format!("\r\n--{boundary}--\r\n");
    let length = heads.iter().map(|(head, range)| head.len() as u64 + range.length()).sum::<u64>() + end.len() as u64;
    let (registry, name, digest) = (registry.clone(), name.clone(), digest.clone());
    let parts = futures::stream::iter(heads).then(move |(head, range)| {
        let (registry, name, digest) = (registry.clone(), name.clone(), digest.clone());
        async move {
            let object = registry.open_blob(&name, &digest).await.map_err(std::io::Error::other)?;
            let content = object.stream(range.start, range.length());
            Ok::<_, std::io::Error>(text(head).chain(content))
        }
    });
    let mut response = Response::new(Body::from_stream(parts.try_flatten().chain(text(end))));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    response.extensions_mut().insert(InPieces::default());
    let headers = response.headers_mut();
    let kind = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"));
    headers.extend(kind.ok().map(|kind| (header::CONTENT_TYPE, kind)));
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

fn head(boundary: &str, range: ByteRange, size: u64) -> String {
    let ByteRange { start, end } = range;
    format!("\r\n--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Range: bytes {start}-{end}/{size}\r\n\r\n")
}

fn text(text: String) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    futures::stream::iter([Ok(Bytes::from(text))])
}
