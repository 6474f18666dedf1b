//! The admin API: what the operator and the replicator say to a registry, on its internal port only.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::documents::Refused;
use super::fault::chain;
use super::{Server, dispatch, journal};
use crate::admin::{
    AUTHORIZATION_HEADER, CollectionSummary, EdgeStatus, EdgesDocument, Problem, ProblemCode, SignedDocument,
    StoreState, Term, TermRequest, token,
};
use crate::auth::Identity;
use crate::registry::RegistryError;
use crate::registry::edges::is_edge_id;
use crate::registry::runs::is_run_name;

/// The longest that a long poll waits.
const LONGEST_WAIT: Duration = Duration::from_secs(55);

/// How often a long poll looks by itself: what another pod wrote rings no bell here.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The router of the internal listener. Everything else is `/v2/` as clients see it, with Basic challenges.
pub fn router(server: Server) -> Router {
    Router::new()
        .route("/admin/v1/store", get(store))
        .route("/admin/v1/access", get(access).put(put_access))
        .route("/admin/v1/terms", post(terms))
        .route("/admin/v1/edges", get(edges).put(put_edges))
        .route("/admin/v1/edges/status", get(edge_statuses))
        .route("/admin/v1/edges/{id}/status", put(put_edge_status))
        .route("/admin/v1/runs/{name}", get(run))
        .route("/admin/v1/journal", get(journal::read))
        .fallback(dispatch::serve_internally)
        .with_state(server)
}

/// Waiting, in a query.
#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    /// Seconds.
    #[serde(default)]
    wait: u64,
    #[serde(default)]
    after: u64,
}

/// Why a request of the admin API is refused.
#[derive(Debug)]
pub(super) struct Refusal(Problem);

impl Refusal {
    pub(super) fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self(Problem { code, message: message.into(), access: None })
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            ProblemCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ProblemCode::Forbidden => StatusCode::FORBIDDEN,
            ProblemCode::GenerationMismatch => StatusCode::PRECONDITION_FAILED,
            ProblemCode::StaleTerm | ProblemCode::StoreOwnedByAnother => StatusCode::CONFLICT,
            ProblemCode::Invalid => StatusCode::BAD_REQUEST,
            ProblemCode::NotFound => StatusCode::NOT_FOUND,
            ProblemCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, axum::Json(self.0)).into_response()
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        tracing::error!(error = %chain(&error), "an admin request failed");
        Self::new(ProblemCode::Unavailable, error.to_string())
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Problem(problem) => Self(problem),
            Refused::Registry(error) => error.into(),
        }
    }
}

type Answer = Result<Response, Refusal>;

impl Server {
    /// The operator's token, bound to this registry and this body.
    fn require_operator(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
        let value = headers.get(AUTHORIZATION_HEADER).and_then(|value| value.to_str().ok());
        let refuse = |why: String| Refusal::new(ProblemCode::Unauthorized, why);
        let value = value.ok_or_else(|| refuse(format!("the header {AUTHORIZATION_HEADER} is missing")))?;
        token::verify(&self.gate().keys, self.audience(), value, body).map_err(|error| refuse(error.to_string()))
    }

    /// The operator's token, or a replicator's password.
    pub(super) async fn require_operator_or_replicator(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
        if headers.contains_key(AUTHORIZATION_HEADER) {
            return self.require_operator(headers, body);
        }
        // Within the cluster nobody is told from another by his address.
        let caller = self.gate().authenticate(headers, IpAddr::V4(Ipv4Addr::UNSPECIFIED)).await;
        match caller.inspect_err(|fault| fault.log(None)).map(|caller| caller.identity) {
            Ok(Identity::Replicator { .. }) => Ok(()),
            Ok(Identity::Anonymous) | Err(_) => {
                Err(Refusal::new(ProblemCode::Unauthorized, "credentials of a replicator are needed"))
            }
            Ok(Identity::User { .. } | Identity::Robot { .. }) => {
                Err(Refusal::new(ProblemCode::Forbidden, "only the operator and replicators may do this"))
            }
        }
    }
}

pub(super) fn respond(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(ProblemCode::Invalid, error.to_string()))
}

/// `If-Match: "G"`
fn expected(headers: &HeaderMap) -> Result<u64, Refusal> {
    let text = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bad = || Refusal::new(ProblemCode::Invalid, "If-Match must be the newest generation, as in \"7\"");
    text.trim_matches('"').parse().map_err(|_| bad())
}

async fn store(State(server): State<Server>, headers: HeaderMap) -> Answer {
    server.require_operator_or_replicator(&headers, b"").await?;
    let registry = server.registry();
    let now = registry.clock().now_millis();
    Ok(respond(&StoreState {
        identity: registry.identity().identity.clone(),
        format: registry.identity().format,
        read_only: crate::registry::hold::is_held(registry.store(), now).await?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        staleness_seconds: registry.store().staleness().map(|late| late.as_secs()),
    }))
}

async fn access(State(server): State<Server>, headers: HeaderMap) -> Answer {
    server.require_operator(&headers, b"")?;
    Ok(respond(&server.access_state().await?))
}

async fn put_access(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Answer {
    server.require_operator(&headers, &body)?;
    let signed: SignedDocument = parse(&body)?;
    Ok(respond(&server.put_access(signed, expected(&headers)?).await?))
}

async fn terms(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Answer {
    server.require_operator(&headers, &body)?;
    let request: TermRequest = parse(&body)?;
    Ok(respond(&Term { term: server.registry().take_term(&request.holder).await? }))
}

impl Server {
    async fn edges_document(&self) -> Result<EdgesDocument, Refusal> {
        match self.registry().edges_document().await? {
            Some(newest) => Ok(EdgesDocument { generation: newest.number, ..parse(&newest.value)? }),
            None => Ok(EdgesDocument::default()),
        }
    }
}

async fn edges(State(server): State<Server>, Query(query): Query<Wait>, headers: HeaderMap) -> Answer {
    server.require_operator_or_replicator(&headers, b"").await?;
    let deadline = Instant::now() + Duration::from_secs(query.wait).min(LONGEST_WAIT);
    loop {
        let changed = server.inner.edges_changed.notified();
        let document = server.edges_document().await?;
        if document.generation > query.after || Instant::now() >= deadline || server.is_draining() {
            return Ok(respond(&document));
        }
        // Rung, or time to look by ourselves: both go round the loop.
        let _ = tokio::time::timeout(LOOK_EVERY.min(deadline - Instant::now()), changed).await;
    }
}

async fn put_edges(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Answer {
    server.require_operator(&headers, &body)?;
    let document: EdgesDocument = parse(&body)?;
    let expected = expected(&headers)?;
    if document.generation != expected + 1 {
        return Err(Refusal::new(ProblemCode::Invalid, "the document's generation is not the one behind If-Match"));
    }
    if let Some(edge) = document.edges.iter().find(|edge| !is_edge_id(&edge.id)) {
        return Err(Refusal::new(ProblemCode::Invalid, format!("`{}` cannot be the id of an edge", edge.id)));
    }
    if document.term < server.registry().term().await? {
        return Err(Refusal::new(ProblemCode::StaleTerm, "a later operator has a greater term"));
    }
    let newest = server.edges_document().await?.generation;
    let mismatch =
        || Refusal::new(ProblemCode::GenerationMismatch, "another document of edges is newer; read it first");
    if newest != expected && newest != document.generation {
        return Err(mismatch());
    }
    if !server.registry().put_edges_document(document.generation, body).await? {
        return Err(mismatch());
    }
    server.inner.edges_changed.notify_waiters();
    Ok(respond(&document))
}

async fn edge_statuses(State(server): State<Server>, headers: HeaderMap) -> Answer {
    server.require_operator_or_replicator(&headers, b"").await?;
    let document = server.edges_document().await?;
    let kept = server.registry().edge_statuses().await?;
    // Of an edge that is gone nobody asks any more.
    let runs = |id: &str| document.edges.iter().any(|edge| edge.id == id);
    let statuses: Vec<EdgeStatus> =
        kept.iter().filter(|(id, _)| runs(id)).filter_map(|(id, bytes)| readable(id, bytes)).collect();
    Ok(respond(&statuses))
}

/// One that cannot be read, of a later release perhaps, keeps nobody from reading the others.
fn readable(id: &str, bytes: &[u8]) -> Option<EdgeStatus> {
    let read = serde_json::from_slice(bytes);
    read.inspect_err(|error| tracing::warn!(edge = id, %error, "what an edge reported cannot be read")).ok()
}

async fn put_edge_status(
    State(server): State<Server>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    server.require_operator_or_replicator(&headers, &body).await?;
    let status: EdgeStatus = parse(&body)?;
    if !is_edge_id(&id) || status.id != id {
        return Err(Refusal::new(ProblemCode::Invalid, "the status is of another edge"));
    }
    server.registry().put_edge_status(&id, body).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn run(State(server): State<Server>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    server.require_operator(&headers, b"")?;
    let kept = if is_run_name(&name) { server.registry().run(&name).await? } else { None };
    let unknown = || Refusal::new(ProblemCode::NotFound, format!("nothing is known of a run `{name}`"));
    let summary: CollectionSummary = parse(&kept.ok_or_else(unknown)?)?;
    Ok(respond(&summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_cannot_be_read_is_left_out() {
        let report =
            br#"{"id":"e","policyGeneration":1,"state":"Idle","lagSeconds":0,"pending":0,"inFlight":0,"failed":0}"#;
        assert_eq!(readable("e", report).map(|status| status.id), Some("e".to_owned()));
        assert_eq!(readable("e", br#"{"id":"e","state":"Dreaming"}"#), None);
    }
}
