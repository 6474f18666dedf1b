//! Blobs: GET, HEAD with ranges and conditions (distribution-spec, "Pulling blobs"; RFC 9110, sections 13 and 14); DELETE.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::Response;

use super::access_log::InPieces;
use super::connection::Connection;
use super::dispatch::Call;
use super::{Fault, ranges};
use crate::auth::Permission;
use crate::oci::{ByteRanges, Digest, ErrorCode, RangeError, RepositoryName};
use crate::store::Object;

pub(super) const CONTENT_DIGEST: header::HeaderName = header::HeaderName::from_static("docker-content-digest");

/// `/v2/<name>/blobs/<digest>`
pub async fn handle(call: &Call, name: &RepositoryName, digest: &Digest) -> Result<Response, Fault> {
    match call.parts.method {
        Method::GET => {
            call.authorize(Permission::Pull, name)?;
            let registry = call.server.registry();
            if is_unchanged(call, digest) {
                // Who has it keeps it as long as he may read it here: nothing of it need be read.
                registry.open_blob_in_part(name, digest).await?;
                let mut response = unchanged();
                describe(call, &mut response, name, digest);
                return Ok(response);
            }
            if registry.store().abilities().redirects
                && let Some(url) = registry.blob_url(name, digest).await?
            {
                return Ok(redirect(digest, &url));
            }
            let object = match range(call, digest) {
                Some(_) => registry.open_blob_in_part(name, digest).await?,
                None => registry.open_blob(name, digest).await?,
            };
            get(call, name, digest, object)
        }
        Method::HEAD => {
            call.authorize(Permission::Pull, name)?;
            let meta = call.server.registry().blob(name, digest).await?;
            let mut response = if is_unchanged(call, digest) { unchanged() } else { Response::new(Body::empty()) };
            describe(call, &mut response, name, digest);
            if response.status() == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
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

fn get(call: &Call, name: &RepositoryName, digest: &Digest, object: Object) -> Result<Response, Fault> {
    let mut response = partial(call, digest, object)?;
    let multipart = response.headers_mut().remove(header::CONTENT_TYPE);
    describe(call, &mut response, name, digest);
    if let Some(kind) = multipart {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

/// The ranges that are asked for. If-Range with anything but this very content asks for the whole; a weak tag never matches
/// (RFC 9110, 13.1.5).
fn range<'a>(call: &'a Call, digest: &Digest) -> Option<&'a str> {
    let same = call.header(header::IF_RANGE).is_none_or(|tag| tag == etag(digest));
    call.header(header::RANGE).filter(|_| same)
}

fn partial(call: &Call, digest: &Digest, object: Object) -> Result<Response, Fault> {
    let size = object.meta.size;
    // Nothing of an empty blob can be left out.
    let wanted = range(call, digest).filter(|_| size > 0);
    match wanted.map(|wanted| ByteRanges::resolve(wanted, size)) {
        Some(Ok(ranges)) => match ranges.as_slice() {
            [range] => {
                let mut response = content(call, object, range.start, range.length());
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let value = format!("bytes {}-{}/{size}", range.start, range.end);
                response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|v| (header::CONTENT_RANGE, v)));
                Ok(response)
            }
            several => Ok(ranges::multipart(object, several)),
        },
        Some(Err(RangeError::Unsatisfiable)) => Err(Fault::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            ErrorCode::SizeInvalid,
            format!("the blob has {size} bytes"),
        )
        .with_header(header::CONTENT_RANGE, format!("bytes */{size}"))),
        Some(Err(error @ RangeError::Refused)) => {
            Err(Fault::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, error.to_string()))
        }
        Some(Err(RangeError::Ignored)) | None => Ok(content(call, object, 0, size)),
    }
}

/// An answer of the bytes `start .. start + length`: what is at hand at once, what is in a file by way of the
/// connection's spans where that is possible.
pub(super) fn content(call: &Call, object: Object, start: u64, length: u64) -> Response {
    let mut response = match object.at_hand(start, length) {
        Some(bytes) => Response::new(Body::from(bytes)),
        None => in_pieces(call, object, start, length),
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

fn in_pieces(call: &Call, object: Object, start: u64, length: u64) -> Response {
    let connection = call.parts.extensions.get::<Connection>();
    let spans = connection.and_then(|connection| connection.spans.as_ref());
    let pieces = InPieces::default();
    let body = match (object.local_file(), spans.filter(|_| call.parts.version <= Version::HTTP_11)) {
        (Some(file), Some(spans)) => spans.body(file.clone(), start, length, pieces.clone()),
        (Some(_) | None, _) => Body::from_stream(object.stream(start, length)),
    };
    let mut response = Response::new(body);
    response.extensions_mut().insert(pieces);
    response
}

/// To where the store itself serves the bytes: for GET only, and only where that is configured.
fn redirect(digest: &Digest, url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().extend(HeaderValue::try_from(url).ok().map(|url| (header::LOCATION, url)));
    // The URL is good for minutes, and for whoever has it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    name_content(&mut response, digest);
    response
}

fn describe(call: &Call, response: &mut Response, name: &RepositoryName, digest: &Digest) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching(call, name, true)));
    name_content(response, digest);
}

/// Who may keep an answer and how long. What is addressed by digest never changes; caches that many share keep only what
/// everybody may read.
pub(super) fn caching(call: &Call, name: &RepositoryName, by_digest: bool) -> &'static str {
    match (call.gate.is_public(name), by_digest) {
        (true, true) => "public, max-age=31536000, immutable",
        (true, false) => "public, no-cache",
        (false, true) => "private, max-age=31536000, immutable",
        (false, false) => "private, no-cache",
    }
}

/// The digest, as Docker's header and as an entity tag.
pub(super) fn name_content(response: &mut Response, digest: &Digest) {
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(digest.as_str()).ok().map(|value| (CONTENT_DIGEST, value)));
    headers.extend(HeaderValue::try_from(etag(digest)).ok().map(|value| (header::ETAG, value)));
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether the client has this very content already (RFC 9110, section 13.1.2).
pub(super) fn is_unchanged(call: &Call, digest: &Digest) -> bool {
    let lines = call.parts.headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag == etag(digest))
}

/// 304, to be described as the 200 would be.
pub(super) fn unchanged() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}
