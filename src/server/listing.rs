//! tags/list, _catalog and referrers.

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::dispatch::Call;
use super::{Fault, blobs, catalog, compress};
use crate::auth::{Identity, Permission};
use crate::oci::{Digest, ErrorCode, Invalid, MediaType, RepositoryName, Tag};
use crate::registry::referrers::Wanted;
use crate::registry::register::to_json;

/// The most names of one page, and how many there are where a client does not say.
const PAGE: usize = 1_000;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// distribution-spec, "Listing Tags".
#[derive(Serialize)]
struct Tags<'a> {
    name: &'a RepositoryName,
    tags: &'a [Tag],
}

/// `/v2/<name>/tags/list`
pub async fn tags(call: &Call, name: &RepositoryName) -> Result<Response, Fault> {
    get_only(call)?;
    call.authorize(Permission::List, name)?;
    let limit = limit(call)?;
    let last = call.query("last").filter(|last| !last.is_empty());
    let (tags, next) = call.server.registry().tags(name, last.as_deref(), limit).await?;
    let next = next.map(|last| format!("/v2/{name}/tags/list?n={limit}&last={last}"));
    Ok(page(call, Some(name), &Tags { name, tags: &tags }, next))
}

/// `/v2/_catalog`: what the caller may list, and nothing of what he may not.
pub async fn catalog(call: &Call) -> Result<Response, Fault> {
    get_only(call)?;
    let scope = "registry:catalog:*".to_owned();
    if call.caller.identity == Identity::Anonymous {
        return Err(Fault::unauthenticated(Some(scope)));
    }
    if call.caller.scope.as_ref().is_some_and(|granted| !granted.catalog) {
        return Err(Fault::insufficient_scope(scope));
    }
    let limit = limit(call)?;
    let last = call.query("last").filter(|last| !last.is_empty());
    let catalog::Page { names, next } = catalog::page(call, last.as_deref(), limit).await?;
    let next = next.map(|last| format!("/v2/_catalog?n={limit}&last={}", last.replace('/', "%2F")));
    Ok(page(call, None, &json!({ "repositories": names }), next))
}

/// `/v2/<name>/referrers/<digest>`: never 404.
pub async fn referrers(call: &Call, name: &RepositoryName, subject: &Digest) -> Result<Response, Fault> {
    get_only(call)?;
    call.authorize(Permission::Pull, name)?;
    let limit = limit(call)?;
    // A plus is a space in a query, and no media type has a space: whoever sent one meant the plus.
    let filter = call.query("artifactType").filter(|wanted| !wanted.is_empty()).map(|wanted| wanted.replace(' ', "+"));
    let last = last_digest(call)?;
    let (mut manifests, mut next) = (Vec::new(), None);
    if limit > 0 {
        let wanted = Wanted { last: last.as_ref(), artifact_type: filter.as_deref(), limit };
        let page = call.server.registry().referrers_page(name, subject, wanted).await?;
        manifests = page.referrers;
        next = page.next.map(|last| {
            let filter = filter.as_deref().map(encoded).map(|wanted| format!("&artifactType={wanted}"));
            format!("/v2/{name}/referrers/{subject}?n={limit}&last={last}{}", filter.unwrap_or_default())
        });
    }
    let body = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
    let mut response = page(call, Some(name), &body, next);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MediaType::OCI_INDEX));
    if filter.is_some() {
        headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

/// What a page of referrers begins after: it was in the Link that led here.
fn last_digest(call: &Call) -> Result<Option<Digest>, Fault> {
    let last = call.query("last").filter(|last| !last.is_empty());
    let bad = |error: Invalid| Fault::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, error.to_string());
    last.map(|last| last.parse().map_err(bad)).transpose()
}

fn encoded(text: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

pub(super) fn get_only(call: &Call) -> Result<(), Fault> {
    match call.parts.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Fault::method("GET, HEAD")),
    }
}

/// `n`, capped: CVE-2017-11468 and CVE-2023-2253 were a catalog that allocated whatever was asked for.
fn limit(call: &Call) -> Result<usize, Fault> {
    let Some(text) = call.query("n") else { return Ok(PAGE) };
    at_most(PAGE, &text).ok_or_else(|| {
        let message = format!("`n` must be a whole number, found `{}`", text.chars().take(40).collect::<String>());
        Fault::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
    })
}

/// A number in digits, of whatever length, or as much less as there may be.
fn at_most(most: usize, text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(most).min(most))
}

/// A page of a list in a repository, or of one that is the caller's own. It is to be asked for again each time, as a tag is.
fn page(call: &Call, of: Option<&RepositoryName>, body: &impl Serialize, next: Option<String>) -> Response {
    let mut response = compress::respond(&call.parts.headers, to_json(body));
    let headers = response.headers_mut();
    let caching = of.map_or("private, no-cache", |name| blobs::caching(call, name, false));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let link = next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok());
    headers.extend(link.map(|link| (header::LINK, link)));
    response
}

#[cfg(test)]
mod tests {
    use super::at_most;

    #[test]
    fn a_number_of_names_is_digits_and_no_more_than_there_may_be() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("007", Some(7)),
            ("1001", Some(1_000)),
            ("99999999999999999999999999", Some(1_000)),
            ("+5", None),
            ("-5", None),
            (" 5", None),
            ("", None),
            ("5x", None),
            ("٥", None),
        ] {
            assert_eq!(at_most(1_000, text), expected, "{text}");
        }
    }
}
