//! Reading: on the spot where nothing has to be waited for, else in the blocking pool.
//!
//! A look-up in the kernel's caches costs a microsecond or two, the way to another thread a hundred. So the kernel is
//! first asked to answer from its caches alone (`RESOLVE_CACHED` of openat2(2), `RWF_NOWAIT` of preadv2(2)); what it
//! refuses with EAGAIN is done again in the pool. A volume that hangs then holds threads of that pool, and neither the
//! runtime's nor those who are served from caches.
//!
//! On filesystems whose calls may wait for somebody else even so (a network, a process) everything goes to the pool.

use std::fs::File;
use std::io::{self, IoSliceMut, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::{Errno, ReadWriteFlags};

use super::file::LocalFile;
use super::found;
use super::turns::Turns;
use crate::store::smallest::Smallest;
use crate::store::{Child, Key, Meta};

/// Values of registers and records are shorter than this.
const SMALL: usize = 1024;

/// A directory with more entries than this is listed in the pool: others are not to wait for it.
const LONG: usize = 4_096;

/// `f_type` of filesystems that answer from the kernel's caches without asking anybody (statfs(2)).
const LOCAL: [u32; 8] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x794c_7630, // overlayfs
    0x2fc1_2fc1, // zfs
    0xf2f5_2010, // f2fs
    0xca45_1a4e, // bcachefs
];

/// Whether a call may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It fails with `WouldBlock` rather.
    No,
    /// It may: this is a thread of the pool.
    Yes,
}

/// Opens what is below a directory.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    root: OwnedFd,
    turns: Arc<Turns>,
    local: bool,
    /// Old kernels and some sandboxes have no openat2; then a look-up is done on the spot and may wait.
    has_openat2: AtomicBool,
}

impl Reader {
    pub(super) fn new(path: &Path, turns: Arc<Turns>) -> io::Result<Self> {
        let root = OwnedFd::from(File::open(path)?);
        let kind = rustix::fs::fstatfs(&root)?.f_type;
        // The field's width and sign differ from machine to machine; the numbers have 32 bits.
        let local = u32::try_from(kind & 0xffff_ffff).is_ok_and(|kind| LOCAL.contains(&kind));
        Ok(Self { path: path.to_owned(), root, turns, local, has_openat2: AtomicBool::new(true) })
    }

    /// Whether a call asks nobody but this machine's kernel and disks.
    pub(super) fn is_local(&self) -> bool {
        self.local
    }

    /// What can be said on the spot; `None` where it has to be waited for.
    pub(super) fn at_once<T>(&self, work: impl FnOnce(&Self, Wait) -> io::Result<T>) -> Option<io::Result<T>> {
        if !self.local {
            return None;
        }
        match work(self, Wait::No) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            result => Some(result),
        }
    }

    fn open(&self, key: &Key, flags: OFlags, wait: Wait) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        if wait == Wait::No && self.has_openat2.load(Ordering::Relaxed) {
            match rustix::fs::openat2(&self.root, key.as_str(), flags, Mode::empty(), ResolveFlags::CACHED) {
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => self.has_openat2.store(false, Ordering::Relaxed),
                opened => return Ok(opened?),
            }
        }
        match rustix::fs::openat(&self.root, key.as_str(), flags, Mode::empty()) {
            // The root's own handle may be what is stale.
            Err(Errno::STALE) => Ok(rustix::fs::open(self.path.join(key.as_str()), flags, Mode::empty())?),
            opened => Ok(opened?),
        }
    }

    fn stat(&self, key: &Key) -> io::Result<Stat> {
        match rustix::fs::statat(&self.root, key.as_str(), AtFlags::empty()) {
            Err(Errno::STALE) => Ok(rustix::fs::stat(self.path.join(key.as_str()))?),
            found => Ok(found?),
        }
    }

    /// A small key's whole value.
    pub(super) fn value(&self, key: &Key, wait: Wait) -> io::Result<Option<Bytes>> {
        let Some(file) = found(self.open(key, OFlags::RDONLY, wait))? else { return Ok(None) };
        // Most values have some hundred bytes: one read then, and no look at the size.
        let mut bytes = vec![0; SMALL];
        let mut filled = 0;
        loop {
            if filled == bytes.len() {
                bytes.resize(filled * 4, 0);
            }
            let room = bytes.len() - filled;
            let read = read_at(&file, &mut bytes[filled..], filled as u64, wait)?;
            filled += read;
            // Where nothing was waited for, less than there was room for may also be the end of what is cached.
            if read == 0 || (read < room && wait == Wait::Yes) || (read < room && is_whole(&file, filled)?) {
                bytes.truncate(filled);
                return Ok(Some(bytes.into()));
            }
        }
    }

    /// A file to be read.
    pub(super) fn file(&self, key: &Key, wait: Wait) -> io::Result<Option<(LocalFile, Meta)>> {
        let open = || {
            let file = self.open(key, OFlags::RDONLY, wait)?;
            let meta = to_meta(&rustix::fs::fstat(&file)?)?;
            let (path, turns) = (self.path.join(key.as_str()), Arc::clone(&self.turns));
            Ok((LocalFile::new(File::from(file), path, key.clone(), turns), meta))
        };
        found(open())
    }

    /// Size and age.
    pub(super) fn meta(&self, key: &Key, wait: Wait) -> io::Result<Option<Meta>> {
        let look = || match wait {
            Wait::No => to_meta(&rustix::fs::fstat(self.open(key, OFlags::PATH, wait)?)?),
            Wait::Yes => to_meta(&self.stat(key)?),
        };
        found(look())
    }

    /// The `limit` smallest names after `after`, in key order, in memory for that many only.
    pub(super) fn smallest(
        &self,
        directory: &Key,
        after: Option<&str>,
        limit: usize,
        wait: Wait,
    ) -> io::Result<Vec<Child>> {
        let opened = found(self.open(directory, OFlags::RDONLY | OFlags::DIRECTORY, wait))?;
        let Some(opened) = opened else { return Ok(Vec::new()) };
        let mut buffer = Vec::with_capacity(if limit <= 16 { 2 * 1024 } else { 32 * 1024 });
        let mut entries = RawDir::new(&opened, buffer.spare_capacity_mut());
        let mut kept = Smallest::new(after, limit);
        let mut seen = 0_usize;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            seen += 1;
            if wait == Wait::No && seen > LONG {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // What is not UTF-8 is not ours, nor what begins with a dot: no key does.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let is_directory = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => is_directory(&opened, name)?,
                _ => false,
            };
            kept.see(name, is_directory);
        }
        Ok(kept.into_children())
    }
}

fn is_directory(directory: &OwnedFd, name: &str) -> io::Result<bool> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = found(stat.map_err(io::Error::from))?;
    Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

/// A small file's value, by its path as whoever writes finds it, and from the disk though it is in the page cache: a disk
/// that is dead has its cache still, and a volume that was unmounted is still open.
pub(super) fn from_disk(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    // What cannot be dropped is read from where it is.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut value = Vec::new();
    file.read_to_end(&mut value)?;
    Ok(value.into())
}

fn is_whole(file: &OwnedFd, length: usize) -> io::Result<bool> {
    Ok(to_meta(&rustix::fs::fstat(file)?)?.size <= length as u64)
}

fn to_meta(stat: &Stat) -> io::Result<Meta> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(io::ErrorKind::NotFound.into());
    }
    let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
    // Before 1970 is as good as then.
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Ok(Meta { size, modified: SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos) })
}

pub(super) fn read_at(file: impl std::os::fd::AsFd, into: &mut [u8], at: u64, wait: Wait) -> io::Result<usize> {
    let flags = match wait {
        Wait::No => ReadWriteFlags::NOWAIT,
        Wait::Yes => ReadWriteFlags::empty(),
    };
    match rustix::io::preadv2(&file, &mut [IoSliceMut::new(into)], at, flags) {
        // A filesystem that cannot say is asked in the pool.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if wait == Wait::No => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => Ok(rustix::io::pread(&file, into, at)?),
        read => Ok(read?),
    }
}
