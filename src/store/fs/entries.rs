//! Which entries are known to be on disk, so that making one durable that another process made costs nothing mostly.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many entries are remembered: those of pushes in progress matter. Forgetting one costs an fsync.
const REMEMBERED: usize = 16_384;

/// What was linked longer ago than this is on disk whether or not its maker came as far as the fsync: the filesystem
/// commits what it has by itself, ext4 after 5 seconds, XFS and btrfs after 30, and nobody sets more than five minutes.
/// An NFS server has a link on disk before it answers. Ages are by the machine's clock, which is held against the
/// store's every minute and may be a minute off.
const COMMITTED_AFTER: Duration = Duration::from_mins(10);

/// What this process put on disk itself. A file is known by path, inode and the time at which it was written, none of
/// which link and unlink change: one that was deleted and made again by another process is not known.
#[derive(Debug, Default)]
pub(super) struct DurableEntries {
    known: Mutex<HashMap<PathBuf, (u64, i64, i64)>>,
}

fn identity(meta: &Metadata) -> (u64, i64, i64) {
    (meta.ino(), meta.mtime(), meta.mtime_nsec())
}

impl DurableEntries {
    /// Whether an entry needs no fsync.
    pub(super) fn is_durable(&self, path: &Path, meta: &Metadata, now: SystemTime) -> bool {
        if is_committed(meta.ctime(), now) {
            return true;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path) == Some(&identity(meta))
    }

    /// This entry was put on disk.
    pub(super) fn remember(&self, path: PathBuf, meta: &Metadata) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path, identity(meta));
    }
}

/// Linking a file sets the time of its last change (ctime), in seconds since the epoch.
fn is_committed(changed: i64, now: SystemTime) -> bool {
    let Ok(changed) = u64::try_from(changed) else { return true };
    let age = now.duration_since(UNIX_EPOCH + Duration::from_secs(changed));
    age.is_ok_and(|age| age > COMMITTED_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_young_or_from_the_future_is_not_taken_for_committed() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert!(!is_committed(1_000_000, now));
        assert!(!is_committed(1_000_000 - 599, now));
        assert!(!is_committed(1_000_100, now));
        assert!(is_committed(1_000_000 - 601, now));
    }
}
