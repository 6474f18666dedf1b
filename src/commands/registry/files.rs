//! The mounted files: keys, passwords, replicators, certificates. Read at the start, and again when they change.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::{Args, Error};
use crate::admin::KeySet;
use crate::auth::htpasswd::Htpasswd;
use crate::auth::secrets::SecretHash;
use crate::auth::{Configured, Identity};
use crate::server::fault::chain;
use crate::server::tls::{Certificate, TlsError};

/// The user whose password is made where nothing else is configured.
const LOCAL_ADMIN: &str = "admin";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is not {what}: {why}", path = .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::Read { path: path.to_path_buf(), source })
}

fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|error| FileError::Malformed {
        path: path.to_path_buf(),
        what: "text",
        why: error.to_string(),
    })
}

/// Where everything is, and what it was.
#[derive(Debug)]
pub struct Sources {
    keys_file: Option<PathBuf>,
    htpasswd_file: Option<PathBuf>,
    replicators_dir: Option<PathBuf>,
    admins: Vec<String>,
    local_admin: Option<SecretHash>,
    /// The local admin's, where it was made here.
    password: Option<SecretString>,
    /// Made at the start where no file is given: tokens end with the process then.
    keys: KeySet,
    seen: Raw,
    /// A changed password file that is not taken, to say so once.
    refused: Option<String>,
}

/// The contents, to tell whether anything changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Raw {
    keys: Option<String>,
    htpasswd: Option<String>,
    replicators: HashMap<String, String>,
}

impl Sources {
    /// From the arguments. Makes a password for `admin` where there is nobody else.
    pub fn new(args: &Args) -> Result<Self, FileError> {
        let mut sources = Self {
            keys_file: args.keys_file.clone(),
            htpasswd_file: args.htpasswd_file.clone(),
            replicators_dir: args.replicators_dir.clone(),
            admins: args.admin.clone(),
            local_admin: None,
            password: None,
            keys: KeySet::generate(),
            seen: Raw::default(),
            refused: None,
        };
        if args.registry_uid.is_none() && args.htpasswd_file.is_none() {
            sources.local_admin = Some(if let Some(path) = args.admin_password_file.as_deref() {
                local_admin(path)?
            } else {
                let made = SecretString::from(crate::registry::nonce());
                SecretHash::of(sources.password.insert(made).expose_secret())
            });
        }
        sources.seen = sources.raw()?;
        Ok(sources)
    }

    /// Prints the password that was made, the one time that it is shown. A closed standard output leaves a registry that
    /// nobody can log in to, as wanted.
    pub fn say_password(&self) {
        if let Some(password) = &self.password {
            let _ = writeln!(io::stdout(), "user: {LOCAL_ADMIN}\npassword: {}", password.expose_secret());
        }
    }

    fn raw(&self) -> Result<Raw, FileError> {
        Ok(Raw {
            keys: self.keys_file.as_deref().map(read_text).transpose()?,
            htpasswd: self.htpasswd_file.as_deref().map(read_text).transpose()?,
            replicators: self.replicators_dir.as_deref().map(replicators).transpose()?.unwrap_or_default(),
        })
    }

    /// What the files say now.
    pub fn read(&self) -> Result<(KeySet, Configured), FileError> {
        let keys = match (&self.seen.keys, &self.keys_file) {
            (Some(text), Some(path)) => serde_json::from_str(text).map_err(|error| FileError::Malformed {
                path: path.clone(),
                what: "a set of keys",
                why: error.to_string(),
            })?,
            (Some(_) | None, Some(_) | None) => self.keys.clone(),
        };
        let (htpasswd, bad) = self.seen.htpasswd.as_deref().map(Htpasswd::parse).unwrap_or_default();
        for line in bad {
            tracing::error!(%line, "a line of the password file cannot be used");
        }
        for admin in self.admins.iter().filter(|admin| !htpasswd.contains(admin)) {
            tracing::warn!(admin, "an admin is not in the password file");
        }
        let mut admins: Vec<Identity> = self.admins.iter().map(|admin| Identity::htpasswd(admin)).collect();
        admins.extend(self.local_admin.map(|_| Identity::htpasswd(LOCAL_ADMIN)));
        let replicators = &self.seen.replicators;
        let configured = Configured {
            htpasswd,
            replicators: replicators.iter().map(|(login, secret)| (login.clone(), SecretHash::of(secret))).collect(),
            local_admin: self.local_admin.map(|secret| (LOCAL_ADMIN.to_owned(), secret)),
            admins: admins.into_iter().collect(),
        };
        Ok((keys, configured))
    }

    /// What the files say now, if that is something else than before.
    pub fn read_if_changed(&mut self) -> Result<Option<(KeySet, Configured)>, FileError> {
        let mut raw = self.raw()?;
        self.keep_users(&mut raw);
        if raw == self.seen {
            return Ok(None);
        }
        let before = std::mem::replace(&mut self.seen, raw);
        match self.read() {
            Ok(read) => Ok(Some(read)),
            Err(error) => {
                self.seen = before;
                Err(error)
            }
        }
    }
}

impl Sources {
    /// A password file of which no line can be used is a mistake, and not the wish that nobody may log in: an empty one
    /// is that.
    fn keep_users(&mut self, raw: &mut Raw) {
        let (users, bad) = raw.htpasswd.as_deref().map(Htpasswd::parse).unwrap_or_default();
        let (true, Some(line)) = (users.is_empty(), bad.first()) else {
            self.refused = None;
            return;
        };
        if raw.htpasswd != self.refused {
            tracing::error!(%line, "no line of the changed password file can be used; the users from before stay");
            self.refused.clone_from(&raw.htpasswd);
        }
        raw.htpasswd.clone_from(&self.seen.htpasswd);
    }
}

/// `<dir>/*/username` and `password`. One that is incomplete is left out: an optional Secret is not there yet.
fn replicators(directory: &Path) -> Result<HashMap<String, String>, FileError> {
    let failed = |source| FileError::Read { path: directory.to_path_buf(), source };
    let mut found = HashMap::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let (Ok(login), Ok(password)) = (read_text(&path.join("username")), read_text(&path.join("password"))) else {
            continue;
        };
        let (login, password) = (login.trim(), password.trim());
        if !login.is_empty() && !password.is_empty() {
            found.insert(login.to_owned(), password.to_owned());
        }
    }
    Ok(found)
}

fn local_admin(path: &Path) -> Result<SecretHash, FileError> {
    let text = read_text(path)?;
    let password = text.trim();
    if password.is_empty() {
        let why = "it is empty".to_owned();
        return Err(FileError::Malformed { path: path.to_path_buf(), what: "a password", why });
    }
    Ok(SecretHash::of(password))
}

/// What is in the files of a certificate and of its key.
type Pair = (Vec<u8>, Vec<u8>);

/// A certificate and the files that it came from.
#[derive(Debug)]
pub struct WatchedCertificate {
    /// The one that is in use.
    pub certificate: Certificate,
    chain: PathBuf,
    key: PathBuf,
    /// What the one that is in use was made from.
    seen: Pair,
    /// What cannot be used, and how often it was looked at.
    refused: Option<(Pair, u32)>,
}

/// How often a pair is looked at that cannot be used before that is an error: whoever renames one file after the other
/// leaves a pair that does not fit between the two.
const LOOKS: u32 = 3;

/// What came of a look at a certificate's files.
#[derive(Debug)]
enum Looked {
    /// Nothing changed, or all was said.
    Nothing,
    /// They are in use.
    Taken,
    /// They cannot be used, and may be half replaced.
    NotYet(TlsError),
    /// They stayed so.
    Refused(TlsError),
}

impl WatchedCertificate {
    /// What the files hold now.
    pub(super) fn read(chain: &Path, key: &Path) -> Result<Self, Error> {
        let seen = (read(chain)?, read(key)?);
        let made = Certificate::new(&seen.0, &seen.1);
        let certificate = made.map_err(|source| Error::Tls { path: chain.to_path_buf(), source })?;
        Ok(Self { certificate, chain: chain.to_path_buf(), key: key.to_path_buf(), seen, refused: None })
    }

    /// Takes a changed certificate, and says so. One that cannot be used is looked at again; that it stays so is said once.
    pub fn poll(&mut self) {
        let looked = self.look();
        let path = self.chain.display();
        match looked {
            Looked::Nothing => {}
            Looked::Taken => tracing::info!(%path, "a new certificate is in use"),
            Looked::NotYet(error) => tracing::warn!(
                %path, error = %chain(&error),
                "a changed certificate cannot be used yet, and the one from before stays; its files are looked at again"
            ),
            Looked::Refused(error) => tracing::error!(
                %path, error = %chain(&error), "a changed certificate cannot be used; the one from before stays"
            ),
        }
    }

    fn look(&mut self) -> Looked {
        let (Ok(new_chain), Ok(new_key)) = (read(&self.chain), read(&self.key)) else { return Looked::Nothing };
        let new = (new_chain, new_key);
        if self.seen == new {
            self.refused = None;
            return Looked::Nothing;
        }
        let looks = self.refused.as_ref().filter(|(refused, _)| *refused == new).map_or(0, |(_, looks)| *looks);
        if looks >= LOOKS {
            return Looked::Nothing;
        }
        match self.certificate.replace(&new.0, &new.1) {
            Ok(()) => {
                (self.seen, self.refused) = (new, None);
                Looked::Taken
            }
            Err(error) => {
                self.refused = Some((new, looks + 1));
                match looks + 1 {
                    1 => Looked::NotYet(error),
                    LOOKS => Looked::Refused(error),
                    _ => Looked::Nothing,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::htpasswd::hash;

    fn sources(file: &Path) -> Sources {
        let mut sources = Sources {
            keys_file: None,
            htpasswd_file: Some(file.to_path_buf()),
            replicators_dir: None,
            admins: vec![],
            local_admin: None,
            password: None,
            keys: KeySet::generate(),
            seen: Raw::default(),
            refused: None,
        };
        sources.seen = sources.raw().unwrap();
        sources
    }

    #[test]
    fn a_pair_between_two_renames_is_looked_at_again_and_one_that_stays_unfit_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        let [old, new] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["registry".to_owned()]).unwrap());
        let write_chain = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| std::fs::write(&chain, pair.cert.pem()).unwrap();
        let write_key = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
            std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        };
        write_chain(&old);
        write_key(&old);
        let mut watched = WatchedCertificate::read(&chain, &key).unwrap();
        assert!(matches!(watched.look(), Looked::Nothing));
        write_chain(&new);
        assert!(matches!(watched.look(), Looked::NotYet(_)));
        assert!(matches!(watched.look(), Looked::Nothing));
        write_key(&new);
        assert!(matches!(watched.look(), Looked::Taken));
        write_key(&old);
        assert!(matches!(watched.look(), Looked::NotYet(_)));
        assert!(matches!(watched.look(), Looked::Nothing));
        assert!(matches!(watched.look(), Looked::Refused(_)));
        assert!(matches!(watched.look(), Looked::Nothing), "it is said once");
        write_key(&new);
        assert!(matches!(watched.look(), Looked::Nothing), "what is in use came back");
        write_key(&old);
        assert!(matches!(watched.look(), Looked::NotYet(_)), "and a new fault is told anew");
    }

    #[test]
    fn a_password_file_of_garbage_locks_nobody_out_and_an_empty_one_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("htpasswd");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write(&hash("ada", "secret").unwrap());
        let mut sources = sources(&file);
        let knows_ada = |read: &Option<(KeySet, Configured)>| read.as_ref().map(|read| read.1.htpasswd.contains("ada"));
        write("not: a password file\n");
        assert_eq!(knows_ada(&sources.read_if_changed().unwrap()), None, "what was in force stays so");
        write(&format!("not: a line\n{}", hash("eve", "secret").unwrap()));
        assert_eq!(knows_ada(&sources.read_if_changed().unwrap()), Some(false), "one good line is a password file");
        write(&hash("ada", "secret").unwrap());
        assert_eq!(knows_ada(&sources.read_if_changed().unwrap()), Some(true));
        write("");
        assert_eq!(knows_ada(&sources.read_if_changed().unwrap()), Some(false));
    }
}
