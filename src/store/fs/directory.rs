//! Directories: made on the way and put on disk with what is in them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::found;
use super::remembered::Remembered;

/// How many directories are remembered: what a table of 2^16 places holds, in 2 MiB. Forgetting one costs an fsync.
const REMEMBERED: usize = 57_344;

/// Remembers which directories are on disk with all their ancestors.
///
/// A directory is known by path *and* by what no other has had: one that was removed and made again is not known.
#[derive(Debug)]
pub(super) struct DurableDirectories {
    root: PathBuf,
    known: Remembered<Made>,
    #[cfg(test)]
    synced: std::sync::atomic::AtomicU64,
}

/// Tells a directory from another at the same path. The inode alone does not: its number is given away again, and often
/// at once. Filesystems that do not say when a directory was made (NFS, FUSE) have the number alone; they have their
/// directories on disk without an fsync, or are served by one process that forgets what it removes.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    inode: u64,
    at: Option<SystemTime>,
}

impl Made {
    fn of(directory: &File) -> io::Result<Self> {
        let meta = directory.metadata()?;
        Ok(Self { inode: meta.ino(), at: meta.created().ok() })
    }
}

impl DurableDirectories {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: Remembered::of(REMEMBERED),
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
            let made = Made::of(&open)?;
            open.sync_all()?;
            #[cfg(test)]
            self.synced.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if current == self.root || self.known.knows(current, &made) {
                break;
            }
            fresh.push((current, made));
            directory = current.parent();
        }
        for (directory, made) in fresh {
            self.known.remember(directory, made);
        }
        Ok(())
    }

    /// Puts the directory that `path` is to be in on disk, unless it is known to be there.
    pub(super) fn prepare(&self, path: &Path) -> io::Result<()> {
        let Some(directory) = path.parent() else { return Ok(()) };
        let made = Made::of(&File::open(directory)?)?;
        if directory == self.root || self.known.knows(directory, &made) { Ok(()) } else { self.sync(path) }
    }

    /// As [`Self::sync`], for a directory that may have been removed meanwhile.
    pub(super) fn sync_if_there(&self, path: &Path) -> io::Result<()> {
        found(self.sync(path)).map(|_| ())
    }

    /// Removes a directory if it is empty: it is only clutter then, and whoever needs it again makes it again. One
    /// that is not empty stays.
    pub(super) fn remove_if_empty(&self, directory: Option<&Path>) {
        if let Some(directory) = directory
            && std::fs::remove_dir(directory).is_ok()
        {
            self.known.forget(directory);
        }
    }
}

/// Does something that needs the parent directory of `path`, which is below `root`; makes that and tries again where it was
/// missing.
pub(super) fn with_parent<T>(root: &Path, path: &Path, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    // An empty directory may be removed by a collector just after it was made: a few rounds settle it.
    let mut last = work();
    for _ in 0..8 {
        match &last {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => return last,
        }
        if let Some(parent) = path.parent() {
            make_below(root, parent)?;
        }
        last = work();
    }
    last
}

/// Makes a directory, and what is missing between it and the root. The root itself never: where that is gone a volume is,
/// and what would be written lies elsewhere, and under the volume when that is back.
fn make_below(root: &Path, directory: &Path) -> io::Result<()> {
    if directory == root || !directory.starts_with(root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let create = || match std::fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    match (create(), directory.parent()) {
        (Err(error), Some(above)) if error.kind() == io::ErrorKind::NotFound => {
            make_below(root, above)?;
            create()
        }
        (made, _) => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_below_the_root_and_never_the_root_itself() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("volume");
        let entry = root.join("a/b/entry");
        let write = || std::fs::write(&entry, "");
        let gone = with_parent(&root, &entry, write).unwrap_err();
        assert_eq!((gone.kind(), root.exists()), (io::ErrorKind::NotFound, false));
        std::fs::create_dir(&root).unwrap();
        with_parent(&root, &entry, write).unwrap();
        assert!(entry.exists());
    }

    /// On ext4 the second directory gets the first one's inode. Another process removes it, so that this one cannot
    /// have been told.
    #[test]
    fn a_directory_that_was_removed_and_made_again_is_not_known() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a");
        let entry = directory.join("entry");
        let directories = DurableDirectories::new(root.path().to_path_buf());
        let made = || Made::of(&File::open(&directory).unwrap()).unwrap();
        std::fs::create_dir(&directory).unwrap();
        directories.sync(&entry).unwrap();
        let first = made();
        assert!(directories.known.knows(&directory, &first));
        // The clock of a filesystem ticks every few milliseconds.
        let mut again = made();
        while again.inode == first.inode && again.at == first.at && first.at.is_some() {
            std::fs::remove_dir(&directory).unwrap();
            std::fs::create_dir(&directory).unwrap();
            again = made();
        }
        if first.at.is_some() || again.inode != first.inode {
            assert!(!directories.known.knows(&directory, &again), "{first:?}, then {again:?}");
        }
        directories.sync(&entry).unwrap();
        std::fs::remove_dir(&directory).unwrap();
        std::fs::create_dir(&directory).unwrap();
        directories.sync(&entry).unwrap();
        directories.remove_if_empty(Some(&directory));
        assert!(directories.known.is_empty());
    }
}
