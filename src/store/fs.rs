//! A store in a directory: of a local disk, a cluster filesystem, or NFS.
//!
//! The order of system calls is the protocol:
//!
//! - a key is made as a temporary file, `fdatasync`ed, and *linked* to its name (never renamed over it, so that the
//!   second of two writers loses; only bytes that are known to be damaged are replaced by a rename); then the directory
//!   is `fsync`ed, and every directory on the way whose own entry is not known to be on disk;
//! - a key that was there already is `fsync`ed too before anybody is told so: whoever made it may not have come so far;
//! - after a failing link, two links on the temporary mean that it was done: NFS retransmits.
//!
//! What is in the kernel's caches is read on the spot (see `read`); whatever waits for the disk, and all that is
//! written, goes to the blocking pool, by turns (see `turns`).

mod directory;
mod entries;
mod file;
mod mount;
mod probe;
mod publish;
mod read;
mod remembered;
mod turns;
mod write;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags};
use tokio::sync::Semaphore;

use super::{
    Answer, Backend, Capacity, Child, Content, Durability, Key, Meta, Object, Published, PutNew, StoreError, Writer,
    Writes, nonce,
};
use directory::{DurableDirectories, with_parent};
use entries::DurableEntries;
pub use file::LocalFile;
use read::{Reader, Wait};
pub use turns::THREADS;
use turns::Turns;
use write::FileWriter;

/// How often something is begun anew because of stale handles.
const STALE_TRIES: usize = 4;

/// A directory as a store.
#[derive(Debug, Clone)]
pub struct FsStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    scratch: Key,
    directories: DurableDirectories,
    entries: DurableEntries,
    reader: Reader,
    turns: Arc<Turns>,
    probed: AtomicBool,
    /// Room for what waits to be written.
    gathered: Arc<Semaphore>,
    /// By the mount's options, as they were at the start.
    staleness: Option<Duration>,
}

impl FsStore {
    /// Opens the directory, makes it where it is absent, and probes whether it can hold a store. `scratch` is the
    /// directory (a key) for the temporaries of small values.
    pub fn open(root: &Path, scratch: Key) -> Result<Self, StoreError> {
        std::fs::create_dir_all(root).map_err(|source| probe::unsuitable(root, &source))?;
        let root = root.canonicalize().map_err(|source| probe::unsuitable(root, &source))?;
        let directories = DurableDirectories::new(root.clone());
        let turns = Arc::new(Turns::default());
        let reader = Reader::new(&root, Arc::clone(&turns)).map_err(|source| probe::unsuitable(&root, &source))?;
        let (entries, probed) = Default::default();
        let staleness = mount::staleness(&root);
        let gathered = Arc::new(Semaphore::new(write::GATHERED));
        let inner = Inner { root, scratch, directories, entries, reader, turns, probed, gathered, staleness };
        inner.probe_unless_full()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads on the spot where nothing has to be waited for, else in the pool.
    fn look<'a, T: Send + 'static>(
        &'a self,
        doing: &'static str,
        key: &'a Key,
        work: fn(&Reader, &Key, Wait) -> io::Result<T>,
    ) -> Answer<'a, T> {
        if let Some(result) = self.inner.reader.at_once(|reader, wait| work(reader, key, wait)) {
            return Box::pin(std::future::ready(result.map_err(|source| StoreError::io(doing, key, source))));
        }
        let key = key.clone();
        Box::pin(self.reading(doing, key.clone(), move |inner| {
            work(&inner.reader, &key, Wait::Yes).map_err(|source| StoreError::io(doing, &key, source))
        }))
    }

    /// Reads in the pool, when it is this key's turn.
    async fn reading<T: Send + 'static>(
        &self,
        doing: &'static str,
        key: Key,
        work: impl Fn(&Arc<Inner>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.inner.turns.read(&key).await.map_err(|source| StoreError::io(doing, &key, source))?;
        self.blocking(turn, work).await
    }

    /// Writes in the pool, when there is a turn.
    async fn writing<T: Send + 'static>(
        &self,
        doing: &'static str,
        key: Key,
        work: impl Fn(&Arc<Inner>, &Key) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.inner.turns.write().await.map_err(|source| StoreError::io(doing, &key, source))?;
        let written = self.blocking(turn, move |inner| work(inner, &key)).await;
        written.inspect_err(|error| self.inner.note(error))
    }

    /// Does something in the pool.
    async fn blocking<T: Send + 'static>(
        &self,
        turn: impl Send + 'static,
        work: impl Fn(&Arc<Inner>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let _turn = turn;
            unless_stale(|| work(&inner))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            // The pool is shutting down, or the work panicked: either way nothing is known to have been done.
            Err(source) => Err(StoreError::io("waiting for", "the blocking pool", io::Error::other(source))),
        }
    }
}

impl Inner {
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Whoever creates a file next finds out whether the volume is writable again.
    fn note(&self, error: &StoreError) {
        if let StoreError::ReadOnly { .. } = error {
            self.turns.note_read_only(true);
        }
    }

    fn put_new(&self, key: &Key, value: &[u8], durability: Durability) -> Result<PutNew, StoreError> {
        self.require_probed()?;
        self.create(key, value, durability)
    }

    fn create(&self, key: &Key, value: &[u8], durability: Durability) -> Result<PutNew, StoreError> {
        if value.is_empty() && durability == Durability::Volatile {
            return write::empty(self, key);
        }
        let temporary = self.scratch.join(nonce());
        write::file(self, &temporary, value, durability)?;
        let put = self.put(&temporary, key, value, durability);
        let _ = std::fs::remove_file(self.path(&temporary));
        put
    }

    fn put(&self, temporary: &Key, key: &Key, value: &[u8], durability: Durability) -> Result<PutNew, StoreError> {
        match self.link(temporary, key, durability)? {
            Published::Created => Ok(PutNew::Created),
            Published::Exists => match self.reader.value(key, Wait::Yes) {
                Ok(Some(stored)) if stored.as_ref() == value => {
                    // One's own of before, whose sync failed, is written anew.
                    if durability == Durability::Durable && self.is_suspect(key)? {
                        self.replace(temporary, key)?;
                    }
                    Ok(PutNew::Created)
                }
                Ok(Some(stored)) => Ok(PutNew::Exists(stored)),
                // It was there and is gone: deleted between the two calls. Nobody reuses the names of what is deleted.
                Ok(None) => Ok(PutNew::Exists(Bytes::new())),
                Err(source) => Err(StoreError::io("writing", key, source)),
            },
        }
    }

    fn link(&self, temporary: &Key, key: &Key, durability: Durability) -> Result<Published, StoreError> {
        let (from, to) = (self.path(temporary), self.path(key));
        let failed = |source| StoreError::io("linking", key, source);
        let published = with_parent(&self.root, &to, || match std::fs::hard_link(&from, &to) {
            Ok(()) => Ok(Published::Created),
            // The directory is still to be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(error) => match (was_it_us(&from, &to), error.kind()) {
                (true, _) => Ok(Published::Created),
                (false, io::ErrorKind::AlreadyExists) => Ok(Published::Exists),
                (false, _) => Err(error),
            },
        });
        let published = published.map_err(failed)?;
        if durability == Durability::Durable {
            self.directories.sync(&to).map_err(failed)?;
            // It may be gone again; then there is nothing to remember.
            if let Some(meta) = found(std::fs::metadata(&to)).map_err(failed)? {
                self.entries.remember(&to, &meta);
            }
        }
        Ok(published)
    }

    fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let path = self.path(key);
        let failed = |source| StoreError::io("deleting", key, source);
        let removed = found(std::fs::remove_file(&path)).map_err(failed)?.is_some();
        if removed {
            self.directories.remove_if_empty(path.parent());
        }
        Ok(removed)
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        let (source, target) = (self.path(from), self.path(to));
        let failed = |source| StoreError::io("renaming", from, source);
        let renamed = with_parent(&self.root, &target, || {
            // A missing source looks like a missing parent of the target; say which before anything is made.
            if !source.exists() {
                return Ok(false);
            }
            // What is moved into a directory that a power cut takes away is gone from both places.
            self.directories.prepare(&target)?;
            match rustix::fs::renameat_with(CWD, &source, CWD, &target, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::EXIST) => Ok(false),
                Err(error) => Err(error.into()),
            }
        });
        let renamed = renamed.map_err(failed)?;
        if renamed {
            self.directories.sync(&target).map_err(failed)?;
            self.directories.sync_if_there(&source).map_err(failed)?;
            self.directories.remove_if_empty(source.parent());
        }
        Ok(renamed)
    }

    fn now(&self, key: &Key) -> Result<SystemTime, StoreError> {
        write::file(self, key, b"", Durability::Volatile)?;
        let meta = self.reader.meta(key, Wait::Yes);
        let _ = std::fs::remove_file(self.path(key));
        meta.map_err(|source| StoreError::io("reading the clock of", key, source))?
            .map(|meta| meta.modified)
            .ok_or_else(|| StoreError::io("reading the clock of", key, io::ErrorKind::NotFound.into()))
    }
}

/// After a failing link, whatever else it failed with: whether the name is a link to this very temporary all the same, made
/// by a try whose answer was lost.
fn was_it_us(temporary: &Path, key: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // Opening asks an NFS server for the attributes of now.
    let Ok(temporary) = File::open(temporary).and_then(|file| file.metadata()) else { return false };
    temporary.nlink() > 1 && std::fs::metadata(key).is_ok_and(|there| there.ino() == temporary.ino())
}

/// `NotFound`, also because a component on the way is a file, is an answer.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Does something; from the beginning where an NFS server does not know a handle any more (another client removed what it
/// stands for): names are looked up anew then. What is done twice thereby is as a request whose answer was lost, which every
/// operation takes.
fn unless_stale<T>(work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let again = (1..STALE_TRIES).map(|_| work()).find(|result| !is_stale(result));
    again.unwrap_or_else(work)
}

fn is_stale<T>(result: &Result<T, StoreError>) -> bool {
    let Err(StoreError::Io { source, .. }) = result else { return false };
    source.kind() == io::ErrorKind::StaleNetworkFileHandle
}

impl Backend for FsStore {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, durability: Durability) -> Answer<'a, PutNew> {
        Box::pin(self.writing("writing", key.clone(), move |inner, key| inner.put_new(key, &value, durability)))
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.look("reading", key, Reader::value)
    }

    fn read_through<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        let key = key.clone();
        // By the looks of readiness, of which there is one at a time: they wait for nobody who may hang.
        Box::pin(self.blocking((), move |inner| {
            found(read::from_disk(&inner.path(&key))).map_err(|source| StoreError::io("reading", &key, source))
        }))
    }

    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.look("opening", key, |reader, key, wait| {
            let to_object = |(file, meta)| Object { meta, content: Content::File(file) };
            Ok(reader.file(key, wait)?.map(to_object))
        })
    }

    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        self.look("looking at", key, Reader::meta)
    }

    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        if let Some(listed) = self.inner.reader.at_once(|reader, wait| reader.smallest(directory, after, limit, wait)) {
            let listed = listed.map_err(|source| StoreError::io("listing", directory, source));
            return Box::pin(std::future::ready(listed));
        }
        let (directory, after) = (directory.clone(), after.map(str::to_owned));
        Box::pin(self.reading("listing", directory.clone(), move |inner| {
            let listed = inner.reader.smallest(&directory, after.as_deref(), limit, Wait::Yes);
            listed.map_err(|source| StoreError::io("listing", &directory, source))
        }))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        Box::pin(self.writing("deleting", key.clone(), |inner, key| inner.remove(key)))
    }

    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        let writer = FileWriter::new(&self.inner, key);
        Box::pin(std::future::ready(Ok(Box::new(writer) as Box<dyn Writer>)))
    }

    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, durability: Durability) -> Answer<'a, Published> {
        let temporary = temporary.clone();
        Box::pin(self.writing("publishing", key.clone(), move |inner, key| inner.publish(&temporary, key, durability)))
    }

    fn replace<'a>(&'a self, temporary: &'a Key, key: &'a Key) -> Answer<'a, bool> {
        let temporary = temporary.clone();
        Box::pin(self.writing("replacing", key.clone(), move |inner, key| inner.replace(&temporary, key)))
    }

    fn make_durable<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        // Where a look may wait, it is done together with the rest.
        let known =
            if self.inner.reader.is_local() { self.inner.durability(key) } else { Ok(Some(Durability::Volatile)) };
        match known {
            Ok(Some(Durability::Volatile)) => {
                Box::pin(self.writing("syncing", key.clone(), |inner, key| match inner.durability(key)? {
                    Some(Durability::Volatile) => inner.make_durable(key),
                    known => Ok(known.is_some()),
                }))
            }
            Ok(known) => Box::pin(std::future::ready(Ok(known.is_some()))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        let to = to.clone();
        Box::pin(self.writing("renaming", from.clone(), move |inner, from| inner.rename(from, &to)))
    }

    fn staleness(&self) -> Option<Duration> {
        self.inner.staleness
    }

    fn writes(&self) -> Writes {
        self.inner.turns.writes()
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        let key = self.inner.scratch.join(nonce());
        Box::pin(self.writing("reading the clock of", key, |inner, key| inner.now(key)))
    }

    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        Box::pin(self.blocking((), |inner| {
            let stat = rustix::fs::statvfs(&inner.root)
                .map_err(|error| StoreError::io("measuring", inner.root.display(), error.into()))?;
            Ok(Some(Capacity { total: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize }))
        }))
    }
}

#[cfg(test)]
mod tests;
