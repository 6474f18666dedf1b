//! Open files, as they are read by those who stream them: in chunks, or by the kernel to a socket.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::read::{Wait, read_at};
use super::turns::{Reading, Turns};
use crate::store::Key;

/// How much of a file is read at once when it is streamed: two hundred readers' worth has to fit into little memory.
const CHUNK: u64 = 64 * 1024;

/// How far apart a file is probed for being in the page cache: the kernel reads ahead about as much.
const PROBE: u64 = 128 * 1024;

/// How much of a file is fetched at once where it is not in the page cache.
const FETCH: u64 = 1024 * 1024;

/// A file of this machine's kernel, whose bytes never change. It can be read to its end even if it is unlinked.
#[derive(Debug, Clone)]
pub struct LocalFile(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    file: ArcSwap<File>,
    path: PathBuf,
    key: Key,
    turns: Arc<Turns>,
}

impl Handle {
    /// Does something with the file; once more with a fresh handle where an NFS server does not know the old one any
    /// more. Under one path there are the same bytes always.
    fn with<T>(&self, mut work: impl FnMut(&File) -> io::Result<T>) -> io::Result<T> {
        match work(&self.file.load()) {
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                self.file.store(Arc::new(File::open(&self.path)?));
                work(&self.file.load())
            }
            result => result,
        }
    }

    /// Does something with the file in the blocking pool, when it is its turn.
    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        mut work: impl FnMut(&File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let turn: Reading = self.turns.read(&self.key).await?;
        let work = move || {
            let _turn = turn;
            self.with(&mut work)
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
}

impl LocalFile {
    /// An open file, and where it was found.
    pub(super) fn new(file: File, path: PathBuf, key: Key, turns: Arc<Turns>) -> Self {
        Self(Arc::new(Handle { file: ArcSwap::from_pointee(file), path, key, turns }))
    }

    /// Sees to it that a span is in the page cache, for the most part: where it is not, it is fetched in the blocking
    /// pool. Answers how many bytes from `at` are, at least one.
    pub async fn warm(&self, at: u64, length: u64) -> io::Result<u64> {
        let warm = self.is_warm(at, length)?;
        if warm > 0 {
            return Ok(warm);
        }
        let length = length.min(FETCH);
        Arc::clone(&self.0).blocking(move |file| fetch(file, at, length)).await?;
        Ok(length)
    }

    /// How many bytes from `at` seem to be in the page cache.
    fn is_warm(&self, at: u64, length: u64) -> io::Result<u64> {
        let (mut probed, file) = (0, self.0.file.load());
        let mut byte = [0_u8; 1];
        while probed < length {
            match read_at(file.as_fd(), &mut byte, at + probed, Wait::No) {
                Ok(0) => return Err(shorter()),
                Ok(_) => probed += PROBE,
                Err(error) if is_for_the_pool(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(probed.min(length))
    }

    /// Sends bytes to a socket without copying them through this process (sendfile(2)); answers how many.
    pub fn send_to(&self, socket: impl std::os::fd::AsFd, at: u64, length: usize) -> io::Result<usize> {
        let mut offset = at;
        Ok(rustix::fs::sendfile(socket, &**self.0.file.load(), Some(&mut offset), length)?)
    }

    /// The bytes `start .. start + length`, in chunks.
    pub(in crate::store) fn stream(self, start: u64, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
        Box::pin(futures::stream::try_unfold((start, length), move |(at, left)| {
            let handle = Arc::clone(&self.0);
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let chunk = chunk(handle, at, left.min(CHUNK)).await?;
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

/// Whether it has to be waited for, be it for the disk or for a fresh handle.
fn is_for_the_pool(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::StaleNetworkFileHandle)
}

/// Up to `wanted` bytes: those that are in the page cache, or else read in the pool. Who waits for that holds no memory.
async fn chunk(handle: Arc<Handle>, at: u64, wanted: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(wanted).map_err(io::Error::other)?;
    let read = match filled(&handle.file.load(), wanted, at, Wait::No) {
        Err(error) if is_for_the_pool(&error) => {
            handle.blocking(move |file| filled(file, wanted, at, Wait::Yes)).await?
        }
        read => read?,
    };
    if read.is_empty() { Err(shorter()) } else { Ok(read.into()) }
}

fn filled(file: &File, wanted: usize, at: u64, wait: Wait) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; wanted];
    let read = read_at(file, &mut bytes, at, wait)?;
    bytes.truncate(read);
    Ok(bytes)
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
