//! `/token`: Docker's token flow, by GET with Basic and by POST with a form.

use std::net::IpAddr;
use std::sync::OnceLock;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, StatusCode, header, request::Parts};
use axum::response::Response;
use serde_json::json;

use super::Fault;
use super::dispatch::{form_values, query_values};
use super::gate::{Caller, Gate};
use crate::auth::{Identity, Scope, token::LIFETIME_SECONDS};
use crate::oci::ErrorCode;

/// Forms are small.
const LONGEST_FORM: usize = 64 * 1024;

/// Answers with a token for what was asked for and is allowed. Whose it is is noted in `identity`.
pub async fn handle(
    gate: &Gate,
    parts: &Parts,
    body: Body,
    client: IpAddr,
    identity: &OnceLock<Identity>,
) -> Result<Response, Fault> {
    let (caller, scopes) = match parts.method {
        Method::GET => (basic_only(gate, parts, client).await?, query_values(parts, "scope")),
        Method::POST => by_form(gate, body, client).await?,
        _ => return Err(Fault::method("GET, POST")),
    };
    identity.get_or_init(|| caller.identity.clone());
    let granted = Scope::parse(scopes.iter().map(String::as_str)).granted(&caller.identity, gate.access());
    let now = jiff::Timestamp::now();
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let token = gate.issuer().issue(&caller.identity, granted, seconds).map_err(|error| Fault::unknown(&error))?;
    let answer = json!({
        "token": token,
        "access_token": token,
        "expires_in": LIFETIME_SECONDS,
        "issued_at": jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string(),
    });
    let mut response = Response::new(Body::from(answer.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A token is not renewed with a token: what it proves would live for ever.
async fn basic_only(gate: &Gate, parts: &Parts, client: IpAddr) -> Result<Caller, Fault> {
    let caller = gate.authenticate(&parts.headers, client).await?;
    if caller.scope.is_some() { Err(Fault::bad_credentials()) } else { Ok(caller) }
}

/// Docker's OAuth 2 form: containerd POSTs first.
async fn by_form(gate: &Gate, body: Body, client: IpAddr) -> Result<(Caller, Vec<String>), Fault> {
    let bad = |message: &str| Fault::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message);
    let bytes = to_bytes(body, LONGEST_FORM).await.map_err(|_| bad("the form has more than 64 KiB"))?;
    let form = String::from_utf8(bytes.to_vec()).map_err(|_| bad("the form is not UTF-8"))?;
    let value = |name: &str| form_values(&form, name).into_iter().next();
    match value("grant_type").as_deref() {
        Some("password") => {
            let (login, password) = (value("username").unwrap_or_default(), value("password").unwrap_or_default());
            let caller = gate.password(&login, password, client).await?;
            Ok((caller, form_values(&form, "scope")))
        }
        None if value("scope").is_some() => {
            let caller = Caller { identity: Identity::Anonymous, scope: None, presented: false };
            Ok((caller, form_values(&form, "scope")))
        }
        Some(_) | None => Err(bad("grant_type must be `password`: refresh tokens are not issued")),
    }
}
