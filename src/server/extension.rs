//! Extensions as the distribution spec has them (`_<extension>/<component>/<module>`), and the list of them.
//!
//! `/v2/_regatta/replication/cursor/<edge>`: where an edge that ends here is in its source's journal. For replicators
//! only. It lies with the destination so that a source that was restored from a backup is noticed.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::Fault;
use super::dispatch::Call;
use super::listing;
use crate::admin::DestinationCursor;
use crate::auth::{Identity, Permission};
use crate::oci::{ErrorCode, RepositoryName};
use crate::registry::edges::is_edge_id;

/// A cursor has some hundred bytes an origin.
const LONGEST: usize = 1024 * 1024;

/// Says what answers, also where there is no cursor yet: a client then knows that it may keep one here, and that this
/// registry takes large blobs in parts and mounts without `from`.
const REGATTA_VERSION: HeaderName = HeaderName::from_static("regatta-version");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `_oci/ext/discover` (extensions/_oci.md): what is here beside the specification, for the whole registry to whoever
/// is logged in, for a repository to who may pull it.
pub fn discover(call: &Call, name: Option<&RepositoryName>) -> Result<Response, Fault> {
    listing::get_only(call)?;
    let mut extensions = vec![json!({
        "name": "_oci",
        "description": "lists the extensions",
        "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
        "endpoints": ["_oci/ext/discover"],
    })];
    match name {
        Some(name) => call.authorize(Permission::Pull, name)?,
        None if call.caller.identity == Identity::Anonymous => return Err(Fault::unauthenticated(None)),
        None => extensions.push(json!({
            "name": "_regatta",
            "description": "where replication into this registry stands; for replicators",
            "url": "https://regatta.dev/docs/reference/registry-api",
            "endpoints": ["_regatta/replication/cursor"],
        })),
    }
    let mut response = Response::new(Body::from(json!({ "extensions": extensions }).to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// GET and PUT of a cursor.
pub async fn cursor(call: &Call, edge: &str, body: Body) -> Result<Response, Fault> {
    match handle(call, edge, body).await {
        Ok(mut response) => {
            response.headers_mut().insert(REGATTA_VERSION, HeaderValue::from_static(VERSION));
            Ok(response)
        }
        Err(fault) => Err(fault.with_header(REGATTA_VERSION, VERSION)),
    }
}

async fn handle(call: &Call, edge: &str, body: Body) -> Result<Response, Fault> {
    match call.caller.identity {
        Identity::Replicator { .. } => {}
        Identity::Anonymous => return Err(Fault::unauthenticated(None)),
        Identity::User { .. } | Identity::Robot { .. } => return Err(Fault::denied()),
    }
    if !is_edge_id(edge) {
        return Err(Fault::no_route());
    }
    match call.parts.method {
        Method::GET => get(call, edge).await,
        Method::PUT => put(call, edge, body).await,
        _ => Err(Fault::method("GET, PUT")),
    }
}

async fn get(call: &Call, edge: &str) -> Result<Response, Fault> {
    let cursor = call.server.registry().edge_cursor(edge).await?.ok_or_else(Fault::no_route)?;
    let mut response = Response::new(Body::from(cursor));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn put(call: &Call, edge: &str, body: Body) -> Result<Response, Fault> {
    call.server.require_writable()?;
    let bad = |message: String| Fault::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message);
    let bytes = to_bytes(body, LONGEST).await.map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice::<DestinationCursor>(&bytes).map_err(|error| bad(error.to_string()))?;
    call.server.registry().put_edge_cursor(edge, bytes).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
