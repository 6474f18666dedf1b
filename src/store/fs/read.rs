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
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::BoxStream;
use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::{Errno, ReadWriteFlags};

use super::found;
use crate::store::smallest::Smallest;
use crate::store::{Child, Key, Meta};

/// Values of registers and records are shorter than this.
const SMALL: usize = 1024;

/// How much of a file is read at once when it is streamed: two hundred readers' worth has to fit into little memory.
const CHUNK: u64 = 64 * 1024;

/// How far apart a file is probed for being in the page cache: the kernel reads ahead about as much.
const PROBE: u64 = 128 * 1024;

/// How much of a file is fetched at once where it is not in the page cache.
const FETCH: u64 = 1024 * 1024;

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
    root: OwnedFd,
    local: bool,
    /// Old kernels and some sandboxes have no openat2; then a look-up is done on the spot and may wait.
    has_openat2: AtomicBool,
}

impl Reader {
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        let root = OwnedFd::from(File::open(root)?);
        let kind = rustix::fs::fstatfs(&root)?.f_type;
        // The field's width and sign differ from machine to machine; the numbers have 32 bits.
        let local = u32::try_from(kind & 0xffff_ffff).is_ok_and(|kind| LOCAL.contains(&kind));
        Ok(Self { root, local, has_openat2: AtomicBool::new(true) })
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
        Ok(rustix::fs::openat(&self.root, key.as_str(), flags, Mode::empty())?)
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
    pub(super) fn file(&self, key: &Key, wait: Wait) -> io::Result<Option<(File, Meta)>> {
        let open = || {
            let file = self.open(key, OFlags::RDONLY, wait)?;
            let meta = to_meta(&rustix::fs::fstat(&file)?)?;
            Ok((File::from(file), meta))
        };
        found(open())
    }

    /// Size and age.
    pub(super) fn meta(&self, key: &Key, wait: Wait) -> io::Result<Option<Meta>> {
        let look = || match wait {
            Wait::No => to_meta(&rustix::fs::fstat(self.open(key, OFlags::PATH, wait)?)?),
            Wait::Yes => to_meta(&rustix::fs::statat(&self.root, key.as_str(), rustix::fs::AtFlags::empty())?),
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
            kept.see(Child { name: name.to_owned(), is_directory });
        }
        Ok(kept.into_children())
    }
}

fn is_directory(directory: &OwnedFd, name: &str) -> io::Result<bool> {
    let stat = rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
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

fn read_at(file: impl std::os::fd::AsFd, into: &mut [u8], at: u64, wait: Wait) -> io::Result<usize> {
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

/// A file of this machine's kernel, whose bytes never change. It can be read to its end even if it is unlinked.
#[derive(Debug, Clone)]
pub struct LocalFile(Arc<File>);

impl LocalFile {
    pub(super) fn new(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// Sees to it that a span is in the page cache, for the most part: where it is not, it is fetched in the blocking
    /// pool. Answers how many bytes from `at` are, at least one.
    pub async fn warm(&self, at: u64, length: u64) -> io::Result<u64> {
        let warm = self.is_warm(at, length)?;
        if warm > 0 {
            return Ok(warm);
        }
        let (file, length) = (Arc::clone(&self.0), length.min(FETCH));
        tokio::task::spawn_blocking(move || fetch(&file, at, length)).await.map_err(io::Error::other)??;
        Ok(length)
    }

    /// How many bytes from `at` seem to be in the page cache.
    fn is_warm(&self, at: u64, length: u64) -> io::Result<u64> {
        let mut probed = 0;
        let mut byte = [0_u8; 1];
        while probed < length {
            match read_at(self.0.as_fd(), &mut byte, at + probed, Wait::No) {
                Ok(0) => return Err(shorter()),
                Ok(_) => probed += PROBE,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(probed.min(length))
    }

    /// Sends bytes to a socket without copying them through this process (sendfile(2)); answers how many.
    pub fn send_to(&self, socket: impl std::os::fd::AsFd, at: u64, length: usize) -> io::Result<usize> {
        let mut offset = at;
        Ok(rustix::fs::sendfile(socket, &self.0, Some(&mut offset), length)?)
    }

    /// The bytes `start .. start + length`, in chunks.
    pub(in crate::store) fn stream(self, start: u64, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
        Box::pin(futures::stream::try_unfold((start, length), move |(at, left)| {
            let file = Arc::clone(&self.0);
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let chunk = chunk(file, at, left.min(CHUNK)).await?;
                let read = chunk.len() as u64;
                Ok(Some((chunk, (at + read, left - read))))
            }
        }))
    }
}

/// A file that is shorter than it was is an error, never a clean end.
fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was")
}

/// Up to `wanted` bytes: those that are in the page cache, or else read in the pool.
async fn chunk(file: Arc<File>, at: u64, wanted: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(wanted).map_err(io::Error::other)?];
    let read = match read_at(file.as_fd(), &mut bytes, at, Wait::No) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let read = move || read_at(file.as_fd(), &mut bytes, at, Wait::Yes).map(|read| (read, bytes));
            let (read, filled) = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
            bytes = filled;
            read
        }
        read => read?,
    };
    if read == 0 {
        return Err(shorter());
    }
    bytes.truncate(read);
    Ok(bytes.into())
}

/// Reads a span for the page cache's sake.
fn fetch(file: &File, at: u64, length: u64) -> io::Result<()> {
    let mut scratch = vec![0; 64 * 1024];
    let mut done = 0;
    while done < length {
        let wanted = usize::try_from((length - done).min(scratch.len() as u64)).map_err(io::Error::other)?;
        match read_at(file.as_fd(), &mut scratch[..wanted], at + done, Wait::Yes)? {
            0 => return Err(shorter()),
            read => done += read as u64,
        }
    }
    Ok(())
}
