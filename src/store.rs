//! The key-value port under everything that the registry keeps, and its backends.
//!
//! A store creates keys, reads them, lists them in byte order and deletes them. Nothing appends and nothing compares
//! and swaps: creating a key that does not exist is the only thing that two processes can contend for, and every
//! filesystem and object store has that. This room knows nothing of registries.
//!
//! Every backend passes the one suite in `store::suite`.

pub mod bucket;
pub mod config;
pub mod faulty;
pub mod fs;
mod key;
pub mod memory;
pub mod metered;
mod operation;
mod smallest;
#[cfg(test)]
pub mod suite;
pub mod trouble;
mod walk;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use key::{Key, KeyError};
pub use operation::Operation;
pub use walk::{Listing, Walk};

/// A store, whatever is behind it.
pub type Store = Arc<dyn Backend>;

/// What a store must be able to do. Errors are the backend's; "not there" and "already there" are answers.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Creates the key with this value, if no such key exists. What is found instead is answered, so that a writer
    /// whose earlier try landed unnoticed recognises its own value.
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, durability: Durability) -> Answer<'a, PutNew>;

    /// The whole value of a small key.
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>>;

    /// As [`Self::read`], from where the value really lies, past any cache on the way: tells whether that can be read.
    fn read_through<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.read(key)
    }

    /// A key's content, to be streamed.
    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>>;

    /// As [`Self::open`], for whom the size may be all that he wants to know, or who reads a part: nothing is read before
    /// that is known, where it would cost a request more.
    fn open_in_part<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.open(key)
    }

    /// A key's size and age.
    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>>;

    /// At most `limit` names directly below `directory`, in byte order, those after `after` only. A name with keys
    /// below it sorts as if it ended in `/`, and is to be given so in `after`. A directory that does not exist is
    /// empty.
    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>>;

    /// At most `limit` keys at any depth below `directory`, without its name before theirs, in byte order, those after
    /// `after` only. Fewer are all that there are. `None` where that is no cheaper than a listing of each directory.
    fn below<'a>(
        &'a self,
        _directory: &'a Key,
        _after: Option<&'a str>,
        _limit: usize,
    ) -> Option<Answer<'a, Vec<String>>> {
        None
    }

    /// A listing of names, or of keys at any depth, that stays open from page to page: for [`Walk`]. `None` where it costs no
    /// less than to begin anew behind the last name.
    fn listing(&self, _directory: &Key, _after: Option<&str>, _deep: bool) -> Option<Box<dyn Listing>> {
        None
    }

    /// Deletes a key; false where there was none.
    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool>;

    /// Begins a temporary object that nobody sees until it is published.
    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>>;

    /// Puts finished temporary objects together, in this order, to another one; the store does it itself, and their bytes
    /// are not sent again. They stay where they are. `None` where it cannot do that with these.
    fn compose<'a>(&'a self, _pieces: &'a [Piece], _whole: &'a Key) -> Option<Answer<'a, ()>> {
        None
    }

    /// Gives a finished temporary object its name, if no such key exists; `Durable` puts its bytes on disk first,
    /// however it was finished. The temporary is left where it is.
    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, durability: Durability) -> Answer<'a, Published>;

    /// Gives a finished temporary object the name of a key whose bytes are known to be damaged, in place of those, durably
    /// and in one step: nobody finds nothing there, and who reads the damaged ones reads them to their end. False where
    /// the store has no such step. The temporary is left where it is.
    fn replace<'a>(&'a self, _temporary: &'a Key, _key: &'a Key) -> Answer<'a, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Makes sure that a key which is there survives a power cut: whoever made it may not have come so far yet. False
    /// where there is none. Backends in which what can be seen is durable only look.
    fn make_durable<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.head(key).await?.is_some()) })
    }

    /// Moves a key to a name that does not exist; false where the first does not exist or the second does.
    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool>;

    /// For how long what another process did may not be seen here, where that is not at once: the caches of a network
    /// filesystem's client. None too where nothing is known of it.
    fn staleness(&self) -> Option<Duration> {
        None
    }

    /// The store's own clock.
    fn now(&self) -> Answer<'_, SystemTime>;

    /// The free and total bytes of what is behind the store, where it has bounds.
    fn capacity(&self) -> Answer<'_, Option<Capacity>>;

    /// How writes fare at this moment. Nothing is known of a bucket's, whose requests end by themselves.
    fn writes(&self) -> Writes {
        Writes::default()
    }

    /// What this store can and cannot do, as far as is known now. A directory can do all, and has no least part.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// A URL at which anybody may read the key for some minutes; none where clients are not to be sent away.
    fn redirect<'a>(&'a self, _key: &'a Key) -> Answer<'a, Option<String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What a backend's operation answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Takes the bytes of a temporary object.
pub trait Writer: Send {
    /// Appends. The bytes may be on their way when this returns; an error of theirs comes with a later call.
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()>;

    /// Comes to its end when the bytes of this one had better be all: they come too slowly, and others wait for the memory
    /// that they take. To be waited for while the next bytes are; never ends where the store holds none.
    fn gives_way(&mut self) -> Answer<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// All bytes are there; durable or not, as asked.
    fn finish(self: Box<Self>, durability: Durability) -> Answer<'static, u64>;
}

/// Whether something must survive a power cut before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It must.
    Durable,
    /// It need not: an upload in progress, a hint.
    Volatile,
}

/// The outcome of [`Backend::put_new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutNew {
    /// The key is there, with the value given: made by this call, or by an earlier try of it.
    Created,
    /// The key was there, with this other value.
    Exists(Bytes),
}

/// The outcome of [`Backend::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The key is new.
    Created,
    /// The key was there.
    Exists,
}

/// What a store can and cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Abilities {
    /// Whether the store itself lets one of two creators win.
    pub exclusive: Exclusive,
    /// Bytes that the store takes as a part at least, and that a chunk of an upload should have, so that there are not many
    /// small ones to be put together: what `OCI-Chunk-Min-Length` says to clients.
    pub least_chunk: Option<u64>,
    /// Whether clients are sent to the store for the bytes of blobs: see [`Backend::redirect`].
    pub redirects: bool,
    /// Whether what one process sees survives a power cut, whoever made it: [`Backend::make_durable`] is then a look.
    pub seen_is_durable: bool,
}

/// Whether the store itself refuses to create a key that exists, whichever process tries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Exclusive {
    /// It does: any number of processes may share it.
    #[default]
    Yes,
    /// It does not, and why that is known. One process only may write; within that one the promise holds.
    No(String),
}

/// How the writes of a store fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Writes {
    /// For how long the oldest one that is under way has been; nought where there is none.
    pub oldest: Duration,
    /// They do not come to their end: another would only wait.
    pub hang: bool,
    /// The last one was refused because the volume is mounted read-only.
    pub read_only: bool,
}

/// Size and age of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Bytes.
    pub size: u64,
    /// When the content was written, by the store's clock.
    pub modified: SystemTime,
}

/// An object that is to become part of another: see [`Backend::compose`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its key.
    pub key: Key,
    /// How many bytes it has.
    pub size: u64,
}

/// A name below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// One component of a key.
    pub name: String,
    /// Whether it has keys below it, rather than being one.
    pub is_directory: bool,
}

impl Child {
    /// What a listing is given to go on behind this one.
    pub fn as_start(&self) -> String {
        format!("{}{}", self.name, if self.is_directory { "/" } else { "" })
    }

    /// Whether this sorts behind a name, which ends in `/` if it is a directory's.
    fn is_after(&self, name: &str) -> bool {
        self.sort_key().cmp(&SortKey::of(name)).is_gt()
    }

    fn sort_key(&self) -> SortKey<'_> {
        SortKey { name: self.name.as_bytes(), end: end_of(self.is_directory) }
    }
}

fn end_of(is_directory: bool) -> &'static [u8] {
    if is_directory { b"/" } else { b"" }
}

/// What names are ordered by: as the byte order of whole keys is, in which a directory's ends in `/`.
#[derive(Debug, Clone, Copy)]
struct SortKey<'a> {
    name: &'a [u8],
    end: &'static [u8],
}

impl<'a> SortKey<'a> {
    /// Of a name that has its end.
    fn of(name: &'a str) -> Self {
        Self { name: name.as_bytes(), end: b"" }
    }
}

impl Ord for SortKey<'_> {
    /// Long lists are sorted by it: all that both names have is compared in one go.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let both = self.name.len().min(other.name.len());
        let ((first, rest), (first_of_other, rest_of_other)) = (self.name.split_at(both), other.name.split_at(both));
        let ends = || rest.iter().chain(self.end).cmp(rest_of_other.iter().chain(other.end));
        first.cmp(first_of_other).then_with(ends)
    }
}

impl PartialEq for SortKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortKey<'_> {}

impl PartialOrd for SortKey<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares names as the byte order of whole keys does.
fn in_key_order(a: &Child, b: &Child) -> std::cmp::Ordering {
    a.sort_key().cmp(&b.sort_key())
}

/// Space behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

/// An open key. It can be read to its end even if the key is deleted or renamed meanwhile; in a bucket, as long as the
/// connection holds, and with an error if it does not.
#[derive(Debug)]
pub struct Object {
    /// Size and age.
    pub meta: Meta,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(fs::LocalFile),
    Bytes(Bytes),
    Remote(Box<bucket::Remote>),
}

impl Object {
    /// The bytes `start .. start + length`, in chunks.
    pub fn stream(self, start: u64, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
        match self.content {
            Content::File(file) => file.stream(start, length),
            Content::Bytes(bytes) => Box::pin(futures::stream::iter([Ok(slice(&bytes, start, length))])),
            Content::Remote(remote) => remote.stream(start, length),
        }
    }

    /// The same, for who wants other bytes of it too. Nothing is read before the stream is.
    pub fn part(&self, start: u64, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
        match &self.content {
            Content::File(file) => file.clone().stream(start, length),
            Content::Bytes(bytes) => Box::pin(futures::stream::iter([Ok(slice(bytes, start, length))])),
            Content::Remote(remote) => remote.part(start, length),
        }
    }

    /// The bytes `start .. start + length`, where they are in memory.
    pub fn at_hand(&self, start: u64, length: u64) -> Option<Bytes> {
        match &self.content {
            Content::File(_) | Content::Remote(_) => None,
            Content::Bytes(bytes) => Some(slice(bytes, start, length)),
        }
    }

    /// The file that the bytes are in, where they are in one of this machine's.
    pub fn local_file(&self) -> Option<&fs::LocalFile> {
        match &self.content {
            Content::File(file) => Some(file),
            Content::Bytes(_) | Content::Remote(_) => None,
        }
    }

    /// An object whose bytes are at hand.
    pub fn from_bytes(meta: Meta, bytes: Bytes) -> Self {
        Self { meta, content: Content::Bytes(bytes) }
    }

    /// All bytes at once; for what is known to be small.
    pub async fn read(self) -> io::Result<Bytes> {
        use futures::TryStreamExt as _;
        let size = self.meta.size;
        let chunks: Vec<Bytes> = self.stream(0, size).try_collect().await?;
        match <[Bytes; 1]>::try_from(chunks) {
            Ok([only]) => Ok(only),
            Err(chunks) => Ok(chunks.concat().into()),
        }
    }
}

fn slice(bytes: &Bytes, start: u64, length: u64) -> Bytes {
    let from = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
    bytes.slice(from..to)
}

/// A store that fails.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or quota is full.
    #[error("the store is full while {doing} `{key}`")]
    Full {
        /// What was under way.
        doing: &'static str,
        /// The key.
        key: String,
        /// The system's error.
        source: io::Error,
    },
    /// The volume is mounted read-only, which it was not at the start: ext4, for one, does that by itself after an error.
    #[error("the store is read-only: {doing} `{key}`")]
    ReadOnly {
        /// What was under way.
        doing: &'static str,
        /// The key.
        key: String,
        /// The system's error.
        source: io::Error,
    },
    /// The store has too much to do, or does not answer: later it may.
    #[error("the store is busy or does not answer while {doing} `{key}`")]
    Busy {
        /// What was under way.
        doing: &'static str,
        /// The key.
        key: String,
        /// The system's error.
        source: io::Error,
    },
    /// It was waited for long enough.
    #[error("the store does not answer while {doing} `{key}`")]
    Silent {
        /// What was under way.
        doing: &'static str,
        /// The key.
        key: String,
        /// What was waited for.
        source: io::Error,
    },
    /// Anything else that the system says.
    #[error("the store failed while {doing} `{key}`")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// The key.
        key: String,
        /// The system's error.
        source: io::Error,
    },
    /// The place cannot hold a store.
    #[error("`{path}` cannot hold a store: {why}")]
    Unsuitable {
        /// Where.
        path: String,
        /// What is missing, and what to do.
        why: String,
    },
}

/// 128 random bits in hex: names what must meet nothing else.
pub(crate) fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    #[expect(clippy::expect_used, reason = "two writers with one nonce would take each other's write for their own")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

impl StoreError {
    /// What the system says, by its kind.
    pub(crate) fn io(doing: &'static str, key: impl std::fmt::Display, source: io::Error) -> Self {
        let key = key.to_string();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { doing, key, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { doing, key, source },
            io::ErrorKind::TimedOut => Self::Silent { doing, key, source },
            io::ErrorKind::ResourceBusy => Self::Busy { doing, key, source },
            _ => Self::Io { doing, key, source },
        }
    }
}
