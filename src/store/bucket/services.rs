//! From a configuration to the library's builder, a function a service.

use opendal::services;
use opendal::{Error, ErrorKind, Operator, Result};
use secrecy::{ExposeSecret as _, SecretString};

use super::keystone::{Keystone, Login};
use crate::store::config::{
    Azure, AzureEncryption, Cos, Credentials, Gcs, Obs, Oss, OssEncryption, S3, S3Encryption, Secrets, Service, Swift,
};

/// Bytes of a key that a service is given to encrypt with: AES-256.
const CUSTOMER_KEY: usize = 32;

/// A client of the service, without layers; and what makes its tokens, where the library cannot.
pub(super) fn open(
    service: &Service,
    secrets: &Secrets,
    client: &reqwest::Client,
) -> Result<(Operator, Option<Keystone>)> {
    Ok(match service {
        Service::S3(it) => (s3(it, secrets)?, None),
        Service::Gcs(it) => (gcs(it, secrets)?, None),
        Service::Azure(it) => (azure(it, secrets)?, None),
        Service::Swift(it) => (swift(it, secrets)?, keystone(it, secrets, client)),
        Service::Oss(it) => (oss(it, secrets)?, None),
        Service::Cos(it) => (cos(it, secrets)?, None),
        Service::Obs(it) => (obs(it, secrets)?, None),
    })
}

/// Applies a secret that is there.
fn with<B>(builder: B, secret: Option<&SecretString>, set: fn(B, &str) -> B) -> B {
    match secret {
        Some(secret) => set(builder, secret.expose_secret()),
        None => builder,
    }
}

/// Whether the library may look for credentials itself.
fn may_look(credentials: &Credentials) -> bool {
    match credentials {
        Credentials::Platform => true,
        Credentials::Environment | Credentials::File(_) | Credentials::Directory(_) => false,
    }
}

/// The 256 bits that the service is given to encrypt with. What is wrong with them is not quoted.
fn customer_key(secrets: &Secrets) -> Result<Vec<u8>> {
    use base64::Engine as _;

    let key = secrets.encryption_key.as_ref().map(|key| key.expose_secret().trim());
    let key = key.and_then(|key| base64::engine::general_purpose::STANDARD.decode(key).ok());
    let key = key.filter(|key| key.len() == CUSTOMER_KEY);
    let wrong = || Error::new(ErrorKind::ConfigInvalid, "the key of `encryption.customer` is not 32 bytes in base64");
    key.ok_or_else(wrong)
}

fn s3(it: &S3, secrets: &Secrets) -> Result<Operator> {
    let mut builder =
        services::S3::default().bucket(it.bucket.as_str()).root(it.prefix.as_str()).region(it.region.as_str());
    if let Some(endpoint) = &it.endpoint {
        builder = builder.endpoint(endpoint.as_str());
    }
    if !it.path_style.unwrap_or(it.endpoint.is_some()) {
        builder = builder.enable_virtual_host_style();
    }
    builder = match &it.encryption {
        None => builder,
        Some(S3Encryption::Aes256) => builder.server_side_encryption_with_s3_key(),
        Some(S3Encryption::Kms { key: None }) => builder.server_side_encryption_with_aws_managed_kms_key(),
        Some(S3Encryption::Kms { key: Some(key) }) => builder.server_side_encryption_with_customer_managed_kms_key(key),
        Some(S3Encryption::Customer(_)) => {
            builder.server_side_encryption_with_customer_key("AES256", &customer_key(secrets)?)
        }
    };
    if !may_look(&it.credentials) {
        builder = builder.disable_config_load().disable_ec2_metadata();
    }
    builder = with(builder, secrets.access_key_id.as_ref(), services::S3::access_key_id);
    builder = with(builder, secrets.secret_access_key.as_ref(), services::S3::secret_access_key);
    builder = with(builder, secrets.session_token.as_ref(), services::S3::session_token);
    Operator::new(builder)
}

fn gcs(it: &Gcs, secrets: &Secrets) -> Result<Operator> {
    use base64::Engine as _;

    let mut builder = services::Gcs::default().bucket(it.bucket.as_str()).root(it.prefix.as_str());
    if let Some(endpoint) = &it.endpoint {
        builder = builder.endpoint(endpoint.as_str());
    }
    if !may_look(&it.credentials) {
        builder = builder.disable_config_load().disable_vm_metadata();
    }
    if let Some(key) = &secrets.service_account_key {
        builder = builder.credential(&base64::engine::general_purpose::STANDARD.encode(key.expose_secret()));
    }
    builder = with(builder, secrets.token.as_ref(), |builder, token| builder.token(token.to_owned()));
    Operator::new(builder)
}

/// Microsoft's, where no other is given.
pub(super) fn azure_endpoint(it: &Azure) -> String {
    match &it.endpoint {
        Some(endpoint) => endpoint.as_str().to_owned(),
        None => format!("https://{}.blob.core.windows.net", it.account.as_str()),
    }
}

fn azure(it: &Azure, secrets: &Secrets) -> Result<Operator> {
    let endpoint = azure_endpoint(it);
    let mut builder = services::Azblob::default()
        .container(it.container.as_str())
        .root(it.prefix.as_str())
        .endpoint(&endpoint)
        .account_name(it.account.as_str());
    if let Some(AzureEncryption::Customer(_)) = &it.encryption {
        builder = builder.server_side_encryption_with_customer_key(&customer_key(secrets)?);
    }
    builder = with(builder, secrets.account_key.as_ref(), services::Azblob::account_key);
    builder = with(builder, secrets.sas_token.as_ref(), services::Azblob::sas_token);
    Operator::new(builder)
}

fn swift(it: &Swift, secrets: &Secrets) -> Result<Operator> {
    let mut builder = services::Swift::default()
        .container(it.container.as_str())
        .root(it.prefix.as_str())
        .endpoint(it.endpoint.as_str());
    builder = with(builder, secrets.token.as_ref(), services::Swift::token);
    Operator::new(builder)
}

/// Without an address or a login, the token given is used.
fn keystone(it: &Swift, secrets: &Secrets, client: &reqwest::Client) -> Option<Keystone> {
    let login = match (&secrets.application_credential_id, &secrets.application_credential_secret) {
        (Some(id), Some(secret)) => Login::Application { id: id.clone(), secret: secret.clone() },
        _ => Login::Password {
            user: secrets.username.clone()?,
            password: secrets.password.clone()?,
            user_domain: it.user_domain.clone(),
            project: it.project.clone()?,
            project_domain: it.project_domain.clone(),
        },
    };
    Some(Keystone::new(client.clone(), it.auth_url.as_ref()?.as_str(), login))
}

fn oss(it: &Oss, secrets: &Secrets) -> Result<Operator> {
    let mut builder =
        services::Oss::default().bucket(it.bucket.as_str()).root(it.prefix.as_str()).endpoint(it.endpoint.as_str());
    if it.path_style {
        builder = builder.addressing_style("path");
    }
    builder = match &it.encryption {
        None => builder,
        Some(OssEncryption::Aes256) => builder.server_side_encryption("AES256"),
        Some(OssEncryption::Kms { key: None }) => builder.server_side_encryption("KMS"),
        Some(OssEncryption::Kms { key: Some(key) }) => {
            builder.server_side_encryption("KMS").server_side_encryption_key_id(key)
        }
    };
    builder = with(builder, secrets.access_key_id.as_ref(), services::Oss::access_key_id);
    builder = with(builder, secrets.secret_access_key.as_ref(), services::Oss::access_key_secret);
    builder = with(builder, secrets.session_token.as_ref(), services::Oss::security_token);
    Operator::new(builder)
}

fn cos(it: &Cos, secrets: &Secrets) -> Result<Operator> {
    let mut builder =
        services::Cos::default().bucket(it.bucket.as_str()).root(it.prefix.as_str()).endpoint(it.endpoint.as_str());
    if !may_look(&it.credentials) {
        builder = builder.disable_config_load();
    }
    builder = with(builder, secrets.access_key_id.as_ref(), services::Cos::secret_id);
    builder = with(builder, secrets.secret_access_key.as_ref(), services::Cos::secret_key);
    builder = with(builder, secrets.session_token.as_ref(), services::Cos::security_token);
    Operator::new(builder)
}

fn obs(it: &Obs, secrets: &Secrets) -> Result<Operator> {
    let mut builder =
        services::Obs::default().bucket(it.bucket.as_str()).root(it.prefix.as_str()).endpoint(it.endpoint.as_str());
    builder = with(builder, secrets.access_key_id.as_ref(), services::Obs::access_key_id);
    builder = with(builder, secrets.secret_access_key.as_ref(), services::Obs::secret_access_key);
    Operator::new(builder)
}
