//! Temporary files: small ones at once, large ones by and by.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

use bytes::Bytes;

use super::Inner;
use super::directory::with_parent;
use crate::store::{Answer, Durability, Key, StoreError, Writer};

/// How much is gathered before it is handed to the blocking pool.
const BATCH: usize = 1024 * 1024;

fn create(inner: &Inner, key: &Key) -> Result<File, StoreError> {
    let path = inner.path(key);
    let open = || OpenOptions::new().write(true).create_new(true).open(&path);
    with_parent(&path, open).map_err(|source| StoreError::io("creating", key, source))
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

/// Writes a large temporary file: gathers, and writes in the blocking pool while the next bytes come in.
pub(super) struct FileWriter {
    key: Key,
    size: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    state: State,
}

enum State {
    Idle(File),
    Writing(tokio::task::JoinHandle<io::Result<File>>),
    Failed,
}

impl FileWriter {
    pub(super) fn create(inner: &Inner, key: &Key) -> Result<Self, StoreError> {
        let file = create(inner, key)?;
        Ok(Self { key: key.clone(), size: 0, gathered: Vec::new(), gathered_bytes: 0, state: State::Idle(file) })
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::io("writing", &self.key, source)
    }

    /// Waits for what is being written, and gives the file.
    async fn settle(&mut self) -> Result<File, StoreError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(file) => Ok(file),
            State::Writing(task) => {
                let file = task.await.map_err(io::Error::other).and_then(|written| written);
                file.map_err(|source| self.failed(source))
            }
            State::Failed => Err(self.failed(io::Error::other("an earlier write failed"))),
        }
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut file = self.settle().await?;
        let batch = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            for bytes in &batch {
                file.write_all(bytes)?;
            }
            Ok(file)
        }));
        Ok(())
    }
}

impl Writer for FileWriter {
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.size += bytes.len() as u64;
            self.gathered_bytes += bytes.len();
            self.gathered.push(bytes);
            if self.gathered_bytes >= BATCH { self.flush().await } else { Ok(()) }
        })
    }

    fn finish(mut self: Box<Self>, durability: Durability) -> Answer<'static, u64> {
        Box::pin(async move {
            self.flush().await?;
            let file = self.settle().await?;
            if durability == Durability::Durable {
                let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
                synced.map_err(io::Error::other).and_then(|synced| synced).map_err(|source| self.failed(source))?;
            }
            Ok(self.size)
        })
    }
}
