//! Several ranges of a blob in one answer: `multipart/byteranges` (RFC 9110, section 14.6).

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::{Stream, StreamExt as _};

use super::access_log::InPieces;
use crate::oci::ByteRange;
use crate::store::Object;

/// What each part says of itself; the whole's type.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A multipart answer over these ranges of an object. Each part is read when it is its turn.
pub fn multipart(object: Object, ranges: &[ByteRange]) -> Response {
    let (boundary, size) = (crate::registry::nonce(), object.meta.size);
    let heads: Vec<(String, ByteRange)> = ranges.iter().map(|range| (head(&boundary, *range, size), *range)).collect();
    let end = format!("\r\n--{boundary}--\r\n");
    let length = heads.iter().map(|(head, range)| head.len() as u64 + range.length()).sum::<u64>() + end.len() as u64;
    let parts = futures::stream::iter(heads)
        .flat_map(move |(head, range)| text(head).chain(object.part(range.start, range.length())));
    let mut response = Response::new(Body::from_stream(parts.chain(text(end))));
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
