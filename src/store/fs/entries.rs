//! Which entries are known to be on disk, so that making one durable that another process made costs nothing mostly.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::remembered::Remembered;

/// How many entries are remembered: those of pushes in progress matter, and so many are what a table of 2^14 places holds,
/// in half a MiB. Forgetting one costs an fsync.
const REMEMBERED: usize = 14_336;

/// How many files are remembered whose sync failed.
const SUSPECT: usize = 16_384;

/// What this process put on disk itself.
///
/// How old an entry is says nothing: the filesystem commits what it has by itself within seconds or minutes, but of its own
/// time, while the clock that stamps entries jumps when a machine was suspended or is set. So what was not put on disk here
/// is synced once, whoever made it and when. A file is known by path, inode and the time at which it was written, none of
/// which link and unlink change: one that was deleted and made again by another process is not known.
#[derive(Debug)]
pub(super) struct DurableEntries {
    known: Remembered<(u64, i64, i64)>,
    /// Files whose sync failed: that the next one succeeds says nothing of their bytes.
    suspect: Mutex<HashMap<PathBuf, (u64, i64, i64)>>,
}

impl Default for DurableEntries {
    fn default() -> Self {
        Self { known: Remembered::of(REMEMBERED), suspect: Mutex::default() }
    }
}

fn identity(meta: &Metadata) -> (u64, i64, i64) {
    (meta.ino(), meta.mtime(), meta.mtime_nsec())
}

impl DurableEntries {
    /// Whether an entry needs no fsync.
    pub(super) fn is_durable(&self, path: &Path, meta: &Metadata) -> bool {
        self.known.knows(path, &identity(meta))
    }

    /// Whether a sync of this file has failed. Where that happened to more than can be remembered, every file may be one.
    pub(super) fn is_suspect(&self, path: &Path, meta: &Metadata) -> bool {
        let suspect = self.suspect.lock().unwrap_or_else(PoisonError::into_inner);
        suspect.len() >= SUSPECT || suspect.get(path) == Some(&identity(meta))
    }

    /// A sync of this file failed.
    pub(super) fn suspect(&self, path: PathBuf, meta: &Metadata) {
        let mut suspect = self.suspect.lock().unwrap_or_else(PoisonError::into_inner);
        if suspect.len() < SUSPECT {
            suspect.insert(path, identity(meta));
        }
    }

    /// This entry was put on disk; of a file whose sync failed that says nothing.
    pub(super) fn remember(&self, path: &Path, meta: &Metadata) {
        let mut suspect = self.suspect.lock().unwrap_or_else(PoisonError::into_inner);
        if suspect.get(path) == Some(&identity(meta)) {
            return;
        }
        suspect.remove(path);
        drop(suspect);
        self.known.remember(path, identity(meta));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A machine that was suspended, or whose clock was set forward, has old entries that nobody has put on disk.
    #[test]
    fn an_entry_that_seems_old_is_not_taken_for_durable() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("entry");
        let file = File::create(&path).unwrap();
        let long_ago = SystemTime::now() - Duration::from_hours(48);
        file.set_times(FileTimes::new().set_modified(long_ago)).unwrap();
        let entries = DurableEntries::default();
        assert!(!entries.is_durable(&path, &file.metadata().unwrap()));
        entries.remember(&path, &file.metadata().unwrap());
        assert!(entries.is_durable(&path, &file.metadata().unwrap()));
        std::fs::remove_file(&path).unwrap();
        let again = File::create(&path).unwrap();
        assert!(!entries.is_durable(&path, &again.metadata().unwrap()), "this is another one");
    }
}
