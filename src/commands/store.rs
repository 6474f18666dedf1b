//! Where a registry keeps everything: a directory, or what a store file names. Opened here for `registry` and `gc` alike.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use secrecy::SecretString;

use crate::client::{ClientError, Trust, tls};
use crate::registry::layout;
use crate::server::fault::chain;
use crate::store::bucket::{Bucket, Patience};
use crate::store::config::{
    Credentials, CustomerKey, Filesystem, NotOne, Place, S3, Secrets, Service, ServiceUrl, ValueError,
};
use crate::store::fs::FsStore;
use crate::store::memory::MemoryStore;
use crate::store::{Exclusive, Store, StoreError};

/// How often it is tried out what a bucket can do: its settings change.
const PROBE: Duration = Duration::from_hours(24);

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which store.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct StoreArgs {
    /// The directory that holds everything. Any number of servers may share one.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A YAML file that names the store: exactly one of filesystem, memory, s3, gcs, azure, swift, oss, cos, obs.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Credentials without which the service cannot be asked.
    #[error("the credentials of `{section}` from {from} are not complete: {needed} must be there")]
    Incomplete {
        /// Where they were looked for.
        from: String,
        /// The store file's section.
        section: &'static str,
        /// What they consist of.
        needed: &'static str,
    },
    /// A file is not what it should be.
    #[error("{path} is not {what}: {why}", path = .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong, and where.
        why: String,
    },
    /// A store file that names no store, or several.
    #[error("{path} does not name one store", path = .path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
        /// Which it names.
        source: NotOne,
    },
    /// What a field of a store file names cannot be used.
    #[error("{file}: `{field}`", file = .file.display())]
    Field {
        /// The store file.
        file: PathBuf,
        /// The field, with its section.
        field: String,
        /// What is wrong.
        source: Box<Self>,
    },
    /// What a variable of the environment says is not taken.
    #[error("{name}")]
    Variable {
        /// Which.
        name: &'static str,
        /// What is wrong.
        source: ValueError,
    },
    /// Nobody said which.
    #[error("no store is named: --root DIR or --store FILE")]
    None,
    /// A thread has ended.
    #[error("a thread cannot be run")]
    Thread(#[source] std::io::Error),
    /// No client can be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// For messages.
    pub name: String,
    bucket: Option<Bucket>,
}

/// The directory or the file.
impl std::fmt::Display for StoreArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { root, store } = self;
        // Exactly one is given.
        root.as_ref().or(store.as_ref()).map_or(Ok(()), |path| path.display().fmt(f))
    }
}

impl StoreArgs {
    /// Opens the store, and says what it cannot do.
    pub async fn open(&self) -> Result<Opened, OpenError> {
        let opened = match self.place()? {
            Place::Filesystem(Filesystem { root }) => {
                let name = root.display().to_string();
                let opened = tokio::task::spawn_blocking(move || FsStore::open(&root, layout::temporaries())).await;
                let store = opened.map_err(|error| OpenError::Thread(std::io::Error::other(error)))??;
                Opened { store: Arc::new(store), name, bucket: None }
            }
            Place::Memory => {
                tracing::warn!("everything is in memory, and gone with this process");
                Opened { store: Arc::new(MemoryStore::default()), name: "memory".to_owned(), bucket: None }
            }
            Place::Bucket(service) => open_bucket(*service, self.file().unwrap_or(Path::new(""))).await?,
        };
        opened.say();
        Ok(opened)
    }

    /// The bucket and where it is, where the store file says so.
    pub fn described(&self) -> Option<String> {
        let Ok(Place::Bucket(service)) = self.place() else { return None };
        let at = service.endpoint().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
        Some(format!("{} bucket {}{at}", service.name(), service.bucket()))
    }

    /// The store file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.store.as_deref()
    }

    /// The directory, where it is one that is not there.
    pub fn missing(&self) -> Result<Option<PathBuf>, OpenError> {
        match self.place()? {
            Place::Filesystem(Filesystem { root }) if !root.join(layout::store_identity().as_str()).exists() => {
                Ok(Some(root))
            }
            Place::Filesystem(_) | Place::Memory | Place::Bucket(_) => Ok(None),
        }
    }

    fn place(&self) -> Result<Place, OpenError> {
        match (&self.root, &self.store) {
            (Some(root), _) => Ok(Place::Filesystem(Filesystem { root: root.clone() })),
            (None, Some(path)) => file::place(path),
            // The command line asks for one; whoever makes these otherwise shall not lose what he is sent.
            (None, None) => Err(OpenError::None),
        }
    }
}

impl Opened {
    /// Why only one process may write here, if that is so.
    pub fn alone(&self) -> Option<String> {
        match self.store.abilities().exclusive {
            Exclusive::Yes => None,
            Exclusive::No(why) => Some(why),
        }
    }

    /// Whether it is one.
    pub fn is_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    /// Whether the service is one that any number of replicas share where it does what it is known for: others may then
    /// have found that they do.
    pub fn others_may_share(&self) -> bool {
        self.bucket.as_ref().is_some_and(Bucket::is_to_be_exclusive)
    }

    fn say(&self) {
        if let Some(why) = self.alone() {
            tracing::warn!(
                store = %self.name, %why,
                "this store does not refuse to create what exists: one replica only, and collections only while that is stopped"
            );
        }
    }

    /// Waits until it is time, and tries out again what a bucket can do. A directory's time never comes.
    pub async fn next_probe(&self) {
        if !self.is_bucket() {
            return std::future::pending().await;
        }
        tokio::time::sleep(PROBE).await;
        self.probe().await;
    }

    /// Tries out again what a bucket can do.
    pub async fn probe(&self) {
        let Some(bucket) = &self.bucket else { return };
        match bucket.probe().await {
            Ok(()) => self.say(),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(store = %self.name, %error, "the bucket's probe failed; what was known of it holds");
            }
        }
    }
}

/// `file` is the store file.
async fn open_bucket(mut service: Service, file: &Path) -> Result<Opened, OpenError> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Service::S3(S3 { sts_endpoint: endpoint @ None, credentials: Credentials::Platform, .. }) = &mut service {
        *endpoint = url_of_variable("AWS_ENDPOINT_URL_STS", &variable)?;
    }
    let service = &service;
    let client = client(service);
    let client = if service.ca_file().is_some() { client.map_err(of(file, service, "caFile")) } else { client }?;
    let secrets = all_secrets(service, file, &variable)?;
    let bucket = Bucket::open(service, &secrets, client, layout::temporaries(), Patience::default()).await?;
    let name = format!("{} bucket {}", service.name(), service.bucket());
    Ok(Opened { store: Arc::new(bucket.clone()), name, bucket: Some(bucket) })
}

/// Tells an error by the field that names what cannot be used.
fn of(file: &Path, service: &Service, field: &str) -> impl FnOnce(OpenError) -> OpenError {
    let (file, field) = (file.to_path_buf(), format!("{}.{field}", service.name()));
    move |source| OpenError::Field { file, field, source: Box::new(source) }
}

/// What it says where it says anything.
fn url_of_variable(
    name: &'static str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<ServiceUrl>, OpenError> {
    let said = variable(name).filter(|value| !value.is_empty());
    said.map(|url| url.parse()).transpose().map_err(|source| OpenError::Variable { name, source })
}

/// The credentials, and the key to encrypt with.
fn all_secrets(
    service: &Service,
    file: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Secrets, OpenError> {
    let field = match service.credentials() {
        Credentials::Platform | Credentials::Environment => "credentials",
        Credentials::File(_) => "credentials.file",
        Credentials::Directory(_) => "credentials.directory",
    };
    let mut secrets = secrets(service, variable).map_err(of(file, service, field))?;
    let key = service.customer_key().map(encryption_key).transpose();
    secrets.encryption_key = key.map_err(of(file, service, "encryption.customer.keyFile"))?;
    Ok(secrets)
}

fn client(service: &Service) -> Result<reqwest::Client, OpenError> {
    let trust = match service.ca_file() {
        None => Trust::Public,
        Some(path) => Trust::Also(read(path)?.into_bytes()),
    };
    Ok(http_client(&trust)?)
}

/// Sent nowhere but to the service: no redirect is followed, and none of the caller's proxies taken.
fn http_client(trust: &Trust) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(trust)?)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .http1_only()
        .no_proxy()
        .user_agent(concat!("regatta/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(ClientError::Build)
}

fn read(path: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(path).map_err(|source| OpenError::Read { path: path.to_path_buf(), source })
}

/// The credentials that a store file points to. `variable` reads the environment.
fn secrets(service: &Service, variable: &dyn Fn(&str) -> Option<String>) -> Result<Secrets, OpenError> {
    let (secrets, from) = match service.credentials() {
        Credentials::Platform => return Ok(Secrets::default()),
        Credentials::Environment => (from_environment(service, variable)?, "the environment".to_owned()),
        Credentials::File(path) => (from_file(service, path)?, path.display().to_string()),
        Credentials::Directory(path) => (from_directory(path)?, path.display().to_string()),
    };
    match lacking(service, &secrets) {
        None => Ok(secrets),
        Some(needed) => Err(OpenError::Incomplete { from, section: service.name(), needed }),
    }
}

/// Looked at before anything is asked of the service; what is wrong with it is not quoted.
fn encryption_key(CustomerKey { key_file }: &CustomerKey) -> Result<SecretString, OpenError> {
    let key = read(key_file)?.trim().to_owned();
    match base64::engine::general_purpose::STANDARD.decode(&key) {
        Ok(bytes) if bytes.len() == 32 => Ok(key.into()),
        Ok(_) | Err(_) => Err(OpenError::Malformed {
            path: key_file.clone(),
            what: "a key to encrypt with",
            why: "32 bytes in base64 are needed (`openssl rand -base64 32`)".to_owned(),
        }),
    }
}

/// What a service's credentials consist of, where they are not complete: some libraries would look for others elsewhere.
fn lacking(service: &Service, secrets: &Secrets) -> Option<&'static str> {
    let (is_there, needed) = match service {
        Service::S3(_) | Service::Oss(_) | Service::Cos(_) | Service::Obs(_) => {
            (secrets.access_key_id.is_some() && secrets.secret_access_key.is_some(), "accessKeyId and secretAccessKey")
        }
        Service::Gcs(_) => (secrets.service_account_key.is_some(), "the JSON key of a service account"),
        Service::Azure(_) => (secrets.account_key.is_some() || secrets.sas_token.is_some(), "accountKey or sasToken"),
        Service::Swift(_) => (
            secrets.token.is_some()
                || (secrets.username.is_some() && secrets.password.is_some())
                || (secrets.application_credential_id.is_some() && secrets.application_credential_secret.is_some()),
            "token, username and password, or applicationCredentialId and applicationCredentialSecret",
        ),
    };
    (!is_there).then_some(needed)
}

fn from_file(service: &Service, path: &Path) -> Result<Secrets, OpenError> {
    let text = read(path)?;
    match service {
        Service::Gcs(_) => Ok(Secrets { service_account_key: Some(text.into()), ..Secrets::default() }),
        // What is wrong with secrets is not quoted: the parser shows the lines around.
        Service::S3(_)
        | Service::Azure(_)
        | Service::Swift(_)
        | Service::Oss(_)
        | Service::Cos(_)
        | Service::Obs(_) => serde_yaml::from_str(&text).map_err(|error| {
            let line = error.location().map(|at| format!(" at line {}", at.line())).unwrap_or_default();
            OpenError::Malformed {
                path: path.to_path_buf(),
                what: "a file of credentials",
                why: format!("a field that is not known, or a value that is no text{line}"),
            }
        }),
    }
}

/// Every file of the directory, but for those that the kubelet made for itself.
fn from_directory(path: &Path) -> Result<Secrets, OpenError> {
    let failed = |source| OpenError::Read { path: path.to_path_buf(), source };
    let mut fields = serde_json::Map::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || entry.path().is_dir() {
            continue;
        }
        // A line's end is an editor's, never a secret's.
        let value = read(&entry.path())?.trim_end_matches(['\n', '\r']).to_owned();
        fields.insert(name, value.into());
    }
    serde_json::from_value(fields.into()).map_err(|error| OpenError::Malformed {
        path: path.to_path_buf(),
        what: "a directory of credentials",
        why: error.to_string(),
    })
}

/// The variables that the service's own tools read.
fn from_environment(service: &Service, variable: &dyn Fn(&str) -> Option<String>) -> Result<Secrets, OpenError> {
    let get = |name: &str| variable(name).filter(|value| !value.is_empty()).map(SecretString::from);
    let mut secrets = Secrets::default();
    match service {
        Service::S3(_) => {
            secrets.access_key_id = get("AWS_ACCESS_KEY_ID");
            secrets.secret_access_key = get("AWS_SECRET_ACCESS_KEY");
            secrets.session_token = get("AWS_SESSION_TOKEN");
        }
        Service::Gcs(_) => {
            if let Some(path) = variable("GOOGLE_APPLICATION_CREDENTIALS") {
                secrets.service_account_key = Some(read(Path::new(&path))?.into());
            }
        }
        Service::Azure(_) => {
            secrets.account_key = get("AZURE_STORAGE_KEY");
            secrets.sas_token = get("AZURE_STORAGE_SAS_TOKEN");
        }
        Service::Swift(_) => {
            secrets.token = get("OS_AUTH_TOKEN");
            secrets.username = get("OS_USERNAME");
            secrets.password = get("OS_PASSWORD");
            secrets.application_credential_id = get("OS_APPLICATION_CREDENTIAL_ID");
            secrets.application_credential_secret = get("OS_APPLICATION_CREDENTIAL_SECRET");
        }
        Service::Oss(_) => {
            secrets.access_key_id = get("ALIBABA_CLOUD_ACCESS_KEY_ID");
            secrets.secret_access_key = get("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
            secrets.session_token = get("ALIBABA_CLOUD_SECURITY_TOKEN");
        }
        Service::Cos(_) => {
            secrets.access_key_id = get("TENCENTCLOUD_SECRET_ID");
            secrets.secret_access_key = get("TENCENTCLOUD_SECRET_KEY");
            secrets.session_token = get("TENCENTCLOUD_TOKEN");
        }
        Service::Obs(_) => {
            secrets.access_key_id = get("HUAWEICLOUD_SDK_AK");
            secrets.secret_access_key = get("HUAWEICLOUD_SDK_SK");
        }
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests;
