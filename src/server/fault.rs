//! Errors as clients see them: a status, a code of the specification, and what to do.

pub mod codes;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::inbound;
use crate::oci::{ErrorBody, ErrorCode};
use crate::registry::RegistryError;
use crate::store::StoreError;

/// A refusal or a failure.
#[derive(Debug)]
pub struct Fault {
    /// The status.
    pub status: StatusCode,
    code: ErrorCode,
    message: String,
    detail: Value,
    /// Asks for credentials.
    pub challenge: Option<Challenge>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
    cause: Option<Cause>,
}

/// What the log is told, and the client is not.
#[derive(Debug)]
struct Cause {
    what: &'static str,
    error: String,
}

/// What a `WWW-Authenticate` says beside the realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scope to ask for.
    pub scope: Option<String>,
    /// Only where a token was sent.
    pub error: Option<&'static str>,
}

impl Fault {
    /// A plain one.
    pub fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        debug_assert!(
            codes::documented(code).0.contains(&status.as_u16()),
            "{} is not documented to come with {status}",
            code.as_str()
        );
        let (detail, challenge, headers, cause) = (Value::Null, None, Vec::new(), None);
        Self { status, code, message: message.into(), detail, challenge, headers, cause }
    }

    /// With a detail for programs.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// With a header of its own.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        self.headers.extend(value.try_into().ok().map(|value| (name, value)));
        self
    }

    /// With what is behind it: logged beside the id of the request, which is known when it is answered.
    fn because(mut self, what: &'static str, error: &dyn std::error::Error) -> Self {
        self.cause = Some(Cause { what, error: chain(error) });
        self
    }

    fn challenged(mut self, scope: Option<String>, error: Option<&'static str>) -> Self {
        self.challenge = Some(Challenge { scope, error });
        self
    }

    /// 401: nobody said who he is.
    pub fn unauthenticated(scope: Option<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, "authentication required").challenged(scope, None)
    }

    /// 401: a token that is too narrow.
    pub fn insufficient_scope(scope: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, "the token does not cover this; ask for another")
            .challenged(Some(scope), Some("insufficient_scope"))
    }

    /// 401: a token that does not verify.
    pub fn bad_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, "the token is expired or not of this registry")
            .challenged(None, Some("invalid_token"))
    }

    /// 401: a wrong login or password.
    pub fn bad_credentials() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, "wrong user name or password")
            .challenged(None, None)
    }

    /// 401: credentials of a kind that is not taken.
    pub fn unknown_scheme() -> Self {
        let message =
            "`Authorization` is taken as `Basic` with a user name and a password, or as `Bearer` with a token";
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message).challenged(None, None)
    }

    /// 403: not this one.
    pub fn denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, "you may not do this here; ask for a role in the project")
    }

    /// 404: no such route.
    pub fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path")
    }

    /// 405: another method.
    pub fn method(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, format!("allowed here: {allowed}"))
            .with_header(header::ALLOW, allowed)
    }

    /// 500: a defect, told to the log and not to the client.
    pub fn unknown(error: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, "the registry failed; its log says more")
            .because("a request failed", error)
    }

    /// 503: try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
            .with_header(header::RETRY_AFTER, "5")
    }

    /// 503 or 507: the store says what is wrong with it, and it is no defect. The log gets the whole error.
    fn of_volume(source: &StoreError, whole: &RegistryError) -> Option<Self> {
        let (fault, why) = match source {
            StoreError::Full { .. } => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                let fault = Self::new(status, ErrorCode::Unavailable, "the registry's storage is full");
                (fault, "the store is full")
            }
            StoreError::ReadOnly { .. } => {
                let said = "the registry's storage has become read-only; it can be read, and not written";
                (Self::unavailable(said), "the store has become read-only: see to its volume, and mount it read-write")
            }
            StoreError::Silent { .. } => {
                let said = "the registry's storage does not answer; try again later";
                (Self::unavailable(said), "the store does not answer")
            }
            StoreError::Busy { .. } => {
                let said = "the registry's storage is busy or does not answer; try again later";
                (Self::unavailable(said), "the store is busy or does not answer")
            }
            StoreError::Io { .. } | StoreError::Unsuitable { .. } => return None,
        };
        Some(fault.because(why, whole))
    }

    /// Where a challenge asks for a scope: for this one, too.
    #[must_use]
    pub fn also_asking(mut self, also: Option<String>) -> Self {
        if let (Some(Challenge { scope: Some(scope), .. }), Some(also)) = (&mut self.challenge, also) {
            *scope = format!("{scope} {also}");
        }
        self
    }

    /// Tells the log what is behind it, if anything is. `id` is the request's, where it has one.
    pub fn log(&self, id: Option<&str>) {
        if let Some(Cause { what, error }) = &self.cause {
            tracing::error!(id, status = self.status.as_u16(), error, "{what}");
        }
    }

    /// As a response to the request of this id, by which the log has what is behind it. `realm` makes the challenge.
    pub fn into_response(self, id: &str, realm: &dyn Fn(&Challenge) -> String) -> Response {
        self.log(Some(id));
        let body = ErrorBody::one(self.code, self.message, with_id(self.detail, id));
        let mut response = Response::new(Body::from(crate::registry::register::to_json(&body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(challenge) = &self.challenge
            && let Ok(value) = HeaderValue::try_from(realm(challenge))
        {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        headers.extend(self.headers);
        response
    }
}

/// The detail with the request's id, by which the log knows it. What programs look for is beside it.
fn with_id(detail: Value, id: &str) -> Value {
    let mut detail = match detail {
        Value::Object(detail) => detail,
        Value::Null => serde_json::Map::new(),
        other => serde_json::Map::from_iter([("detail".to_owned(), other)]),
    };
    detail.insert("requestId".to_owned(), id.into());
    Value::Object(detail)
}

/// An error with all its sources, for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What the store said, of the write itself or of the record that comes before it.
fn of_store(error: &RegistryError) -> Option<&StoreError> {
    match error {
        RegistryError::Store(error) => Some(error),
        RegistryError::Journal(source) => of_store(source),
        _ => None,
    }
}

impl From<RegistryError> for Fault {
    fn from(error: RegistryError) -> Self {
        use ErrorCode as Code;
        let message = error.to_string();
        let with = |status, code| Self::new(status, code, message.clone());
        if let Some(fault) = of_store(&error).and_then(|source| Self::of_volume(source, &error)) {
            return fault;
        }
        match &error {
            RegistryError::Store(_)
            | RegistryError::Corrupt { .. }
            | RegistryError::Journal(_)
            | RegistryError::Damaged { .. } => Self::unknown(&error),
            RegistryError::ReadOnly | RegistryError::TooLate | RegistryError::Replaced => Self::unavailable(message),
            RegistryError::BlobUnknown { digest, .. } => {
                with(StatusCode::NOT_FOUND, Code::BlobUnknown).with_detail(json!({ "digest": digest }))
            }
            RegistryError::ManifestUnknown { reference, .. } | RegistryError::Schema1 { reference, .. } => {
                with(StatusCode::NOT_FOUND, Code::ManifestUnknown).with_detail(json!({ "reference": reference }))
            }
            RegistryError::NameUnknown(name) => {
                with(StatusCode::NOT_FOUND, Code::NameUnknown).with_detail(json!({ "name": name }))
            }
            RegistryError::UploadUnknown(_) => with(StatusCode::NOT_FOUND, Code::BlobUploadUnknown),
            RegistryError::UploadRange { expected } => with(StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid)
                .with_header(header::RANGE, format!("0-{}", expected.saturating_sub(1))),
            RegistryError::SizeInvalid { .. } => with(StatusCode::BAD_REQUEST, Code::SizeInvalid),
            RegistryError::DigestMismatch { .. } => with(StatusCode::BAD_REQUEST, Code::DigestInvalid),
            RegistryError::Manifest(_) | RegistryError::TooManyReferences { .. } => {
                with(StatusCode::BAD_REQUEST, Code::ManifestInvalid)
            }
            RegistryError::ReferencesUnknown { missing, .. } => {
                with(StatusCode::BAD_REQUEST, Code::ManifestBlobUnknown).with_detail(json!({ "missing": missing }))
            }
            RegistryError::Body(source) if source.kind() == inbound::TOO_SLOW => {
                Self::new(StatusCode::REQUEST_TIMEOUT, Code::BlobUploadInvalid, "the request's body came too slowly")
            }
            RegistryError::Body(_) | RegistryError::TooManyParts { .. } => {
                with(StatusCode::BAD_REQUEST, Code::BlobUploadInvalid)
            }
        }
    }
}

#[cfg(test)]
mod tests;
