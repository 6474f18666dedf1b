//! The follower's own registry and its remotes, from files that are mounted and rotated.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Error, options::read};
use crate::{
    admin::{
        Edge, EdgeStatus, EdgesDocument, JournalPage, ProblemCode, StoreState,
        client::{Client as AdminClient, ClientError as AdminError, Credentials as AdminCredentials},
    },
    client::{Client, ClientConfig, ClientError, CredentialSource, DirectoryCredentials, Trust, error::chain},
    replicate::{
        Ends, ReplicateError,
        follow::{Home, HomeError, Remotes},
    },
};

/// Where the registry is and what proves who we are.
#[derive(Debug, Clone)]
pub struct HomeFiles {
    /// Internal URL.
    pub url: String,
    /// The pinned certificate (PEM).
    pub ca: PathBuf,
    /// `username` and `password`.
    pub credentials: PathBuf,
}

impl HomeFiles {
    fn admin(&self) -> Result<AdminClient, Error> {
        let option = |error| Error::Option { option: "--credentials-dir", source: Box::new(error) };
        let loaded = DirectoryCredentials::new(&self.credentials).load().map_err(option)?;
        let found = loaded.ok_or(Error::Missing("the files `username` and `password` in --credentials-dir"))?;
        let credentials = AdminCredentials::Basic { username: found.username, password: found.password };
        let ca = read("--internal-ca", &self.ca)?;
        AdminClient::at(&self.url, &ca, credentials).map_err(|error| Error::Home(chain(&error)))
    }

    /// A client of the registry's `/v2/` on the internal port.
    pub fn registry(&self) -> Result<Client, Error> {
        let invalid = |error| Error::Option { option: "--internal-url", source: Box::new(error) };
        let mut config = ClientConfig::new(self.url.parse().map_err(invalid)?);
        config.trust = Trust::Only(read("--internal-ca", &self.ca)?);
        config.credentials = Some(Arc::new(DirectoryCredentials::new(&self.credentials)));
        // The internal port takes it, and its token realm would be another address.
        config.basic = true;
        Client::new(config).map_err(invalid)
    }
}

/// The registry's admin API. Where it refuses us or is not who it should be, the files are read again: they rotate.
#[derive(Debug)]
pub struct AdminHome {
    files: HomeFiles,
    client: Mutex<AdminClient>,
}

impl AdminHome {
    /// Reads the files.
    pub fn new(files: HomeFiles) -> Result<Self, Error> {
        let client = Mutex::new(files.admin()?);
        Ok(Self { files, client })
    }

    fn client(&self) -> AdminClient {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, error: &AdminError) -> HomeError {
        let stale = matches!(error, AdminError::Unreachable { .. }) || error.code() == Some(ProblemCode::Unauthorized);
        if stale && let Ok(fresh) = self.files.admin() {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        HomeError(chain(error))
    }
}

impl Home for AdminHome {
    async fn edges(&self, after: Option<u64>, wait: Duration) -> Result<EdgesDocument, HomeError> {
        self.client().edges(after, wait).await.map_err(|error| self.failed(&error))
    }

    async fn statuses(&self) -> Result<Vec<EdgeStatus>, HomeError> {
        self.client().edge_statuses().await.map_err(|error| self.failed(&error))
    }

    async fn put_status(&self, status: &EdgeStatus) -> Result<(), HomeError> {
        self.client().put_edge_status(status).await.map_err(|error| self.failed(&error))
    }

    async fn journal(&self, cursor: Option<&str>, wait: Duration) -> Result<JournalPage, HomeError> {
        self.client().journal(cursor, wait).await.map_err(|error| self.failed(&error))
    }

    async fn store(&self) -> Result<StoreState, HomeError> {
        self.client().store().await.map_err(|error| self.failed(&error))
    }
}

/// The other ends, as the operator mounts their Secrets: `<name>/credentials/{username,password}`, `<name>/ca/ca.crt`.
#[derive(Debug)]
pub struct MountedRemotes {
    /// The files of the registry itself.
    pub home: HomeFiles,
    /// The directory of remotes.
    pub directory: Option<PathBuf>,
}

impl Remotes for MountedRemotes {
    fn ends(&self, edge: &Edge) -> Result<Ends, ReplicateError> {
        let source = self
            .home
            .registry()
            .map_err(|error| ReplicateError::Source(ClientError::Certificates(error.to_string())))?;
        Ok(Ends { source, destination: self.destination(edge).map_err(ReplicateError::Destination)? })
    }
}

impl MountedRemotes {
    fn destination(&self, edge: &Edge) -> Result<Client, ClientError> {
        let remote = &edge.destination;
        let mut config = ClientConfig::new(remote.url.parse()?);
        // A name is one component of a path: whatever else it says is nobody's directory.
        let named = self.directory.as_ref().filter(|_| is_object_name(&remote.name));
        if let Some(directory) = named.map(|directory| directory.join(&remote.name)) {
            config.credentials = Some(Arc::new(DirectoryCredentials::new(directory.join("credentials"))));
            let ca = directory.join("ca").join("ca.crt");
            match std::fs::read(&ca) {
                Ok(pem) => config.trust = Trust::Also(pem),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(ClientError::Credentials { place: ca.display().to_string(), source }),
            }
        }
        if remote.insecure {
            config.trust = Trust::Anyone;
        }
        Client::new(config)
    }
}

/// The grammar of the names of Kubernetes objects.
fn is_object_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}
