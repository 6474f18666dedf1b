//! Blobs: GET, HEAD with ranges and conditions; DELETE.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::Response;

use super::Fault;
use super::dispatch::Call;
use super::spans::Spans;
use crate::auth::Permission;
use crate::oci::{ByteRange, Digest, ErrorCode, RangeError, RepositoryName};
use crate::store::Object;

pub(super) const CONTENT_DIGEST: header::HeaderName = header::HeaderName::from_static("docker-content-digest");

/// `/v2/<name>/blobs/<digest>`
pub async fn handle(call: &Call, name: &RepositoryName, digest: &Digest) -> Result<Response, Fault> {
    match call.parts.method {
        Method::GET => {
            call.authorize(Permission::Pull, name)?;
            let registry = call.server.registry();
            if registry.store().abilities().redirects
                && let Some(url) = registry.blob_url(name, digest).await?
            {
                return Ok(redirect(digest, &url));
            }
            let object = registry.open_blob(name, digest).await?;
            get(call, digest, object)
        }
        Method::HEAD => {
            call.authorize(Permission::Pull, name)?;
            let meta = call.server.registry().blob(name, digest).await?;
            let mut response = Response::new(Body::empty());
            describe(&mut response, digest);
            response.headers_mut().insert(header::CONTENT_LENGTH, meta.size.into());
            Ok(response)
        }
        Method::DELETE => {
            call.authorize(Permission::Delete, name)?;
            call.server.registry().delete_blob(name, digest, &call.author()).await?;
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        _ => Err(Fault::method("GET, HEAD, DELETE")),
    }
}

fn get(call: &Call, digest: &Digest, object: Object) -> Result<Response, Fault> {
    let size = object.meta.size;
    if is_unchanged(call, digest) {
        return Ok(unchanged(digest));
    }
    // If-Range with anything but this very content asks for the whole.
    let same = call.header(header::IF_RANGE).is_none_or(|tag| tag == etag(digest));
    let range = call.header(header::RANGE).filter(|_| same && size > 0);
    match range.map(|range| ByteRange::resolve(range, size)) {
        Some(Ok(range)) => {
            let mut response = stream(call, object, digest, range.start, range.length());
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {}-{}/{size}", range.start, range.end);
            response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|v| (header::CONTENT_RANGE, v)));
            Ok(response)
        }
        Some(Err(RangeError::Unsatisfiable)) => Err(Fault::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            ErrorCode::RangeInvalid,
            format!("the blob has {size} bytes"),
        )
        .with_header(header::CONTENT_RANGE, format!("bytes */{size}"))),
        Some(Err(RangeError::Ignored)) | None => Ok(stream(call, object, digest, 0, size)),
    }
}

/// To the store itself. The URL holds for some minutes and is nobody's to keep.
fn redirect(digest: &Digest, url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    name(&mut response, digest);
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(url).ok().map(|url| (header::LOCATION, url)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn stream(call: &Call, object: Object, digest: &Digest, start: u64, length: u64) -> Response {
    let mut response = Response::new(content(call, object, start, length));
    describe(&mut response, digest);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// The bytes `start .. start + length`: what is at hand at once, what is in a file by way of the connection's spans
/// where that is possible.
pub(super) fn content(call: &Call, object: Object, start: u64, length: u64) -> Body {
    if let Some(bytes) = object.at_hand(start, length) {
        return Body::from(bytes);
    }
    let spans = call.parts.extensions.get::<Spans>().filter(|_| call.parts.version <= Version::HTTP_11);
    match (object.local_file(), spans) {
        (Some(file), Some(spans)) => spans.body(file.clone(), start, length),
        (Some(_) | None, _) => Body::from_stream(object.stream(start, length)),
    }
}

fn describe(response: &mut Response, digest: &Digest) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    name(response, digest);
}

/// The digest, as Docker's header and as an entity tag.
pub(super) fn name(response: &mut Response, digest: &Digest) {
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(digest.as_str()).ok().map(|value| (CONTENT_DIGEST, value)));
    headers.extend(HeaderValue::try_from(etag(digest)).ok().map(|value| (header::ETAG, value)));
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether the client has this very content already (RFC 9110, section 13.1.2).
pub(super) fn is_unchanged(call: &Call, digest: &Digest) -> bool {
    let Some(tags) = call.header(header::IF_NONE_MATCH) else { return false };
    tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == "*" || tag == etag(digest))
}

pub(super) fn unchanged(digest: &Digest) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    name(&mut response, digest);
    response
}
