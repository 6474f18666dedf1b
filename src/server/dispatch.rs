//! One request: route, caller, right, handler, answer; and what is logged and counted of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use axum::response::Response;
use tracing::Instrument as _;

use super::access_log::{Line, Stage};
use super::connection::Connection;
use super::fault::{Challenge, Fault};
use super::gate::{Caller, Gate};
use super::metrics::Flight;
use super::route::{Route, RouteError};
use super::{Server, blobs, extension, inbound, limits, listing, manifests, token, trace, uploads};
use crate::auth::{Identity, Permission};
use crate::oci::{ErrorCode, RepositoryName};
use crate::registry::{Author, Cause};

/// `registry/2.0`: old clients look for it.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How a listener asks for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Clients: a token is to be fetched.
    Serving,
    /// The cluster's inside: a password is to be sent.
    Internal,
}

/// What a handler gets.
pub struct Call {
    /// The server.
    pub server: Server,
    /// Who may do what, as of this request.
    pub gate: std::sync::Arc<Gate>,
    /// Who is asking.
    pub caller: Caller,
    /// The request without its body.
    pub parts: Parts,
}

impl Call {
    /// Lets the caller do this, or not.
    pub fn authorize(&self, permission: Permission, repository: &RepositoryName) -> Result<(), Fault> {
        self.gate.authorize(&self.caller, permission, repository)?;
        match permission {
            Permission::Push | Permission::Delete => self.server.require_writable(),
            Permission::Pull | Permission::List => Ok(()),
        }
    }

    /// Who writes, for the history.
    pub fn author(&self) -> Author {
        let cause = match self.caller.identity {
            Identity::Replicator { .. } => Cause::Replication,
            Identity::Anonymous | Identity::User { .. } | Identity::Robot { .. } => Cause::Client,
        };
        Author { actor: self.caller.identity.to_string(), cause }
    }

    /// Whether every repository is the caller's to read: an admin's or a replicator's password, not a token.
    pub fn may_read_everything(&self) -> bool {
        let everything = matches!(self.caller.identity, Identity::Replicator { .. })
            || self.gate.access().admins.contains(&self.caller.identity);
        everything && self.caller.scope.is_none()
    }

    /// A header, if it is there and text.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The value of a query parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        query_values(&self.parts, name).into_iter().next()
    }
}

/// All values of a query parameter.
pub fn query_values(parts: &Parts, name: &str) -> Vec<String> {
    form_values(parts.uri.query().unwrap_or_default(), name)
}

/// All values of a parameter in a form or query.
pub fn form_values(form: &str, name: &str) -> Vec<String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = form.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| decode(key) == name).map(|(_, value)| decode(value)).collect()
}

/// Serves clients.
pub async fn serve(State(server): State<Server>, request: Request) -> Response {
    answer(server, Endpoint::Serving, request).await
}

/// Serves `/v2/` on the internal listener.
pub async fn serve_internally(State(server): State<Server>, request: Request) -> Response {
    answer(server, Endpoint::Internal, request).await
}

async fn answer(server: Server, endpoint: Endpoint, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bounds = server.settings().limits;
    let (body, rest) = inbound::watch(&parts.headers, body, &bounds);
    let connection = parts.extensions.get::<Connection>().cloned();
    let route = Route::parse(parts.uri.path());
    let class = route.as_ref().map_or("unknown", Route::class);
    let mut line = line(&server, class, &parts, connection.as_ref(), rest);
    let (host, version) = (parts.headers.get(header::HOST).cloned(), parts.version);
    let span = trace::span(&parts, class, &line.id);
    let head = limits::check_head(&parts.uri, &parts.headers);
    let handled = match (head.and_then(|()| limits::check_host(version, &parts.headers)), route) {
        (Err(fault), _) => Err(fault),
        (Ok(()), Ok(route)) => {
            handle(server.clone(), route, parts, body, (line.client, &line.identity)).instrument(span.clone()).await
        }
        (Ok(()), Err(error)) => Err(invalid_route(&error, &line.method)),
    };
    let realm = |challenge: &Challenge| {
        // HTTP/2 has no Host but an authority.
        let host = host.as_ref().and_then(|host| host.to_str().ok());
        server.challenge(endpoint, host.or(line.uri.authority().map(Authority::as_str)), challenge)
    };
    let mut response = handled.unwrap_or_else(|fault| fault.into_response(&line.id, &realm));
    trace::answered(&span, response.status());
    line.decided(response.status());
    let taken = match &line.body {
        Some(rest) => rest.drain(&bounds).await,
        None => true,
    };
    if let (false, Some(connection)) = (taken, &connection) {
        connection.meter.leaves_unread();
    }
    let headers = response.headers_mut();
    // A connection that is kept would be closed at the end under whoever is about to use it again; told so with an
    // answer, its client goes to another server. HTTP/2 says it by itself (GOAWAY).
    if (server.is_draining() || !taken) && version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.extend(HeaderValue::try_from(&line.id).ok().map(|id| (REQUEST_ID, id)));
    line.answered(response, connection.as_ref().map(|connection| &connection.meter))
}

fn line(
    server: &Server,
    class: &'static str,
    parts: &Parts,
    connection: Option<&Connection>,
    body: Option<inbound::Rest>,
) -> Line {
    let peer = connection.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |connection| connection.peer);
    Line {
        started: Instant::now(),
        id: server.next_request_id(),
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        client: server.settings().trusted_proxies.client(peer, &parts.headers),
        identity: OnceLock::new(),
        agent: parts.headers.get(header::USER_AGENT).cloned(),
        body,
        flight: Flight::begin(server, class),
        stage: Stage::default(),
    }
}

/// A tag that is none cannot exist: reading it is 404, setting it 400.
fn invalid_route(error: &RouteError, method: &Method) -> Fault {
    let bad = |code| Fault::new(StatusCode::BAD_REQUEST, code, error.to_string());
    match error {
        RouteError::Unknown => Fault::no_route(),
        RouteError::Name(_) => bad(ErrorCode::NameInvalid),
        RouteError::Digest(_) => bad(ErrorCode::DigestInvalid),
        RouteError::Tag(_) if *method == Method::PUT => bad(ErrorCode::ManifestInvalid),
        RouteError::Tag(_) => Fault::new(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, error.to_string()),
    }
}

/// `client` and `identity` are where a request comes from, and where it is noted whose it is.
async fn handle(
    server: Server,
    route: Route,
    parts: Parts,
    body: Body,
    (client, identity): (IpAddr, &OnceLock<Identity>),
) -> Result<Response, Fault> {
    let gate = server.gate();
    if route == Route::Token {
        return token::handle(&gate, &parts, body, client, identity).await;
    }
    let caller = gate.authenticate(&parts.headers, client).await?;
    identity.get_or_init(|| caller.identity.clone());
    let call = Call { server, gate, caller, parts };
    if route != Route::Base {
        call.server.require_answering_store()?;
    }
    match route {
        Route::Base => base(&call),
        Route::Token => Err(Fault::no_route()),
        Route::Catalog => listing::catalog(&call).await,
        Route::Tags(name) => listing::tags(&call, &name).await,
        Route::Referrers(name, digest) => listing::referrers(&call, &name, &digest).await,
        Route::Manifest(name, reference) => manifests::handle(call, name, reference, body).await,
        Route::Blob(name, digest) => blobs::handle(&call, &name, &digest).await,
        Route::Uploads(name) => uploads::begin(&call, &name, body).await,
        Route::Upload(name, id) => uploads::handle(&call, &name, &id, body).await,
        Route::Cursor(edge) => extension::cursor(&call, &edge, body).await,
        Route::Discover(name) => extension::discover(&call, name.as_ref()),
    }
}

/// 401 without credentials whenever authentication exists, even with public projects: `docker login` relies on it.
fn base(call: &Call) -> Result<Response, Fault> {
    if call.caller.identity == Identity::Anonymous && !call.caller.presented {
        return Err(Fault::unauthenticated(None));
    }
    match call.parts.method {
        Method::GET | Method::HEAD => {
            let mut response = Response::new(Body::from("{}"));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        }
        _ => Err(Fault::method("GET, HEAD")),
    }
}

impl Server {
    /// The value of `WWW-Authenticate`. The realm is the configured endpoint that `Host` names, else the first; what
    /// a client sent is never echoed.
    fn challenge(&self, endpoint: Endpoint, host: Option<&str>, challenge: &Challenge) -> String {
        let urls = &self.inner.settings.external_urls;
        let named = urls.iter().find(|url| host.is_some() && url.split_once("://").map(|(_, rest)| rest) == host);
        let (Endpoint::Serving, Some(url)) = (endpoint, named.or(urls.first())) else {
            return "Basic realm=\"regatta\"".to_owned();
        };
        let part = |name: &str, value: Option<&str>| value.map(|v| format!(",{name}=\"{v}\"")).unwrap_or_default();
        let scope = part("scope", challenge.scope.as_deref());
        let error = part("error", challenge.error);
        format!("Bearer realm=\"{url}/token\",service=\"{}\"{scope}{error}", self.audience())
    }
}

/// The length that a request announces.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
