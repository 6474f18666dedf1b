//! Manifests: GET, HEAD, PUT and DELETE, by tag and by digest.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Fault;
use super::blobs::{CONTENT_DIGEST, content, is_unchanged, name as name_content, unchanged};
use super::dispatch::{Call, content_length};
use crate::auth::Permission;
use crate::oci::{ErrorCode, MediaType, Reference, RepositoryName};
use crate::registry::RegistryError;
use crate::registry::manifests::{Incoming, Stored};

/// The longest manifest that is taken, in bytes: the least that the specification lets a registry have.
const LONGEST: usize = 4 * 1024 * 1024;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// `/v2/<name>/manifests/<reference>`
pub async fn handle(call: Call, name: RepositoryName, reference: Reference, body: Body) -> Result<Response, Fault> {
    match call.parts.method {
        Method::GET => get(&call, &name, &reference).await,
        Method::HEAD => {
            call.authorize(Permission::Pull, &name)?;
            let stored = call.server.registry().manifest(&name, &reference).await?;
            let mut response = Response::new(Body::empty());
            describe(&mut response, &stored, &reference);
            Ok(response)
        }
        Method::PUT => {
            call.authorize(Permission::Push, &name)?;
            let bytes = read(&call, body).await?;
            // Once all bytes are here the work is finished, whether or not the client waits for it.
            let put = tokio::spawn(async move { put(&call, &name, &reference, bytes).await });
            put.await.map_err(|error| Fault::unknown(&error))?
        }
        Method::DELETE => delete(&call, &name, &reference).await,
        _ => Err(Fault::method("GET, HEAD, PUT, DELETE")),
    }
}

async fn get(call: &Call, name: &RepositoryName, reference: &Reference) -> Result<Response, Fault> {
    call.authorize(Permission::Pull, name)?;
    let (stored, object) = call.server.registry().open_manifest(name, reference).await?;
    if is_unchanged(call, &stored.digest) {
        return Ok(unchanged(&stored.digest));
    }
    let size = object.meta.size;
    let mut response = Response::new(content(call, object, 0, size));
    describe(&mut response, &stored, reference);
    Ok(response)
}

fn describe(response: &mut Response, stored: &Stored, reference: &Reference) {
    let cache = match reference {
        Reference::Digest(_) => "private, max-age=31536000, immutable",
        Reference::Tag(_) => "private, no-cache",
    };
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(stored.media_type.as_str()).ok().map(|value| (header::CONTENT_TYPE, value)));
    headers.insert(header::CONTENT_LENGTH, stored.size.into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    name_content(response, &stored.digest);
}

async fn read(call: &Call, body: Body) -> Result<Bytes, Fault> {
    let too_long = || {
        let message = format!("a manifest may have {LONGEST} bytes");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
    };
    if content_length(&call.parts.headers).is_some_and(|length| length > LONGEST as u64) {
        return Err(too_long());
    }
    match Limited::new(body, LONGEST).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
        Err(error) => Err(RegistryError::Body(std::io::Error::other(error)).into()),
    }
}

async fn put(call: &Call, name: &RepositoryName, reference: &Reference, bytes: Bytes) -> Result<Response, Fault> {
    let content_type = call
        .header(header::CONTENT_TYPE)
        .map(str::parse::<MediaType>)
        .transpose()
        .map_err(|error| Fault::new(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, error.to_string()))?;
    let incoming = Incoming::new(name, reference, content_type.as_ref(), bytes)?;
    call.server.registry().put_manifest(&incoming, &call.author()).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let subject = incoming.manifest.subject.as_ref().map(|subject| (SUBJECT, subject.digest.to_string()));
    let values = [
        (header::LOCATION, format!("/v2/{name}/manifests/{}", incoming.digest)),
        (CONTENT_DIGEST, incoming.digest.to_string()),
    ];
    let values = values.into_iter().chain(subject);
    response.headers_mut().extend(values.filter_map(|(key, value)| Some((key, HeaderValue::try_from(value).ok()?))));
    Ok(response)
}

async fn delete(call: &Call, name: &RepositoryName, reference: &Reference) -> Result<Response, Fault> {
    call.authorize(Permission::Delete, name)?;
    let (registry, author) = (call.server.registry(), call.author());
    match reference {
        Reference::Tag(tag) => registry.delete_tag(name, tag, &author).await?,
        Reference::Digest(digest) => registry.delete_manifest(name, digest, &author).await?,
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
