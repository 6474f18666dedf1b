//! The typed client of the admin API: the operator's side and the replicator's.
//!
//! One client speaks to one address, because a document goes to *every* pod of a registry. The certificate is the one
//! that the operator made, and nothing else is trusted; the name that it is checked against is the Service's,
//! whatever the address.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::access::{AccessState, SignedDocument};
use super::edges::{EdgeStatus, EdgesDocument};
use super::journal::JournalPage;
use super::keys::KeySet;
use super::token::{self, TokenError};
use super::{AUTHORIZATION_HEADER, CollectionSummary, Problem, ProblemCode, StoreState, Term, TermRequest};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer may take, beside the wait that a request asks for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request had no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificate of the authority is none.
    #[error("the certificate authority of the registry's internal port cannot be used")]
    Authority(#[source] reqwest::Error),
    /// No answer.
    #[error("the registry's internal port at {target} does not answer")]
    Unreachable {
        /// Address or URL.
        target: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// A refusal that says why.
    #[error("the registry refuses: {}", .0.message)]
    Refused(Box<Problem>),
    /// An answer that is not of this API.
    #[error("the registry answers {status}, which is not an answer of its admin API")]
    Unexpected {
        /// The HTTP status.
        status: StatusCode,
    },
    /// The operator's token could not be made.
    #[error("the operator's token cannot be made")]
    Token(#[from] TokenError),
    /// The body could not be written.
    #[error("the request cannot be written as JSON")]
    Body(#[from] serde_json::Error),
}

impl ClientError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            Self::Authority(_)
            | Self::Unreachable { .. }
            | Self::Unexpected { .. }
            | Self::Token(_)
            | Self::Body(_) => None,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The operator: a fresh token for each request, signed with the registry's key.
    Operator {
        /// The registry's keys.
        keys: KeySet,
        /// UID of the Registry object.
        registry_uid: String,
    },
    /// A replicator.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: SecretString,
    },
}

/// A client of one address of one registry.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    target: String,
    credentials: Credentials,
}

impl Client {
    /// Speaks to `address`, whatever the server's name resolves to. `authority` is PEM.
    pub fn pinned(
        server_name: &str,
        address: SocketAddr,
        authority: &[u8],
        credentials: Credentials,
    ) -> Result<Self, ClientError> {
        // Without a port in the URL the address's own port counts.
        let http = builder(authority)?.resolve(server_name, address).build().map_err(ClientError::Authority)?;
        Ok(Self { http, base: format!("https://{server_name}"), target: address.to_string(), credentials })
    }

    /// Speaks to an URL such as `https://<name>-registry.<namespace>.svc:5443`. `authority` is PEM.
    pub fn at(url: &str, authority: &[u8], credentials: Credentials) -> Result<Self, ClientError> {
        let http = builder(authority)?.build().map_err(ClientError::Authority)?;
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { http, target: base.clone(), base, credentials })
    }

    /// `GET /admin/v1/store`
    pub async fn store(&self) -> Result<StoreState, ClientError> {
        self.get("store", Duration::ZERO).await
    }

    /// `GET /admin/v1/access`
    pub async fn access(&self) -> Result<AccessState, ClientError> {
        self.get("access", Duration::ZERO).await
    }

    /// `PUT /admin/v1/access` of a document whose generation is one more than `generation`.
    pub async fn put_access(&self, generation: u64, document: &SignedDocument) -> Result<AccessState, ClientError> {
        self.send(Method::PUT, "access", Some(generation), document).await
    }

    /// `POST /admin/v1/terms`
    pub async fn term(&self, holder: &str) -> Result<Term, ClientError> {
        self.send(Method::POST, "terms", None, &TermRequest { holder: holder.to_owned() }).await
    }

    /// `GET /admin/v1/edges`; waits up to `wait` for a document that is newer than `after`.
    pub async fn edges(&self, after: Option<u64>, wait: Duration) -> Result<EdgesDocument, ClientError> {
        let path =
            after.map_or_else(|| "edges".to_owned(), |after| format!("edges?after={after}&wait={}", wait.as_secs()));
        self.get(&path, wait).await
    }

    /// `PUT /admin/v1/edges` of a document whose generation is one more than `generation`.
    pub async fn put_edges(&self, generation: u64, document: &EdgesDocument) -> Result<EdgesDocument, ClientError> {
        self.send(Method::PUT, "edges", Some(generation), document).await
    }

    /// `GET /admin/v1/edges/status`
    pub async fn edge_statuses(&self) -> Result<Vec<EdgeStatus>, ClientError> {
        self.get("edges/status", Duration::ZERO).await
    }

    /// `PUT /admin/v1/edges/{id}/status`
    pub async fn put_edge_status(&self, status: &EdgeStatus) -> Result<(), ClientError> {
        let body = serde_json::to_vec(status)?;
        let request = self.request(Method::PUT, &format!("edges/{}/status", status.id), &body)?;
        self.exchange(request.body(body)).await.map(drop)
    }

    /// `GET /admin/v1/runs/{name}`; none where the registry knows nothing of it.
    pub async fn run(&self, name: &str) -> Result<Option<CollectionSummary>, ClientError> {
        match self.get(&format!("runs/{name}"), Duration::ZERO).await {
            Ok(summary) => Ok(Some(summary)),
            Err(error) if error.code() == Some(ProblemCode::NotFound) => Ok(None),
            // A registry of an older release keeps none.
            Err(ClientError::Unexpected { status: StatusCode::NOT_FOUND }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `GET /admin/v1/journal`; waits up to `wait` for a change. Without a cursor: the end as of now.
    pub async fn journal(&self, cursor: Option<&str>, wait: Duration) -> Result<JournalPage, ClientError> {
        let path = cursor.map_or_else(
            || "journal".to_owned(),
            |cursor| {
                let cursor = percent_encoding::utf8_percent_encode(cursor, percent_encoding::NON_ALPHANUMERIC);
                format!("journal?cursor={cursor}&wait={}", wait.as_secs())
            },
        );
        self.get(&path, wait).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path, &[])?.timeout(wait + ANSWER_TIMEOUT);
        self.read(self.exchange(request).await?).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        if_match: Option<u64>,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body)?;
        let mut request = self.request(method, path, &body)?;
        if let Some(generation) = if_match {
            request = request.header(IF_MATCH, format!("\"{generation}\""));
        }
        self.read(self.exchange(request.body(body)).await?).await
    }

    fn request(&self, method: Method, path: &str, body: &[u8]) -> Result<RequestBuilder, ClientError> {
        let request = self
            .http
            .request(method, format!("{}/admin/v1/{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .timeout(ANSWER_TIMEOUT);
        Ok(match &self.credentials {
            Credentials::Operator { keys, registry_uid } => {
                let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
                request.header(AUTHORIZATION_HEADER, token::mint(keys, registry_uid, body, now)?)
            }
            Credentials::Basic { username, password } => request.basic_auth(username, Some(password.expose_secret())),
        })
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        match response.json::<Problem>().await {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(ClientError::Unexpected { status }),
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: reqwest::Response) -> Result<T, ClientError> {
        let status = response.status();
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&body).map_err(|_| ClientError::Unexpected { status })
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable { target: self.target.clone(), source }
    }
}

fn builder(authority: &[u8]) -> Result<reqwest::ClientBuilder, ClientError> {
    let certificates = reqwest::Certificate::from_pem_bundle(authority).map_err(ClientError::Authority)?;
    Ok(reqwest::Client::builder()
        .tls_certs_only(certificates)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT))
}
