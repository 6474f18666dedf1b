//! Tokens for Swift from Keystone, its identity service (version 3), made again before they end.
//!
//! The library below takes a token and no password; so this sits in the transport and sets the header.

use std::time::Duration;

use http::{HeaderValue, Request};
use jiff::Timestamp;
use opendal::{Error, ErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// A token that ends sooner than this is not used any more.
const MARGIN: Duration = Duration::from_mins(5);

/// How long the identity service may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks for tokens.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// A user of a project.
    Password {
        user: SecretString,
        password: SecretString,
        user_domain: String,
        project: String,
        project_domain: String,
    },
    /// What was made for this very purpose, in a project.
    Application { id: SecretString, secret: SecretString },
}

impl Login {
    /// The body of `POST /v3/auth/tokens`.
    fn request(&self) -> Value {
        match self {
            Self::Password { user, password, user_domain, project, project_domain } => json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": user.expose_secret(), "password": password.expose_secret(), "domain": {"name": user_domain},
                }}},
                "scope": {"project": {"name": project, "domain": {"name": project_domain}}},
            }}),
            Self::Application { id, secret } => json!({"auth": {"identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": id.expose_secret(), "secret": secret.expose_secret()},
            }}}),
        }
    }
}

/// Makes tokens, and keeps the last one.
#[derive(Debug)]
pub(super) struct Keystone {
    client: reqwest::Client,
    url: String,
    login: Login,
    token: Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    ends: Timestamp,
}

#[derive(Deserialize)]
struct Answer {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    expires_at: Timestamp,
}

impl Keystone {
    /// `auth_url` has no slash at its end.
    pub(super) fn new(client: reqwest::Client, auth_url: &str, login: Login) -> Self {
        let base = auth_url.strip_suffix("/v3").unwrap_or(auth_url);
        Self { client, url: format!("{base}/v3/auth/tokens"), login, token: Mutex::new(None) }
    }

    /// Sets the token of a request to Swift.
    pub(super) async fn authorise<T>(&self, request: &mut Request<T>) -> opendal::Result<()> {
        let mut token = self.token.lock().await;
        let good = |token: &Token| {
            token.ends.duration_since(Timestamp::now()) > jiff::SignedDuration::try_from(MARGIN).unwrap_or_default()
        };
        let current = match token.as_ref().filter(|token| good(token)) {
            Some(current) => current.clone(),
            None => token.insert(self.make().await?).clone(),
        };
        request.headers_mut().insert("x-auth-token", current.header);
        Ok(())
    }

    /// A request was refused: its token was revoked.
    pub(super) async fn forget(&self) {
        *self.token.lock().await = None;
    }

    async fn make(&self) -> opendal::Result<Token> {
        let failed = |source: reqwest::Error| {
            Error::new(ErrorKind::Unexpected, "asking Keystone for a token")
                .set_temporary()
                .set_source(source.without_url())
        };
        let request = self.client.post(&self.url).timeout(PATIENCE).json(&self.login.request());
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            let error = Error::new(
                ErrorKind::PermissionDenied,
                format!("Keystone answered {status} to the request for a token"),
            );
            return Err(error.with_temporary(status.is_server_error()));
        }
        let header = answer.headers().get("x-subject-token").cloned();
        let Answer { token: Body { expires_at } } = answer.json().await.map_err(failed)?;
        let mut header = header.ok_or_else(|| Error::new(ErrorKind::Unexpected, "Keystone's answer has no token"))?;
        header.set_sensitive(true);
        Ok(Token { header, ends: expires_at })
    }
}
