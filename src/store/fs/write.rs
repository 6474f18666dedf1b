//! Temporary files: small ones at once, large ones by and by.
//!
//! What came of a body waits in memory until there is enough of it to be worth a way to the blocking pool. Clients may
//! pause there, and be many, so all that waits in one process is bounded: beyond that every chunk goes its way at once.
//! Nobody waits for room: those who have it may never go on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::directory::with_parent;
use super::read::Wait;
use super::{Inner, unless_stale};
use crate::store::{Answer, Durability, Key, PutNew, StoreError, Writer};

/// How much is gathered before it is handed to the blocking pool.
const BATCH: usize = 512 * 1024;

/// How much is gathered in all, by this process for a store.
pub(super) const GATHERED: usize = 16 * 1024 * 1024;

/// Chunks shorter than this are copied together: a handle is as long as many of them, and holds on to all of the buffer
/// that they were read into.
const COPIED: usize = 16 * 1024;

fn create(inner: &Inner, key: &Key) -> Result<File, StoreError> {
    let path = inner.path(key);
    let open = || OpenOptions::new().write(true).create_new(true).open(&path);
    let created = with_parent(&inner.root, &path, open).map_err(|source| StoreError::io("creating", key, source))?;
    inner.turns.note_read_only(false);
    Ok(created)
}

/// Puts a temporary's bytes on disk. Of a sync that failed the kernel tells once; the next one succeeds, though the bytes
/// that were to be written are on no disk and perhaps not in memory any more (fsync(2)). So what could not be synced is
/// removed: it has to be written anew.
pub(super) fn sync_or_remove(file: &File, path: &Path) -> io::Result<()> {
    file.sync_data().inspect_err(|_| drop(std::fs::remove_file(path)))
}

/// Makes a key without a value: nobody can see half of it, and so it needs no temporary.
pub(super) fn empty(inner: &Inner, key: &Key) -> Result<PutNew, StoreError> {
    match create(inner, key) {
        Ok(_) => Ok(PutNew::Created),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            let failed = |source| StoreError::io("writing", key, source);
            let stored = inner.reader.value(key, Wait::Yes).map_err(failed)?.unwrap_or_default();
            Ok(if stored.is_empty() { PutNew::Created } else { PutNew::Exists(stored) })
        }
        Err(error) => Err(error),
    }
}

/// Writes a small temporary file.
pub(super) fn file(inner: &Inner, key: &Key, value: &[u8], durability: Durability) -> Result<(), StoreError> {
    let mut file = create(inner, key)?;
    let written = file.write_all(value).and_then(|()| match durability {
        Durability::Durable => file.sync_data(),
        Durability::Volatile => Ok(()),
    });
    written.map_err(|source| {
        let _ = std::fs::remove_file(inner.path(key));
        StoreError::io("writing", key, source)
    })
}

/// Writes a large temporary file: gathers, and writes in the blocking pool while the next bytes come in. The file is made
/// with the first of them, so that a small one takes a single way there.
pub(super) struct FileWriter {
    key: Key,
    size: u64,
    gathered: Vec<Bytes>,
    /// Short chunks, which come after those.
    short: Vec<u8>,
    gathered_bytes: usize,
    inner: Arc<Inner>,
    /// The room that is taken.
    taken: Option<OwnedSemaphorePermit>,
    state: State,
    /// Goes with this.
    wanted: Arc<()>,
}

enum State {
    Begun,
    Writing(tokio::task::JoinHandle<Result<File, StoreError>>),
    Failed,
}

impl FileWriter {
    pub(super) fn new(inner: &Arc<Inner>, key: &Key) -> Self {
        Self {
            key: key.clone(),
            size: 0,
            gathered: Vec::new(),
            short: Vec::new(),
            gathered_bytes: 0,
            inner: Arc::clone(inner),
            taken: None,
            state: State::Begun,
            wanted: Arc::default(),
        }
    }

    /// Takes a chunk; false where there is no room for it to wait in.
    fn gather(&mut self, bytes: Bytes) -> bool {
        let permits = u32::try_from(bytes.len()).ok();
        let permit = permits.and_then(|permits| Arc::clone(&self.inner.gathered).try_acquire_many_owned(permits).ok());
        let has_room = permit.is_some();
        match (&mut self.taken, permit) {
            (Some(taken), Some(permit)) => taken.merge(permit),
            (taken @ None, Some(permit)) => *taken = Some(permit),
            (_, None) => {}
        }
        self.gathered_bytes += bytes.len();
        if bytes.len() < COPIED {
            self.short.extend_from_slice(&bytes);
        } else {
            self.seal();
            self.gathered.push(bytes);
        }
        has_room
    }

    /// Puts what was copied into the row.
    fn seal(&mut self) {
        if !self.short.is_empty() {
            self.gathered.push(std::mem::take(&mut self.short).into());
        }
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::io("writing", &self.key, source)
    }

    /// Waits for what is being written, and gives the file; none where it is not made yet.
    async fn settle(&mut self) -> Result<Option<File>, StoreError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Begun => Ok(None),
            State::Writing(task) => {
                let written = task.await.map_err(|error| self.failed(io::Error::other(error)));
                written.flatten().inspect_err(|error| self.inner.note(error)).map(Some)
            }
            State::Failed => Err(self.failed(io::Error::other("an earlier write failed"))),
        }
    }

    /// Writes what was gathered, and syncs it where that is asked for.
    async fn flush(&mut self, durability: Durability) -> Result<(), StoreError> {
        let file = self.settle().await?;
        let turn = self.inner.turns.write().await.map_err(|source| self.failed(source))?;
        self.seal();
        let (batch, taken) = (std::mem::take(&mut self.gathered), self.taken.take());
        self.gathered_bytes = 0;
        let (inner, key, wanted) = (Arc::clone(&self.inner), self.key.clone(), Arc::downgrade(&self.wanted));
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            let _held = (turn, taken);
            let mut file = file.map_or_else(|| unless_stale(|| create(&inner, &key)), Ok)?;
            // Whoever gave it up may have looked for a file to remove before this one was made.
            if wanted.strong_count() == 0 {
                let removed = std::fs::remove_file(inner.path(&key));
                return removed.map(|()| file).map_err(|source| StoreError::io("removing", &key, source));
            }
            let written = batch.iter().try_for_each(|bytes| file.write_all(bytes)).and_then(|()| match durability {
                Durability::Durable => sync_or_remove(&file, &inner.path(&key)),
                Durability::Volatile => Ok(()),
            });
            written.map(|()| file).map_err(|source| StoreError::io("writing", &key, source))
        }));
        Ok(())
    }
}

impl Writer for FileWriter {
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.size += bytes.len() as u64;
            let has_room = self.gather(bytes);
            let is_enough = !has_room || self.gathered_bytes >= BATCH;
            if is_enough { self.flush(Durability::Volatile).await } else { Ok(()) }
        })
    }

    fn finish(mut self: Box<Self>, durability: Durability) -> Answer<'static, u64> {
        Box::pin(async move {
            self.flush(durability).await?;
            self.settle().await?;
            Ok(self.size)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::FsStore;

    fn store() -> (tempfile::TempDir, FsStore) {
        let root = tempfile::tempdir().unwrap();
        let store = FsStore::open(root.path(), Key::new("tmp").unwrap()).unwrap();
        (root, store)
    }

    #[tokio::test]
    async fn single_bytes_wait_as_bytes_and_come_in_their_order() {
        let (root, store) = store();
        let mut writer = FileWriter::new(&store.inner, &Key::new("tmp/a").unwrap());
        let chunks = [Bytes::from_static(b"a"), Bytes::from(vec![b'b'; COPIED]), Bytes::from_static(b"c")];
        for chunk in &chunks {
            writer.write(chunk.clone()).await.unwrap();
        }
        for _ in 0..1_000 {
            writer.write(Bytes::from_static(b"d")).await.unwrap();
        }
        assert_eq!((writer.gathered.len(), writer.short.len()), (2, 1_001));
        Box::new(writer).finish(Durability::Volatile).await.unwrap();
        let expected = [chunks.concat(), vec![b'd'; 1_000]].concat();
        assert!(std::fs::read(root.path().join("tmp/a")).unwrap() == expected);
        assert_eq!(store.inner.gathered.available_permits(), GATHERED);
    }

    #[tokio::test]
    async fn a_file_that_is_given_up_while_it_is_made_is_not_left() {
        let (root, store) = store();
        for number in 0..200 {
            let key = Key::new(format!("tmp/{number}")).unwrap();
            let mut writer = FileWriter::new(&store.inner, &key);
            writer.write(Bytes::from(vec![0; BATCH])).await.unwrap();
            if number % 2 == 0 {
                tokio::task::yield_now().await;
            }
            drop(writer);
            let _ = std::fs::remove_file(root.path().join(key.as_str()));
        }
        // What is written to the end has given its room back.
        while store.inner.gathered.available_permits() < GATHERED {
            tokio::task::yield_now().await;
        }
        assert_eq!(std::fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }

    /// Clients that pause keep what they have sent waiting: all together no more than there is room for.
    #[tokio::test]
    async fn writers_that_pause_hold_no_more_than_the_room_that_there_is() {
        let (_root, store) = store();
        let mut writers = Vec::new();
        for number in 0..100 {
            let key = Key::new(format!("tmp/{number}")).unwrap();
            let mut writer = FileWriter::new(&store.inner, &key);
            for _ in 0..25 {
                writer.write(Bytes::from(vec![0; 40 * 1024])).await.unwrap();
            }
            writers.push(writer);
        }
        let held: usize = writers.iter().map(|writer| writer.gathered_bytes).sum();
        assert!(held <= GATHERED, "{held}");
        assert!(writers.iter().all(|writer| writer.gathered_bytes < BATCH));
        drop(writers);
        while store.inner.gathered.available_permits() < GATHERED {
            tokio::task::yield_now().await;
        }
    }
}
