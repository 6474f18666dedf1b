//! Proving who we are: Basic, or a token for each scope (Docker's token specification).
//!
//! Credentials leave for two places only: the configured origin, and a token realm on the same host or on a host that
//! the configuration allows (CVE-2026-33540, CVE-2020-15157). A realm elsewhere is answered with Basic at the
//! registry itself where there are credentials, and refused where there are none.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::{
    address,
    address::Endpoint,
    challenge::{self, Challenge},
    credentials::{CredentialSource, Credentials},
    error::{ClientError, shown, words},
};
use crate::oci::RepositoryName;

/// What a request needs a token for; a set of `type:name:actions`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(Vec<String>);

impl Scope {
    /// To read a repository.
    pub fn pull(repository: &RepositoryName) -> Self {
        Self(vec![format!("repository:{repository}:pull")])
    }

    /// To write to a repository.
    pub fn push(repository: &RepositoryName) -> Self {
        Self(vec![format!("repository:{repository}:pull,push")])
    }

    /// To delete from a repository.
    pub fn delete(repository: &RepositoryName) -> Self {
        Self(vec![format!("repository:{repository}:pull,delete")])
    }

    /// To list the repositories.
    pub fn catalog() -> Self {
        Self(vec!["registry:catalog:*".to_owned()])
    }

    /// To be let in at all.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// And to read another repository: the one that a blob is mounted from.
    #[must_use]
    pub fn and_pull(mut self, repository: &RepositoryName) -> Self {
        self.0.push(format!("repository:{repository}:pull"));
        self
    }
}

/// Docker Hub's registry and the host of its tokens.
const DOCKER_HUB: ([&str; 2], &str) = (["registry-1.docker.io", "index.docker.io"], "auth.docker.io");

/// How the registry wants to be asked.
#[derive(Debug, Clone)]
enum Scheme {
    /// Not known: nobody was refused yet.
    Unknown,
    /// Name and password with each request.
    Basic,
    /// A token of this realm.
    Bearer { realm: Url, service: Option<String> },
}

struct State {
    scheme: Scheme,
    /// The credentials of now: loaded when first needed, and again when they are refused.
    credentials: Option<Credentials>,
}

struct Token {
    value: HeaderValue,
    good_until: Instant,
}

/// Proves to one registry who we are.
pub(super) struct Authenticator {
    endpoint: Endpoint,
    http: reqwest::Client,
    source: Option<Arc<dyn CredentialSource>>,
    token_hosts: Vec<String>,
    state: Mutex<State>,
    tokens: tokio::sync::Mutex<HashMap<Scope, Token>>,
}

impl Authenticator {
    pub(super) fn new(
        endpoint: Endpoint,
        http: reqwest::Client,
        source: Option<Arc<dyn CredentialSource>>,
        token_hosts: Vec<String>,
        basic: bool,
    ) -> Self {
        let scheme = if basic { Scheme::Basic } else { Scheme::Unknown };
        let state = Mutex::new(State { scheme, credentials: None });
        Self { endpoint, http, source, token_hosts, state, tokens: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on Basic, where there are credentials: the registry takes it, and a token would only narrow.
    pub(super) fn prefer_basic(&self) {
        if self.source.is_some() {
            self.state().scheme = Scheme::Basic;
        }
    }

    /// What to send with a request to `url`: nothing where that is not the configured origin.
    pub(super) async fn header(&self, url: &Url, scope: &Scope) -> Result<Option<HeaderValue>, ClientError> {
        if !self.endpoint.is_origin_of(url) {
            return Ok(None);
        }
        let scheme = self.state().scheme.clone();
        match scheme {
            Scheme::Unknown => Ok(None),
            Scheme::Basic => self.basic(),
            Scheme::Bearer { realm, service } => self.token(&realm, service.as_deref(), scope).await.map(Some),
        }
    }

    /// Basic credentials for the configured origin.
    pub(super) fn basic(&self) -> Result<Option<HeaderValue>, ClientError> {
        Ok(self.credentials()?.and_then(|credentials| credentials.basic()))
    }

    fn credentials(&self) -> Result<Option<Credentials>, ClientError> {
        if let Some(known) = self.state().credentials.clone() {
            return Ok(Some(known));
        }
        let loaded = self.source.as_ref().map(|source| source.load()).transpose()?.flatten();
        self.state().credentials.clone_from(&loaded);
        Ok(loaded)
    }

    /// Takes a 401 in. Whether another try may do better than the one with `used`.
    pub(super) async fn challenged(
        &self,
        headers: &HeaderMap,
        scope: &Scope,
        used: Option<&HeaderValue>,
    ) -> Result<bool, ClientError> {
        self.tokens.lock().await.remove(scope);
        self.state().credentials = None;
        let credentials = self.credentials()?;
        let scheme = self.choose(challenge::parse(headers), credentials.is_some())?;
        let another = match &scheme {
            Scheme::Unknown => false,
            Scheme::Bearer { .. } => true,
            Scheme::Basic => credentials.and_then(|c| c.basic()).is_some_and(|fresh| Some(&fresh) != used),
        };
        self.state().scheme = scheme;
        Ok(another)
    }

    fn choose(&self, challenges: Vec<Challenge>, have_credentials: bool) -> Result<Scheme, ClientError> {
        let mut basic = false;
        let mut foreign = None;
        for challenge in challenges {
            match challenge {
                Challenge::Basic => basic = true,
                Challenge::Bearer { realm, service, scope: _ } => match self.realm(&realm) {
                    Some(realm) => return Ok(Scheme::Bearer { realm, service }),
                    None => foreign = Some(realm),
                },
            }
        }
        match (foreign, have_credentials) {
            (_, true) if basic => Ok(Scheme::Basic),
            (Some(_), true) => Ok(Scheme::Basic),
            (Some(realm), false) => Err(ClientError::ForeignRealm { registry: self.endpoint.to_string(), realm }),
            (None, _) => Ok(Scheme::Unknown),
        }
    }

    /// The realm's URL, where it may be sent the credentials.
    fn realm(&self, text: &str) -> Option<Url> {
        let realm = Url::parse(text).ok()?;
        address::check(&realm).ok()?;
        let host = realm.host_str()?;
        let own = host == self.endpoint.host();
        let allowed = self.token_hosts.iter().any(|allowed| allowed == host)
            || (DOCKER_HUB.0.contains(&self.endpoint.host()) && host == DOCKER_HUB.1);
        // Plain HTTP only where the registry itself is spoken to in plain HTTP.
        let encrypted = realm.scheme() == "https" || (realm.scheme() == "http" && own && !self.endpoint.is_tls());
        ((own || allowed) && encrypted).then_some(realm)
    }

    async fn token(&self, realm: &Url, service: Option<&str>, scope: &Scope) -> Result<HeaderValue, ClientError> {
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(scope).filter(|token| token.good_until > Instant::now()) {
            return Ok(token.value.clone());
        }
        let token = self.ask_for_token(realm, service, scope).await?;
        let value = token.value.clone();
        tokens.retain(|_, token| token.good_until > Instant::now());
        tokens.insert(scope.clone(), token);
        Ok(value)
    }

    async fn ask_for_token(&self, realm: &Url, service: Option<&str>, scope: &Scope) -> Result<Token, ClientError> {
        let mut url = realm.clone();
        url.query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .extend_pairs(scope.0.iter().map(|scope| ("scope", scope.as_str())));
        let mut request = self.http.get(url).timeout(TOKEN_TIMEOUT);
        if let Some(basic) = self.basic()? {
            request = request.header(AUTHORIZATION, basic);
        }
        let transport = |source: reqwest::Error| ClientError::Transport {
            method: Method::GET,
            url: shown(realm),
            source: source.without_url(),
        };
        let answer = request.send().await.map_err(transport)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(transport)?;
        if status != StatusCode::OK {
            return Err(token_error(realm, status, &body));
        }
        read_token(realm, &body)
    }
}

const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

fn token_error(realm: &Url, status: StatusCode, body: &[u8]) -> ClientError {
    let (code, message) = words(body);
    let (method, url) = (Method::GET, shown(realm));
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return ClientError::Unauthorized { method, url, message };
    }
    ClientError::Status { method, url, status, code, message, retry_after: None }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn read_token(realm: &Url, body: &[u8]) -> Result<Token, ClientError> {
    let protocol = |why: &str| ClientError::Protocol { url: shown(realm), why: why.to_owned() };
    let answer: TokenAnswer = serde_json::from_slice(body).map_err(|_| protocol("the token cannot be read"))?;
    let text = answer.token.or(answer.access_token).ok_or_else(|| protocol("the answer has no token"))?;
    let mut value = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| protocol("not a token"))?;
    value.set_sensitive(true);
    // 60 s is the specification's default. The margin is for the way there and for clocks.
    let seconds = answer.expires_in.unwrap_or(60).clamp(1, 86_400);
    let good_until = Instant::now() + Duration::from_secs(seconds) * 4 / 5;
    Ok(Token { value, good_until })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticator(endpoint: &str, hosts: &[&str]) -> Authenticator {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(super::super::tls::client_config(&super::super::Trust::Public).unwrap())
            .build()
            .unwrap();
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Authenticator::new(endpoint.parse().unwrap(), http, None, hosts, false)
    }

    #[test]
    fn cve_2026_33540_a_realm_gets_the_credentials_only_on_the_same_or_an_allowed_host() {
        let check = |endpoint: &str, hosts: &[&str], realm: &str, allowed: bool| {
            assert_eq!(authenticator(endpoint, hosts).realm(realm).is_some(), allowed, "{endpoint} {realm}");
        };
        check("https://h", &[], "https://h/token", true);
        check("https://h", &[], "https://h:8443/token", true);
        check("https://h", &[], "http://h/token", false);
        check("http://h:5000", &[], "http://h:5001/token", true);
        check("https://h", &[], "https://evil/token", false);
        check("https://h", &[], "https://h.evil/token", false);
        check("https://h", &["auth.h"], "https://auth.h/token", true);
        check("https://h", &["auth.h"], "http://auth.h/token", false);
        check("https://registry-1.docker.io", &[], "https://auth.docker.io/token", true);
        check("https://h", &[], "https://auth.docker.io/token", false);
        check("https://h", &["169.254.169.254"], "https://169.254.169.254/token", false);
        check("https://h", &[], "/token", false);
    }

    #[test]
    fn a_token_is_read_in_both_forms() {
        let realm = Url::parse("https://h/t").unwrap();
        assert_eq!(read_token(&realm, br#"{"token":"a"}"#).unwrap().value, "Bearer a");
        assert_eq!(read_token(&realm, br#"{"access_token":"b","expires_in":300}"#).unwrap().value, "Bearer b");
        assert!(read_token(&realm, br#"{"token":"a\nb"}"#).is_err());
        assert!(read_token(&realm, b"{}").is_err());
    }
}
