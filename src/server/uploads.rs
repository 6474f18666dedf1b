//! Uploads and mounts (distribution-spec, "Pushing blobs").

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures::TryStreamExt as _;

use super::Fault;
use super::blobs::CONTENT_DIGEST;
use super::dispatch::{Call, content_length};
use crate::auth::Permission;
use crate::oci::{ContentRange, Digest, ErrorCode, RepositoryName};
use crate::registry::uploads::Upload;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// What a chunk should have at least (distribution-spec 1.1, "Pushing a blob in chunks").
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// `/v2/<name>/blobs/uploads/`
pub async fn begin(call: &Call, name: &RepositoryName, body: Body) -> Result<Response, Fault> {
    if call.parts.method != Method::POST {
        return Err(Fault::method("POST"));
    }
    call.authorize(Permission::Push, name)?;
    if let Some(mounted) = mount(call, name).await? {
        return Ok(mounted);
    }
    if let Some(digest) = digest(call)? {
        let length = content_length(&call.parts.headers);
        let registry = call.server.registry();
        registry.put_blob(name, &digest, length, stream(body), &call.author()).await?;
        return Ok(created(name, &digest));
    }
    let upload = call.server.registry().begin_upload(name, &call.caller.identity.to_string()).await?;
    let mut response = accepted(StatusCode::ACCEPTED, name, &upload);
    if let Some(least) = call.server.registry().store().abilities().least_chunk {
        response.headers_mut().insert(CHUNK_MIN_LENGTH, least.into());
    }
    Ok(response)
}

/// A mount, where one is asked for and the caller may read the source; `None` makes an upload of it. An unreadable
/// source and a missing one look alike.
async fn mount(call: &Call, name: &RepositoryName) -> Result<Option<Response>, Fault> {
    let Some(digest) = call.query("mount") else { return Ok(None) };
    let digest: Digest = digest.parse().map_err(invalid_digest)?;
    if call.may_read_everything() {
        // Wherever it is: one POST then answers a replicator, whatever it remembers.
        let mounted = call.server.registry().mount_from_anywhere(name, &digest, &call.author()).await?;
        return Ok(mounted.then(|| created(name, &digest)));
    }
    let Some(from) = call.query("from") else { return Ok(None) };
    let Ok(from) = from.parse::<RepositoryName>() else { return Ok(None) };
    let readable = call.gate.authorize(&call.caller, Permission::Pull, &from).is_ok();
    let registry = call.server.registry();
    if readable && registry.mount(name, &from, &digest, &call.author()).await? {
        return Ok(Some(created(name, &digest)));
    }
    Ok(None)
}

/// `/v2/<name>/blobs/uploads/<id>`
pub async fn handle(call: &Call, name: &RepositoryName, id: &str, body: Body) -> Result<Response, Fault> {
    call.authorize(Permission::Push, name)?;
    let registry = call.server.registry();
    let upload = registry.upload(name, id, &call.caller.identity.to_string()).await?;
    match call.parts.method {
        Method::GET => {
            registry.keep(&upload).await?;
            Ok(accepted(StatusCode::NO_CONTENT, name, &upload))
        }
        Method::PATCH => {
            let (at, length) = place(call)?;
            let grown = registry.append(&upload, at, length, stream(body)).await?;
            Ok(accepted(StatusCode::ACCEPTED, name, &grown))
        }
        Method::PUT => {
            let digest = digest(call)?.ok_or_else(|| {
                Fault::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, "closing an upload needs `?digest=`")
            })?;
            let (at, length) = place(call)?;
            registry.close(&upload, at, length, stream(body), &digest, &call.author()).await?;
            Ok(created(name, &digest))
        }
        Method::DELETE => {
            registry.cancel(&upload).await?;
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        _ => Err(Fault::method("GET, PATCH, PUT, DELETE")),
    }
}

/// Where a chunk goes and how long it is, as its headers say.
fn place(call: &Call) -> Result<(Option<u64>, Option<u64>), Fault> {
    let length = content_length(&call.parts.headers);
    let Some(text) = call.header(header::CONTENT_RANGE) else { return Ok((None, length)) };
    let bad = |message: String| Fault::new(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, message);
    let range: ContentRange = text.parse().map_err(|error: crate::oci::Invalid| bad(error.to_string()))?;
    if length.is_some_and(|length| length != range.length()) {
        return Err(bad(format!("Content-Range {text} does not fit Content-Length")));
    }
    Ok((Some(range.start), Some(range.length())))
}

fn digest(call: &Call) -> Result<Option<Digest>, Fault> {
    call.query("digest").map(|text| text.parse().map_err(invalid_digest)).transpose()
}

fn invalid_digest(error: crate::oci::Invalid) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, error.to_string())
}

fn stream(body: Body) -> impl crate::registry::uploads::Body {
    body.into_data_stream().map_err(std::io::Error::other)
}

/// Path-absolute: containerd takes a bare relative path for a host.
fn accepted(status: StatusCode, name: &RepositoryName, upload: &Upload) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let values = [
        (header::LOCATION, format!("/v2/{name}/blobs/uploads/{}", upload.id())),
        (header::RANGE, format!("0-{}", upload.size().saturating_sub(1))),
        (UPLOAD_UUID, upload.id().to_owned()),
    ];
    headers.extend(values.into_iter().filter_map(|(key, value)| Some((key, HeaderValue::try_from(value).ok()?))));
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

fn created(name: &RepositoryName, digest: &Digest) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let values = [(header::LOCATION, format!("/v2/{name}/blobs/{digest}")), (CONTENT_DIGEST, digest.to_string())];
    let values = values.into_iter().filter_map(|(key, value)| Some((key, HeaderValue::try_from(value).ok()?)));
    response.headers_mut().extend(values);
    response
}
