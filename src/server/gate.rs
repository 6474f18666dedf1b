//! Who is asking, and may he: what every request passes, made anew whenever a document or a file changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use quick_cache::sync::Cache;

use super::Fault;
use crate::admin::{AccessDocument, KeySet, ProjectAccess, Subject};
use crate::auth::secrets::SecretHash;
use crate::auth::token::Verified;
use crate::auth::verifier::Quick;
use crate::auth::{
    Access, Configured, Decision, Identity, Permission, Project, Role, Scope, TokenIssuer, TokenKey, Verifier, decide,
};
use crate::oci::RepositoryName;
use crate::registry::{CacheFigures, Lookups};

/// Everything that says who may do what, at one moment.
#[derive(Debug)]
pub struct Gate {
    /// Generation of the access document; 0 without one.
    pub generation: u64,
    /// Its hash.
    pub hash: String,
    /// For the admin API's tokens.
    pub keys: KeySet,
    access: Access,
    verifier: Arc<Verifier>,
    issuer: TokenIssuer,
    /// Tokens that were verified since this gate was made, with the Unix second that they are good until.
    verified: Cache<Box<str>, (Caller, u64)>,
    /// Of all gates there were.
    lookups: Arc<Lookups>,
}

/// How many verified tokens are remembered: some kilobyte each.
const TOKENS: usize = 4_096;

/// A longer token is verified at each use rather than remembered.
const LONGEST_REMEMBERED: usize = 2_048;

/// Whoever sent a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub identity: Identity,
    /// What his token narrows to; absent where he gave a password, or nothing.
    pub scope: Option<Scope>,
    /// Whether he sent credentials.
    pub presented: bool,
}

impl Caller {
    const ANONYMOUS: Self = Self { identity: Identity::Anonymous, scope: None, presented: false };
}

impl Gate {
    /// From keys, files and, if there is one, the document in force.
    pub fn new(
        audience: &str,
        keys: &KeySet,
        configured: Configured,
        document: Option<(&AccessDocument, String)>,
        lookups: Arc<Lookups>,
    ) -> Self {
        let access = Access {
            projects: document.iter().flat_map(|(document, _)| &document.projects).map(project).collect(),
            admins: configured.admins.clone(),
        };
        let token_key = |key: &crate::admin::Key| TokenKey { id: key.id.clone(), secret: key.bytes() };
        let also = keys.previous.iter().chain(&keys.next).map(token_key).collect();
        Self {
            generation: document.as_ref().map_or(0, |(document, _)| document.generation),
            keys: keys.clone(),
            access,
            verifier: Arc::new(Verifier::new(
                configured,
                document.as_ref().map(|(document, _)| robots(document)).unwrap_or_default(),
            )),
            issuer: TokenIssuer::new(audience, token_key(&keys.signing), also),
            hash: document.map(|(_, hash)| hash).unwrap_or_default(),
            verified: Cache::new(TOKENS),
            lookups,
        }
    }

    /// The tokens that need not be verified again.
    pub fn tokens(&self) -> CacheFigures {
        self.lookups.figures("tokens", self.verified.len())
    }

    /// Projects and admins.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Issues tokens.
    pub fn issuer(&self) -> &TokenIssuer {
        &self.issuer
    }

    /// Who sent these headers, from where. Credentials that are wrong are an error, never anonymous.
    pub async fn authenticate(&self, headers: &HeaderMap, client: IpAddr) -> Result<Caller, Fault> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Caller::ANONYMOUS) };
        let value = value.to_str().map_err(|_| Fault::bad_credentials())?;
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.bearer(token.trim()),
            Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => {
                let (login, password) = basic(encoded.trim()).ok_or_else(Fault::bad_credentials)?;
                self.password(&login, password, client).await
            }
            Some(_) | None => Err(Fault::unknown_scheme()),
        }
    }

    fn bearer(&self, token: &str) -> Result<Caller, Fault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some((caller, _)) = self.verified.get(token).filter(|(_, expires)| now < *expires) {
            self.lookups.count(true);
            return Ok(caller);
        }
        self.lookups.count(false);
        let Verified { identity, scope, expires } = self.issuer.verify(token).map_err(|error| {
            tracing::debug!(%error, "a bearer token was refused");
            Fault::bad_token()
        })?;
        if !self.verifier.exists(&identity) {
            tracing::debug!(%identity, "a bearer token of somebody who is no more was refused");
            return Err(Fault::bad_token());
        }
        let caller = Caller { identity, scope: Some(scope), presented: true };
        if token.len() <= LONGEST_REMEMBERED {
            self.verified.insert(token.into(), (caller.clone(), expires));
        }
        Ok(caller)
    }

    /// Whose login and password these are.
    pub async fn password(&self, login: &str, password: String, client: IpAddr) -> Result<Caller, Fault> {
        let identity = match self.verifier.verify_quickly(login, &password) {
            Quick::Known(identity) => Some(identity),
            Quick::Wrong => None,
            Quick::Slow => {
                let (verifier, login) = (Arc::clone(&self.verifier), login.to_owned());
                super::hashing::hash(client, move || verifier.verify_slowly(&login, &password)).await?
            }
        };
        let identity = identity.ok_or_else(Fault::bad_credentials)?;
        Ok(Caller { identity, scope: None, presented: true })
    }

    /// Lets a caller do something to a repository, or says why not: alike for what exists and what does not.
    pub fn authorize(&self, caller: &Caller, permission: Permission, repository: &RepositoryName) -> Result<(), Fault> {
        let scope = || Scope::required(permission, repository);
        match decide(&caller.identity, permission, repository, &self.access) {
            Decision::Allow => match &caller.scope {
                Some(granted) if !granted.covers(permission, repository) => Err(Fault::insufficient_scope(scope())),
                Some(_) | None => Ok(()),
            },
            Decision::Authenticate if caller.presented => Err(Fault::insufficient_scope(scope())),
            Decision::Authenticate => Err(Fault::unauthenticated(Some(scope()))),
            Decision::Deny => Err(Fault::denied()),
        }
    }

    /// Whether everybody may read a repository: what is served of it may be kept by caches that many share.
    pub fn is_public(&self, repository: &RepositoryName) -> bool {
        self.access.project_of(repository).is_some_and(|project| project.public)
    }

    /// Whether a caller may do something to a repository, for lists.
    pub fn allows(&self, caller: &Caller, permission: Permission, repository: &RepositoryName) -> bool {
        decide(&caller.identity, permission, repository, &self.access) == Decision::Allow
    }
}

/// `user:password`, in Base64.
pub fn basic(encoded: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (login, password) = text.split_once(':')?;
    Some((login.to_owned(), password.to_owned()))
}

fn project(project: &ProjectAccess) -> (String, Project) {
    let mut roles: HashMap<Identity, Role> = HashMap::new();
    for binding in &project.bindings {
        for subject in &binding.grant.subjects {
            let role = role(binding.grant.role);
            roles.entry(identity(subject)).and_modify(|known| *known = role.max(*known)).or_insert(role);
        }
    }
    (project.name.clone(), Project { public: project.public, roles })
}

fn identity(subject: &Subject) -> Identity {
    match subject {
        Subject::User { source, name } => Identity::User { source: source.clone(), name: name.clone() },
        Subject::Robot { namespace, name } => Identity::Robot { namespace: namespace.clone(), name: name.clone() },
    }
}

const fn role(role: crate::admin::Role) -> Role {
    match role {
        crate::admin::Role::LimitedGuest => Role::LimitedGuest,
        crate::admin::Role::Guest => Role::Guest,
        crate::admin::Role::Developer => Role::Developer,
        crate::admin::Role::Maintainer => Role::Maintainer,
        crate::admin::Role::ProjectAdmin => Role::ProjectAdmin,
    }
}

fn robots(document: &AccessDocument) -> HashMap<Identity, Vec<SecretHash>> {
    let robot = |robot: &crate::admin::Robot| {
        let identity = Identity::Robot { namespace: robot.namespace.clone(), name: robot.name.clone() };
        (identity, robot.secret_sha256.iter().filter_map(|hash| SecretHash::from_hex(hash)).collect())
    };
    document.robots.iter().map(robot).collect()
}
