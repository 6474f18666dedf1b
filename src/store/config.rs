//! What a store file may say: exactly one place, and how to get there. Types only; the composition root reads the file
//! and the environment.
//!
//! ```yaml
//! s3:
//!   bucket: images
//!   region: eu-central-1
//!   credentials:
//!     directory: /etc/regatta/s3
//! ```

mod values;

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

pub use values::{Container, HostUrl, Name, Prefix, ServiceUrl, ValueError};

/// A store file: exactly one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StoreFile {
    /// A directory of a volume.
    pub filesystem: Option<Filesystem>,
    /// Gone with the process: for trying things out.
    pub memory: Option<Memory>,
    /// Amazon S3 and what speaks like it.
    pub s3: Option<S3>,
    /// Google Cloud Storage.
    pub gcs: Option<Gcs>,
    /// Azure Blob Storage.
    pub azure: Option<Azure>,
    /// OpenStack Swift.
    pub swift: Option<Swift>,
    /// Alibaba Cloud Object Storage Service.
    pub oss: Option<Oss>,
    /// Tencent Cloud Object Storage.
    pub cos: Option<Cos>,
    /// Huawei Cloud Object Storage Service.
    pub obs: Option<Obs>,
}

/// The one place that a store file names.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory.
    Filesystem(Filesystem),
    /// Nothing that stays.
    Memory,
    /// A bucket.
    Bucket(Box<Service>),
}

/// A bucket, by the service that has it.
#[derive(Debug, Clone)]
pub enum Service {
    /// Amazon S3 and what speaks like it.
    S3(S3),
    /// Google Cloud Storage.
    Gcs(Gcs),
    /// Azure Blob Storage.
    Azure(Azure),
    /// OpenStack Swift.
    Swift(Swift),
    /// Alibaba Cloud Object Storage Service.
    Oss(Oss),
    /// Tencent Cloud Object Storage.
    Cos(Cos),
    /// Huawei Cloud Object Storage Service.
    Obs(Obs),
}

/// A store file that names no place, or several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "exactly one of filesystem, memory, s3, gcs, azure, swift, oss, cos and obs must be set; {}",
    if .0.is_empty() { "none is".to_owned() } else { format!("there are {}", .0.join(" and ")) }
)]
pub struct NotOne(Vec<&'static str>);

impl StoreFile {
    /// The one place.
    pub fn place(self) -> Result<Place, NotOne> {
        let Self { filesystem, memory, s3, gcs, azure, swift, oss, cos, obs } = self;
        let bucket = |service| Place::Bucket(Box::new(service));
        let candidates = [
            ("filesystem", filesystem.map(Place::Filesystem)),
            ("memory", memory.map(|Memory {}| Place::Memory)),
            ("s3", s3.map(|it| bucket(Service::S3(it)))),
            ("gcs", gcs.map(|it| bucket(Service::Gcs(it)))),
            ("azure", azure.map(|it| bucket(Service::Azure(it)))),
            ("swift", swift.map(|it| bucket(Service::Swift(it)))),
            ("oss", oss.map(|it| bucket(Service::Oss(it)))),
            ("cos", cos.map(|it| bucket(Service::Cos(it)))),
            ("obs", obs.map(|it| bucket(Service::Obs(it)))),
        ];
        let mut found: Vec<(&'static str, Place)> =
            candidates.into_iter().filter_map(|(name, place)| Some((name, place?))).collect();
        match found.pop() {
            Some((_, place)) if found.is_empty() => Ok(place),
            last => Err(NotOne(found.into_iter().chain(last).map(|(name, _)| name).collect())),
        }
    }
}

impl Service {
    /// The name of its section in a store file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Azure(_) => "azure",
            Self::Swift(_) => "swift",
            Self::Oss(_) => "oss",
            Self::Cos(_) => "cos",
            Self::Obs(_) => "obs",
        }
    }

    /// The bucket or container.
    pub fn bucket(&self) -> &str {
        match self {
            Self::S3(S3 { bucket, .. })
            | Self::Gcs(Gcs { bucket, .. })
            | Self::Oss(Oss { bucket, .. })
            | Self::Cos(Cos { bucket, .. })
            | Self::Obs(Obs { bucket, .. })
            | Self::Azure(Azure { container: bucket, .. }) => bucket.as_str(),
            Self::Swift(Swift { container, .. }) => container.as_str(),
        }
    }

    /// Its URL, where the store file says one.
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Self::S3(S3 { endpoint, .. }) | Self::Gcs(Gcs { endpoint, .. }) | Self::Azure(Azure { endpoint, .. }) => {
                endpoint.as_ref().map(ServiceUrl::as_str)
            }
            Self::Swift(Swift { endpoint, .. }) => Some(endpoint.as_str()),
            Self::Oss(Oss { endpoint, .. }) | Self::Cos(Cos { endpoint, .. }) | Self::Obs(Obs { endpoint, .. }) => {
                Some(endpoint.as_str())
            }
        }
    }

    /// Whether clients are sent to the service for the bytes of blobs.
    pub fn redirect(&self) -> bool {
        match self {
            Self::S3(S3 { redirect, .. })
            | Self::Gcs(Gcs { redirect, .. })
            | Self::Azure(Azure { redirect, .. })
            | Self::Oss(Oss { redirect, .. })
            | Self::Cos(Cos { redirect, .. })
            | Self::Obs(Obs { redirect, .. }) => *redirect,
            // A temporary URL needs a key of the account that this release does not take.
            Self::Swift(_) => false,
        }
    }

    /// The key that the service is given with each request to encrypt with.
    pub fn customer_key(&self) -> Option<&CustomerKey> {
        match self {
            Self::S3(S3 { encryption: Some(S3Encryption::Customer(key)), .. })
            | Self::Azure(Azure { encryption: Some(AzureEncryption::Customer(key)), .. }) => Some(key),
            Self::S3(_)
            | Self::Gcs(_)
            | Self::Azure(_)
            | Self::Swift(_)
            | Self::Oss(_)
            | Self::Cos(_)
            | Self::Obs(_) => None,
        }
    }

    /// Certificates that are believed beside the public authorities.
    pub fn ca_file(&self) -> Option<&PathBuf> {
        match self {
            Self::S3(S3 { ca_file, .. })
            | Self::Gcs(Gcs { ca_file, .. })
            | Self::Azure(Azure { ca_file, .. })
            | Self::Swift(Swift { ca_file, .. })
            | Self::Oss(Oss { ca_file, .. })
            | Self::Cos(Cos { ca_file, .. })
            | Self::Obs(Obs { ca_file, .. }) => ca_file.as_ref(),
        }
    }

    /// Where the credentials come from.
    pub fn credentials(&self) -> &Credentials {
        match self {
            Self::S3(S3 { credentials, .. })
            | Self::Gcs(Gcs { credentials, .. })
            | Self::Azure(Azure { credentials, .. })
            | Self::Swift(Swift { credentials, .. })
            | Self::Oss(Oss { credentials, .. })
            | Self::Cos(Cos { credentials, .. })
            | Self::Obs(Obs { credentials, .. }) => credentials,
        }
    }
}

/// A directory of a volume.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filesystem {
    /// The directory. Made where it is absent.
    #[serde(deserialize_with = "values::not_empty")]
    pub root: PathBuf,
}

/// Nothing to say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {}

/// Where credentials come from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credentials {
    /// What the platform gives a workload: the service's own chain (a web identity token, a metadata service, and the
    /// environment). The default.
    #[default]
    Platform,
    /// The environment variables that the service's own tools read, and nothing else.
    Environment,
    /// A YAML or JSON file with the fields of [`Secrets`]; for `gcs` the JSON key of a service account.
    File(PathBuf),
    /// A directory with a file for each field, as a Secret is mounted; for `gcs` the file `key.json`.
    Directory(PathBuf),
}

/// What credentials consist of. Which of these a service takes is said there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Secrets {
    /// s3, oss, obs: the public half of an access key. cos: the SecretId.
    pub access_key_id: Option<SecretString>,
    /// s3, oss, obs: the secret half of an access key. cos: the SecretKey.
    pub secret_access_key: Option<SecretString>,
    /// s3, oss, cos: what belongs to a key that ends.
    pub session_token: Option<SecretString>,
    /// azure: the key of the storage account, in base64.
    pub account_key: Option<SecretString>,
    /// azure: a shared access signature.
    pub sas_token: Option<SecretString>,
    /// swift: a token that somebody else made. It is used until it ends.
    pub token: Option<SecretString>,
    /// swift: a user's name, for Keystone.
    pub username: Option<SecretString>,
    /// swift: his password.
    pub password: Option<SecretString>,
    /// swift: the id of an application credential, for Keystone.
    pub application_credential_id: Option<SecretString>,
    /// swift: its secret.
    pub application_credential_secret: Option<SecretString>,
    /// gcs: the JSON key of a service account, whole.
    #[serde(rename = "key.json")]
    pub service_account_key: Option<SecretString>,
    /// s3, azure: 256 bits in base64 that the service encrypts objects with and does not keep. They come from the file that
    /// [`CustomerKey`] names, and not with the credentials.
    #[serde(skip)]
    pub encryption_key: Option<SecretString>,
}

/// What Amazon S3 encrypts objects with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum S3Encryption {
    /// A key of the service's own.
    #[serde(rename = "AES256")]
    Aes256,
    /// A key of its key management, by id; without one, the bucket's default key.
    #[serde(rename = "kms")]
    Kms {
        /// The id or ARN of the key.
        #[serde(default, deserialize_with = "values::not_empty_if_said")]
        key: Option<String>,
    },
    /// A key that it is given with each request.
    #[serde(rename = "customer")]
    Customer(CustomerKey),
}

/// What OSS encrypts objects with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum OssEncryption {
    /// A key of the service's own.
    #[serde(rename = "AES256")]
    Aes256,
    /// A key of its key management, by id; without one, the bucket's default key.
    #[serde(rename = "kms")]
    Kms {
        /// The id of the key.
        #[serde(default, deserialize_with = "values::not_empty_if_said")]
        key: Option<String>,
    },
}

/// What Azure encrypts blobs with, other than as the account says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum AzureEncryption {
    /// A key that it is given with each request.
    #[serde(rename = "customer")]
    Customer(CustomerKey),
}

/// A key that the service does not keep: without it nothing can be read any more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomerKey {
    /// A file with 256 bits in base64.
    pub key_file: PathBuf,
}

/// Amazon S3 and what speaks like it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3 {
    /// The bucket. It must exist.
    pub bucket: Name,
    /// What all keys begin with; none by default.
    #[serde(default)]
    pub prefix: Prefix,
    /// The service's URL, where it is not Amazon's.
    pub endpoint: Option<ServiceUrl>,
    /// The region that requests are signed for.
    #[serde(default = "Name::us_east_1")]
    pub region: Name,
    /// Whether the bucket is in the URL's path (`true`) or in its host name. In the path unless said otherwise where an
    /// endpoint is given; in the host name at Amazon's.
    pub path_style: Option<bool>,
    /// What objects are encrypted with; by default as the bucket says.
    pub encryption: Option<S3Encryption>,
    /// Where a web identity's token is exchanged for credentials, where that is not Amazon's STS; `AWS_ENDPOINT_URL_STS`
    /// says it too.
    pub sts_endpoint: Option<ServiceUrl>,
    /// Where the credentials come from.
    #[serde(default)]
    pub credentials: Credentials,
    /// Certificates (PEM) that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
    /// Send clients to the service for the bytes of blobs, by a URL that holds for some minutes.
    #[serde(default)]
    pub redirect: bool,
}

/// Google Cloud Storage.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gcs {
    /// The bucket. It must exist.
    pub bucket: Name,
    /// What all keys begin with; none by default.
    #[serde(default)]
    pub prefix: Prefix,
    /// The service's URL, where it is not Google's.
    pub endpoint: Option<ServiceUrl>,
    /// Where the credentials come from.
    #[serde(default)]
    pub credentials: Credentials,
    /// Certificates (PEM) that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
    /// Send clients to the service for the bytes of blobs.
    #[serde(default)]
    pub redirect: bool,
}

/// Azure Blob Storage.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Azure {
    /// The container. It must exist.
    pub container: Name,
    /// The storage account.
    pub account: Name,
    /// What all keys begin with; none by default.
    #[serde(default)]
    pub prefix: Prefix,
    /// The service's URL; `https://<account>.blob.core.windows.net` by default.
    pub endpoint: Option<ServiceUrl>,
    /// What blobs are encrypted with; by default as the account or the container says.
    pub encryption: Option<AzureEncryption>,
    /// Where the credentials come from.
    #[serde(default)]
    pub credentials: Credentials,
    /// Certificates (PEM) that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
    /// Send clients to the service for the bytes of blobs. Only with the account's key, which URLs of one blob are
    /// signed with.
    #[serde(default)]
    pub redirect: bool,
}

/// OpenStack Swift. It cannot refuse to write over an object: one replica only.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Swift {
    /// The container. It must exist.
    pub container: Container,
    /// What all keys begin with; none by default.
    #[serde(default)]
    pub prefix: Prefix,
    /// The account's storage URL, `https://host/v1/AUTH_project`.
    pub endpoint: ServiceUrl,
    /// Keystone, version 3, `https://host:5000/v3`: where tokens are made from a password or an application credential.
    pub auth_url: Option<ServiceUrl>,
    /// The user's domain, for a password.
    #[serde(default = "default_domain", deserialize_with = "values::not_empty")]
    pub user_domain: String,
    /// The project, for a password.
    #[serde(default, deserialize_with = "values::not_empty_if_said")]
    pub project: Option<String>,
    /// The project's domain.
    #[serde(default = "default_domain", deserialize_with = "values::not_empty")]
    pub project_domain: String,
    /// Where the credentials come from.
    #[serde(default)]
    pub credentials: Credentials,
    /// Certificates (PEM) that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
}

fn default_domain() -> String {
    "Default".to_owned()
}

/// Alibaba Cloud Object Storage Service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oss {
    /// The bucket. It must exist, without versions: create-if-absent is ignored where there are any.
    pub bucket: Name,
    /// What all keys begin with; none by default.
    #[serde(default)]
    pub prefix: Prefix,
    /// The region's URL, `https://oss-cn-hangzhou.aliyuncs.com`.
    pub endpoint: HostUrl,
    /// Whether the bucket is in the URL's path rather than in its host name.
    #[serde(default)]
    pub path_style: bool,
    /// What objects are encrypted with; by default as the bucket says.
    pub encryption: Option<OssEncryption>,
    /// Where the credentials come from.
    #[serde(default)]
    pub credentials: Credentials,
    /// Certificates (PEM) that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
    /// Send clients to the service for the bytes of blobs.
    #[serde(default)]
    pub redirect: bool,
}

/// Tencent Cloud Object Storage.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cos {
    /// The bucket with its account's number. It must exist, without versions: create-if-absent is ignored where there
    /// are any.
    pub bucket: Name,
    /// What all keys begin with; none by default.
    #[serde(default)]
    pub prefix: Prefix,
    /// The region's URL, `https://cos.ap-guangzhou.myqcloud.com`.
    pub endpoint: HostUrl,
    /// Where the credentials come from.
    #[serde(default)]
    pub credentials: Credentials,
    /// Certificates (PEM) that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
    /// Send clients to the service for the bytes of blobs.
    #[serde(default)]
    pub redirect: bool,
}

/// Huawei Cloud Object Storage Service. It cannot refuse to write over an object: one replica only.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Obs {
    /// The bucket. It must exist.
    pub bucket: Name,
    /// What all keys begin with; none by default.
    #[serde(default)]
    pub prefix: Prefix,
    /// The region's URL, `https://obs.cn-north-4.myhuaweicloud.com`.
    #[serde(deserialize_with = "values::without_port")]
    pub endpoint: HostUrl,
    /// Where the credentials come from.
    #[serde(default)]
    pub credentials: Credentials,
    /// Certificates (PEM) that are believed beside the public authorities.
    pub ca_file: Option<PathBuf>,
    /// Send clients to the service for the bytes of blobs.
    #[serde(default)]
    pub redirect: bool,
}
