//! Who asks: a name and a password, read afresh where they are rotated.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::ClientError;

/// A name and a password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The login name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

impl Credentials {
    /// As the value of an `Authorization` header; `None` where a character cannot be sent.
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let pair = format!("{}:{}", self.username, self.password.expose_secret());
        let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Where credentials come from. Asked again when a registry refuses those of before.
pub trait CredentialSource: Send + Sync {
    /// The credentials of now; `None` is anonymous.
    fn load(&self) -> Result<Option<Credentials>, ClientError>;
}

impl CredentialSource for Credentials {
    fn load(&self) -> Result<Option<Credentials>, ClientError> {
        Ok(Some(self.clone()))
    }
}

/// A mounted basic-auth Secret: the files `username` and `password` of a directory. Absent files are anonymous.
#[derive(Debug, Clone)]
pub struct DirectoryCredentials(PathBuf);

impl DirectoryCredentials {
    /// Of this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }
}

impl CredentialSource for DirectoryCredentials {
    fn load(&self) -> Result<Option<Credentials>, ClientError> {
        let (username, password) = (read(&self.0.join("username"))?, read(&self.0.join("password"))?);
        Ok(username.zip(password).map(|(username, password)| Credentials { username, password: password.into() }))
    }
}

/// The file without its last line break, as editors and `echo` leave one.
fn read(path: &Path) -> Result<Option<String>, ClientError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClientError::Credentials { place: path.display().to_string(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_secret_is_read_without_its_line_breaks_and_an_absent_one_is_anonymous() {
        let directory = tempfile::tempdir().unwrap();
        let source = DirectoryCredentials::new(directory.path());
        assert!(source.load().unwrap().is_none());
        fs::write(directory.path().join("username"), "ann\n").unwrap();
        fs::write(directory.path().join("password"), "secret\r\n").unwrap();
        let found = source.load().unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.password.expose_secret()), ("ann", "secret"));
        assert_eq!(found.basic().unwrap(), "Basic YW5uOnNlY3JldA==");
    }
}
