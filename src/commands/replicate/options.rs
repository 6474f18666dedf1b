//! From options to clients.

use std::{fs, path::PathBuf, sync::Arc};

use clap::ValueEnum;

use super::Error;
use crate::{
    admin::Deletions,
    client::{Client, ClientConfig, CredentialSource, Credentials, DirectoryCredentials, Trust},
};

/// Whether deletions travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeletionsArg {
    /// They do.
    Propagate,
    /// What is deleted at the source stays at the destination.
    Ignore,
}

impl From<DeletionsArg> for Deletions {
    fn from(arg: DeletionsArg) -> Self {
        match arg {
            DeletionsArg::Propagate => Self::Propagate,
            DeletionsArg::Ignore => Self::Ignore,
        }
    }
}

/// One side's options.
#[derive(Debug, Clone)]
pub struct End {
    /// Names of the options, for errors.
    pub names: EndNames,
    /// The registry's address.
    pub url: String,
    /// A directory with a name and a password.
    pub credentials: Option<PathBuf>,
    /// Or a name ...
    pub username: Option<String>,
    /// ... and a file with a password.
    pub password_file: Option<PathBuf>,
    /// CA certificates.
    pub ca: Option<PathBuf>,
    /// No verification.
    pub insecure: bool,
}

/// What a side's options are called.
#[derive(Debug, Clone, Copy)]
pub struct EndNames {
    /// The address.
    pub url: &'static str,
    /// The password file.
    pub password_file: &'static str,
    /// The CA certificates.
    pub ca: &'static str,
}

/// Of the source.
pub const FROM: EndNames = EndNames { url: "--from", password_file: "--from-password-file", ca: "--from-ca" };
/// Of the destination.
pub const TO: EndNames = EndNames { url: "--to", password_file: "--to-password-file", ca: "--to-ca" };

impl End {
    /// A client of this side.
    pub fn client(&self) -> Result<Client, Error> {
        let invalid = |error| Error::Option { option: self.names.url, source: Box::new(error) };
        let mut config = ClientConfig::new(self.url.parse().map_err(invalid)?);
        config.credentials = self.credentials()?;
        config.trust = match (&self.ca, self.insecure) {
            (_, true) => Trust::Anyone,
            (Some(path), false) => Trust::Also(read(self.names.ca, path)?),
            (None, false) => Trust::Public,
        };
        Client::new(config).map_err(invalid)
    }

    fn credentials(&self) -> Result<Option<Arc<dyn CredentialSource>>, Error> {
        if let Some(directory) = &self.credentials {
            return Ok(Some(Arc::new(DirectoryCredentials::new(directory))));
        }
        let Some((username, file)) = self.username.clone().zip(self.password_file.as_ref()) else { return Ok(None) };
        let password = String::from_utf8_lossy(&read(self.names.password_file, file)?).into_owned();
        let password = password.trim_end_matches(['\r', '\n']).to_owned().into();
        Ok(Some(Arc::new(Credentials { username, password })))
    }
}

/// A file's bytes.
pub fn read(option: &'static str, path: &std::path::Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { option, path: path.to_owned(), source })
}
