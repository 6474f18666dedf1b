//! Whether a directory can hold a store, and what to do where it cannot.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::Inner;
use crate::store::{Durability, PutNew, StoreError, nonce};

/// What somebody who runs the registry can do about an error of the system's.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "mount it read-write",
        io::ErrorKind::PermissionDenied => "make it writable for the user that the registry runs as",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on it, or make it larger",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "name a directory",
        _ => "see to the volume, then start the registry again",
    }
}

/// The place cannot hold a store, since the system says this of it.
pub(super) fn unsuitable(root: &Path, source: &io::Error) -> StoreError {
    refuse(root, &format!("{source}; {}", remedy(source)))
}

fn refuse(root: &Path, why: &str) -> StoreError {
    StoreError::Unsuitable { path: root.display().to_string(), why: why.to_owned() }
}

impl Inner {
    /// A volume that is full takes no file to probe with, but can be read all the same: its registry serves, and the
    /// probe is made up for before anything is written.
    pub(super) fn probe_unless_full(&self) -> Result<(), StoreError> {
        match self.probe() {
            Err(StoreError::Full { .. }) => Ok(()),
            probed => probed,
        }
    }

    /// To be asked before whatever relies on links: the place is probed unless it was.
    pub(super) fn require_probed(&self) -> Result<(), StoreError> {
        if self.probed.load(Ordering::Relaxed) { Ok(()) } else { self.probe() }
    }

    /// Links must work, and names that differ in case must differ: both are promises of the storage protocol.
    fn probe(&self) -> Result<(), StoreError> {
        let nonce = nonce();
        let (lower, upper) =
            (self.scratch.join(format!("probe-{nonce}-a")), self.scratch.join(format!("probe-{nonce}-A")));
        let twice = [b"1", b"2"]
            .map(|value| self.create(&lower, value, Durability::Durable))
            .into_iter()
            .collect::<Result<Vec<_>, _>>();
        let folds = self.path(&upper).exists();
        let _ = std::fs::remove_file(self.path(&lower));
        match twice {
            // Filesystems that know no links say so in various ways (link(2)).
            Err(StoreError::Io { doing: "linking", source, .. }) => {
                Err(refuse(&self.root, &format!("it makes no links: {source}; use a filesystem with hard links")))
            }
            Err(
                StoreError::Io { doing, key, source }
                | StoreError::ReadOnly { doing, key, source }
                | StoreError::Silent { doing, key, source },
            ) => Err(refuse(&self.root, &format!("{doing} `{key}` failed: {source}; {}", remedy(&source)))),
            Err(error) => Err(error),
            Ok(_) if folds => Err(refuse(&self.root, "it folds upper and lower case; use a case-sensitive filesystem")),
            Ok(twice) if matches!(twice[..], [PutNew::Created, PutNew::Exists(_)]) => {
                self.probed.store(true, Ordering::Relaxed);
                Ok(())
            }
            Ok(_) => {
                Err(refuse(&self.root, "it does not refuse to create a file twice; use a filesystem with hard links"))
            }
        }
    }
}
