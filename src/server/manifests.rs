//! Manifests: GET, HEAD, PUT and DELETE, by tag and by digest.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::Fault;
use super::blobs::{CONTENT_DIGEST, caching, content, is_unchanged, name_content, unchanged};
use super::dispatch::{Call, content_length, query_values};
use super::room::Held;
use crate::auth::Permission;
use crate::oci::{ErrorCode, Invalid, Manifest, ManifestError, MediaType, Reference, RepositoryName, Tag};
use crate::registry::RegistryError;
use crate::registry::manifests::{Incoming, Stored};

/// The most tags that one PUT sets.
const MOST_TAGS: usize = 100;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// What a browser may do with what it shows: nothing.
const NOTHING_RUNS: &str = "default-src 'none'; sandbox";

/// `/v2/<name>/manifests/<reference>`
pub async fn handle(call: Call, name: RepositoryName, reference: Reference, body: Body) -> Result<Response, Fault> {
    match call.parts.method {
        Method::GET => get(&call, &name, &reference).await,
        Method::HEAD => {
            call.authorize(Permission::Pull, &name)?;
            let stored = call.server.registry().manifest(&name, &reference).await?;
            let unchanged = is_unchanged(&call, &stored.digest).then(unchanged);
            let mut response = unchanged.unwrap_or_else(|| Response::new(Body::empty()));
            describe(&call, &mut response, &name, &stored, &reference);
            Ok(response)
        }
        Method::PUT => {
            call.authorize(Permission::Push, &name)?;
            require_unconditional(&call)?;
            let tags = tags(&call, &reference)?;
            let held = call.server.inner.room.read(content_length(&call.parts.headers), body).await?;
            let turn = call.server.inner.room.turn(&held).await?;
            // It may have become another's turn to write while they came.
            call.server.require_writable()?;
            // Once all bytes are here the work is finished, whether or not the client waits for it.
            let put = tokio::spawn(async move {
                let _turn = turn;
                put(&call, &name, &reference, tags, held).await
            });
            put.await.map_err(|error| Fault::unknown(&error))?
        }
        Method::DELETE => delete(&call, &name, &reference).await,
        _ => Err(Fault::method("GET, HEAD, PUT, DELETE")),
    }
}

async fn get(call: &Call, name: &RepositoryName, reference: &Reference) -> Result<Response, Fault> {
    call.authorize(Permission::Pull, name)?;
    let (stored, object) = call.server.registry().open_manifest(name, reference).await?;
    let size = object.meta.size;
    let unchanged = is_unchanged(call, &stored.digest).then(unchanged);
    let mut response = unchanged.unwrap_or_else(|| content(call, object, 0, size));
    describe(call, &mut response, name, &stored, reference);
    Ok(response)
}

fn describe(call: &Call, response: &mut Response, name: &RepositoryName, stored: &Stored, reference: &Reference) {
    let by_digest = matches!(reference, Reference::Digest(_));
    let is_whole = response.status() == StatusCode::OK;
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(stored.media_type.as_str()).ok().map(|value| (header::CONTENT_TYPE, value)));
    if is_whole {
        headers.insert(header::CONTENT_LENGTH, stored.size.into());
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching(call, name, by_digest)));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Its type is what whoever pushed it says, and this is where people's passwords go.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING_RUNS));
    name_content(response, &stored.digest);
}

/// Preconditions of writes (RFC 9110, section 13.1) are not evaluated, so that a request that has one is refused: it would
/// be done whether or not it held.
fn require_unconditional(call: &Call) -> Result<(), Fault> {
    const PRECONDITIONS: [HeaderName; 3] = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
    let Some(given) = PRECONDITIONS.into_iter().find(|name| call.parts.headers.contains_key(name)) else {
        return Ok(());
    };
    let message = format!("a manifest is not put or deleted under a condition: send the request without `{given}`");
    Err(Fault::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message))
}

/// The tags of `?tag=a&tag=b`, where a manifest is put by digest; with a tag they would be ignored in silence.
fn tags(call: &Call, reference: &Reference) -> Result<Vec<Tag>, Fault> {
    let tags = query_values(&call.parts, "tag");
    if matches!(reference, Reference::Tag(_)) {
        if tags.is_empty() {
            return Ok(Vec::new());
        }
        let message = "`tag` goes with a manifest that is put by digest";
        return Err(Fault::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message));
    }
    if tags.len() > MOST_TAGS {
        let message = format!("one request may set {MOST_TAGS} tags");
        return Err(Fault::new(StatusCode::URI_TOO_LONG, ErrorCode::Unsupported, message));
    }
    let bad = |error: Invalid| Fault::new(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, error.to_string());
    tags.iter().map(|tag| tag.parse().map_err(bad)).collect()
}

async fn put(
    call: &Call,
    name: &RepositoryName,
    reference: &Reference,
    tags: Vec<Tag>,
    held: Held,
) -> Result<Response, Fault> {
    let asked = !tags.is_empty();
    let content_type = call
        .header(header::CONTENT_TYPE)
        .map(str::parse::<MediaType>)
        .transpose()
        .map_err(|error| Fault::new(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, error.to_string()))?;
    let (large, bytes) = (held.is_large(), held.bytes.clone());
    let parse = move || {
        let manifest = Manifest::parse(content_type.as_ref(), &bytes)?;
        manifest.require_pushable(&bytes)?;
        Ok::<_, ManifestError>(manifest)
    };
    let manifest =
        if large { tokio::task::spawn_blocking(parse).await.map_err(|error| Fault::unknown(&error))? } else { parse() };
    let incoming = Incoming::of(name, reference, manifest.map_err(RegistryError::from)?, held.bytes.clone())?;
    let incoming = incoming.with_tags(tags).sparse(call.server.settings().sparse);
    call.server.registry().put_manifest(&incoming, &call.author()).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let subject = incoming.manifest.subject.as_ref().map(|subject| (SUBJECT, subject.digest.to_string()));
    let values = [
        (header::LOCATION, format!("/v2/{name}/manifests/{}", incoming.digest)),
        (CONTENT_DIGEST, incoming.digest.to_string()),
    ];
    let set = asked.then(|| incoming.tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", "));
    let values = values.into_iter().chain(subject).chain(set.map(|set| (TAG, set)));
    response.headers_mut().extend(values.filter_map(|(key, value)| Some((key, HeaderValue::try_from(value).ok()?))));
    Ok(response)
}

async fn delete(call: &Call, name: &RepositoryName, reference: &Reference) -> Result<Response, Fault> {
    call.authorize(Permission::Delete, name)?;
    require_unconditional(call)?;
    let (registry, author) = (call.server.registry(), call.author());
    match reference {
        Reference::Tag(tag) => registry.delete_tag(name, tag, &author).await?,
        Reference::Digest(digest) => registry.delete_manifest(name, digest, &author).await?,
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
