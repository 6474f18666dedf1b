//! Uploads and mounts (distribution-spec, "Pushing blobs").

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures::TryStreamExt as _;

use super::blobs::CONTENT_DIGEST;
use super::dispatch::{Call, content_length};
use super::{Fault, inbound, mounts};
use crate::auth::Permission;
use crate::oci::{Algorithm, ContentRange, Digest, ErrorCode, RepositoryName};
use crate::registry::RegistryError;
use crate::registry::uploads::Upload;

/// How many blobs in one request each an identity may send at a time, for each upload that it may have open: they end with
/// their requests, and slow ones must not keep the others of their identity from pushing.
const WHOLE: usize = 4;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// What a chunk should have at least (distribution-spec 1.1, "Pushing a blob in chunks").
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// `/v2/<name>/blobs/uploads/`
pub async fn begin(call: &Call, name: &RepositoryName, body: Body) -> Result<Response, Fault> {
    if call.parts.method != Method::POST {
        return Err(Fault::method("POST"));
    }
    let allowed = call.authorize(Permission::Push, name);
    allowed.map_err(|fault| fault.also_asking(mounts::scope_of_source(call)))?;
    if let Some(mounted) = mounts::mount(call, name).await? {
        return Ok(mounted);
    }
    let (registry, open) = (call.server.registry(), &call.server.inner.open_uploads);
    let (actor, most) = (call.caller.identity.to_string(), call.server.settings().limits.open_uploads);
    if let Some(digest) = digest(call)? {
        let _coming = open.admit_whole(&actor, most.saturating_mul(WHOLE))?;
        let length = content_length(&call.parts.headers);
        registry.put_blob(name, &digest, length, stream(body), &call.author()).await?;
        return Ok(created(name, &digest));
    }
    let algorithm = algorithm(call)?;
    open.admit(registry, &actor, most).await?;
    let upload = registry.begin_upload_for(name, &actor, algorithm).await?;
    open.began(&actor, upload.id());
    let mut response = accepted(StatusCode::ACCEPTED, name, &upload);
    let least = registry.store().abilities().least_chunk;
    response.headers_mut().extend(least.map(|least| (CHUNK_MIN_LENGTH, HeaderValue::from(least))));
    Ok(response)
}

/// What the blob's digest will be by (distribution-spec, end-4c).
fn algorithm(call: &Call) -> Result<Algorithm, Fault> {
    call.query("digest-algorithm").map_or(Ok(Algorithm::Sha256), |text| text.parse().map_err(invalid_digest))
}

/// `/v2/<name>/blobs/uploads/<id>`
pub async fn handle(call: &Call, name: &RepositoryName, id: &str, body: Body) -> Result<Response, Fault> {
    call.authorize(Permission::Push, name)?;
    let registry = call.server.registry();
    let actor = call.caller.identity.to_string();
    let upload = registry.upload(name, id, &actor).await?;
    let fault = |error: RegistryError| located(error, name, &upload);
    match call.parts.method {
        Method::GET => {
            registry.keep(&upload).await?;
            Ok(accepted(StatusCode::NO_CONTENT, name, &upload))
        }
        Method::PATCH => {
            let (at, length) = place(call)?;
            let grown = registry.append(&upload, at, length, stream(body)).await.map_err(fault)?;
            Ok(accepted(StatusCode::ACCEPTED, name, &grown))
        }
        Method::PUT => {
            let digest = digest(call)?.ok_or_else(|| {
                Fault::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, "closing an upload needs `?digest=`")
            })?;
            let (at, length) = place(call)?;
            registry.close(&upload, at, length, stream(body), &digest, &call.author()).await.map_err(fault)?;
            call.server.inner.open_uploads.ended(&actor, id);
            Ok(created(name, &digest))
        }
        Method::DELETE => {
            registry.cancel(&upload).await?;
            call.server.inner.open_uploads.ended(&actor, id);
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        _ => Err(Fault::method("GET, PATCH, PUT, DELETE")),
    }
}

/// 416 says where the upload goes on, and at which byte.
fn located(error: RegistryError, name: &RepositoryName, upload: &Upload) -> Fault {
    let offset = match &error {
        RegistryError::UploadRange { expected } => Some(*expected),
        _ => None,
    };
    let fault = Fault::from(error);
    let Some(offset) = offset else { return fault };
    fault
        .with_detail(serde_json::json!({ "offset": offset }))
        .with_header(header::LOCATION, location(name, upload))
        .with_header(UPLOAD_UUID, upload.id())
}

fn location(name: &RepositoryName, upload: &Upload) -> String {
    format!("/v2/{name}/blobs/uploads/{}", upload.id())
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

pub(super) fn invalid_digest(error: crate::oci::Invalid) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, error.to_string())
}

fn stream(body: Body) -> impl crate::registry::uploads::Body {
    body.into_data_stream().map_err(inbound::broken)
}

/// Path-absolute: containerd takes a bare relative path for a host.
fn accepted(status: StatusCode, name: &RepositoryName, upload: &Upload) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let values = [
        (header::LOCATION, location(name, upload)),
        (header::RANGE, format!("0-{}", upload.size().saturating_sub(1))),
        (UPLOAD_UUID, upload.id().to_owned()),
    ];
    headers.extend(values.into_iter().filter_map(|(key, value)| Some((key, HeaderValue::try_from(value).ok()?))));
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

pub(super) fn created(name: &RepositoryName, digest: &Digest) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let values = [(header::LOCATION, format!("/v2/{name}/blobs/{digest}")), (CONTENT_DIGEST, digest.to_string())];
    let values = values.into_iter().filter_map(|(key, value)| Some((key, HeaderValue::try_from(value).ok()?)));
    response.headers_mut().extend(values);
    response
}
