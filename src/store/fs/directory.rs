//! Directories: made on the way and put on disk with what is in them; and the order of their entries.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::found;
use crate::store::{Child, in_key_order};

/// How many directories are remembered. Forgetting one costs an fsync.
const REMEMBERED: usize = 65_536;

/// Remembers which directories are on disk with all their ancestors.
///
/// A directory is known by path *and* inode: one that was removed and made again by another process is not known.
#[derive(Debug)]
pub(super) struct DurableDirectories {
    root: PathBuf,
    known: Mutex<HashMap<PathBuf, u64>>,
    #[cfg(test)]
    synced: std::sync::atomic::AtomicU64,
}

impl DurableDirectories {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: Mutex::default(),
            #[cfg(test)]
            synced: std::sync::atomic::AtomicU64::default(),
        }
    }

    /// How many directories were synced so far.
    #[cfg(test)]
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Puts the entry `path` on disk: its directory, and that one's directory while its own entry is not known to be
    /// there, and so on up.
    pub(super) fn sync(&self, path: &Path) -> io::Result<()> {
        let mut fresh = Vec::new();
        let mut directory = path.parent();
        while let Some(current) = directory {
            let open = File::open(current)?;
            let inode = open.metadata()?.ino();
            open.sync_all()?;
            #[cfg(test)]
            self.synced.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let known = current == self.root || self.is_known(current, inode);
            if known {
                break;
            }
            fresh.push((current.to_path_buf(), inode));
            directory = current.parent();
        }
        self.remember(fresh);
        Ok(())
    }

    /// As [`Self::sync`], for a directory that may have been removed meanwhile.
    pub(super) fn sync_if_there(&self, path: &Path) -> io::Result<()> {
        found(self.sync(path)).map(|_| ())
    }

    fn is_known(&self, directory: &Path, inode: u64) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(directory) == Some(&inode)
    }

    fn remember(&self, fresh: Vec<(PathBuf, u64)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + fresh.len() > REMEMBERED {
            known.clear();
        }
        known.extend(fresh);
    }
}

/// Does something that needs the parent directory of `path`; makes that and tries again where it was missing.
pub(super) fn with_parent<T>(path: &Path, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    // An empty directory may be removed by a collector just after it was made: a few rounds settle it.
    let mut last = work();
    for _ in 0..8 {
        match &last {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => return last,
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        last = work();
    }
    last
}

/// In key order.
pub(super) struct Ordered(pub(super) Child);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Ordered {}
impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        in_key_order(&self.0, &other.0)
    }
}
