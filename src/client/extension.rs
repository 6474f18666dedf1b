//! What only a Regatta answers: small JSON documents below `/v2/_regatta/`.

use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Client, ClientError, Scope,
    error::{is_transient, shown},
    transport::{Body, Request},
};

/// The header by which a Regatta says what it is, with its version as value; on every answer below `/v2/_regatta/`.
pub const REGATTA_VERSION: HeaderName = HeaderName::from_static("regatta-version");

impl Client {
    /// A document; `None` where there is none, where we may not see it, and where the registry is no Regatta.
    ///
    /// Basic credentials are sent at once: the registry may never have heard of the path, and so would challenge
    /// for nothing. They go to the configured origin only.
    pub async fn extension_get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ClientError> {
        let url = self.inner.endpoint.url(&format!("/v2/_regatta/{path}"))?;
        let request = Request::new(Method::GET, url.clone(), Scope::none()).basic();
        let answer = match self.send(request).await {
            Ok(answer) => answer,
            Err(ClientError::Unauthorized { .. } | ClientError::ForeignRealm { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if answer.headers().contains_key(REGATTA_VERSION) {
            self.saw_regatta();
        }
        // A Regatta that is overloaded for the moment must not pass for one without a document.
        if is_transient(answer.status()) && (self.is_regatta() || answer.status() != StatusCode::INTERNAL_SERVER_ERROR)
        {
            return Err(self.unexpected(&Method::GET, answer).await);
        }
        if answer.status() != StatusCode::OK {
            return Ok(None);
        }
        let body = self.body(answer).await?;
        // A registry that answers 200 with something else to any path is no Regatta.
        let Ok(document) = serde_json::from_slice(&body) else {
            tracing::debug!(url = shown(&url), "not the document of a Regatta");
            return Ok(None);
        };
        self.saw_regatta();
        Ok(Some(document))
    }

    /// Puts a document. Only ever done where [`Client::is_regatta`].
    pub async fn extension_put<T: Serialize>(&self, path: &str, document: &T) -> Result<(), ClientError> {
        let url = self.inner.endpoint.url(&format!("/v2/_regatta/{path}"))?;
        let body = serde_json::to_vec(document)
            .map_err(|error| ClientError::Protocol { url: shown(&url), why: error.to_string() })?;
        let request = Request::new(Method::PUT, url, Scope::none())
            .basic()
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Body::Bytes(body.into()));
        let answer = self.send(request).await?;
        if answer.status().is_success() { Ok(()) } else { Err(self.unexpected(&Method::PUT, answer).await) }
    }
}
