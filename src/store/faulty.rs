//! A store that tells what is done to it and fails on command, for tests of what is above it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{
    Abilities, Answer, Backend, Capacity, Child, Durability, Key, Listing, Meta, Object, Piece, Published, PutNew,
    Store, StoreError, Writer, Writes,
};

pub use super::Operation;

/// Told of each operation before it is done, but of looks at clock, space and abilities; `false` makes it fail.
type Judge = Arc<dyn Fn(Operation, &Key) -> bool + Send + Sync>;

/// Another store, with somebody who watches.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Store,
    judge: Judge,
    hangs: Judge,
    ahead: Arc<AtomicU64>,
    longest: Arc<AtomicU64>,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Asks `judge` before each operation, and fails where that says `false`.
    pub fn new(inner: Store, judge: impl Fn(Operation, &Key) -> bool + Send + Sync + 'static) -> Self {
        let hangs = Arc::new(|_: Operation, _: &Key| false);
        Self { inner, judge: Arc::new(judge), hangs, ahead: Arc::default(), longest: Arc::default() }
    }

    /// Never answers, and does nothing, where `hangs` says so. Asked after the judge, of all but pages of listings and
    /// what is done to temporaries.
    #[must_use]
    pub fn hanging(mut self, hangs: impl Fn(Operation, &Key) -> bool + Send + Sync + 'static) -> Self {
        self.hangs = Arc::new(hangs);
        self
    }

    /// Puts the store's own clock ahead of what it was.
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The most names that one listing answered.
    pub fn longest_listing(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }

    fn ask<'a, T: Send + 'a>(&'a self, operation: Operation, key: &Key, answer: Answer<'a, T>) -> Answer<'a, T> {
        match (self.judge)(operation, key) {
            false => Box::pin(std::future::ready(Err(failure(key)))),
            true if (self.hangs)(operation, key) => Box::pin(std::future::pending()),
            true => answer,
        }
    }
}

fn failure(key: &Key) -> StoreError {
    StoreError::io("being told to fail at", key, std::io::Error::other("told to"))
}

impl Backend for FaultyStore {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, durability: Durability) -> Answer<'a, PutNew> {
        self.ask(Operation::PutNew, key, Box::pin(async move { self.inner.put_new(key, value, durability).await }))
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.ask(Operation::Read, key, Box::pin(async move { self.inner.read(key).await }))
    }

    fn read_through<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.ask(Operation::Read, key, Box::pin(async move { self.inner.read_through(key).await }))
    }

    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.ask(Operation::Open, key, Box::pin(async move { self.inner.open(key).await }))
    }

    fn open_in_part<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.ask(Operation::Open, key, Box::pin(async move { self.inner.open_in_part(key).await }))
    }

    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        self.ask(Operation::Head, key, Box::pin(async move { self.inner.head(key).await }))
    }

    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        let listed = Box::pin(async move {
            let listed = self.inner.children(directory, after, limit).await?;
            self.longest.fetch_max(listed.len() as u64, Ordering::Relaxed);
            Ok(listed)
        });
        self.ask(Operation::Children, directory, listed)
    }

    fn below<'a>(
        &'a self,
        directory: &'a Key,
        after: Option<&'a str>,
        limit: usize,
    ) -> Option<Answer<'a, Vec<String>>> {
        let listed = self.inner.below(directory, after, limit)?;
        let listed = Box::pin(async move {
            let listed = listed.await?;
            self.longest.fetch_max(listed.len() as u64, Ordering::Relaxed);
            Ok(listed)
        });
        Some(self.ask(Operation::Children, directory, listed))
    }

    fn listing(&self, directory: &Key, after: Option<&str>, deep: bool) -> Option<Box<dyn Listing>> {
        let inner = self.inner.listing(directory, after, deep)?;
        Some(Box::new(FaultyListing { inner, store: self.clone(), directory: directory.clone() }))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.ask(Operation::Delete, key, Box::pin(async move { self.inner.delete(key).await }))
    }

    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        let begun = Box::pin(async move {
            let inner = self.inner.temporary(key).await?;
            Ok(Box::new(FaultyWriter { inner, judge: Arc::clone(&self.judge), key: key.clone() }) as Box<dyn Writer>)
        });
        self.ask(Operation::Temporary, key, begun)
    }

    fn compose<'a>(&'a self, pieces: &'a [Piece], whole: &'a Key) -> Option<Answer<'a, ()>> {
        let composed = self.inner.compose(pieces, whole)?;
        Some(self.ask(Operation::Compose, whole, composed))
    }

    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, durability: Durability) -> Answer<'a, Published> {
        let published = Box::pin(async move { self.inner.publish(temporary, key, durability).await });
        self.ask(Operation::Publish, key, published)
    }

    fn replace<'a>(&'a self, temporary: &'a Key, key: &'a Key) -> Answer<'a, bool> {
        let replaced = Box::pin(async move { self.inner.replace(temporary, key).await });
        self.ask(Operation::Replace, key, replaced)
    }

    fn make_durable<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.ask(Operation::MakeDurable, key, Box::pin(async move { self.inner.make_durable(key).await }))
    }

    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        self.ask(Operation::Rename, from, Box::pin(async move { self.inner.rename(from, to).await }))
    }

    fn staleness(&self) -> Option<Duration> {
        self.inner.staleness()
    }

    fn writes(&self) -> Writes {
        self.inner.writes()
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        let ahead = Duration::from_millis(self.ahead.load(Ordering::Relaxed));
        Box::pin(async move { Ok(self.inner.now().await? + ahead) })
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn redirect<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<String>> {
        self.inner.redirect(key)
    }

    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        self.inner.capacity()
    }
}

struct FaultyListing {
    inner: Box<dyn Listing>,
    store: FaultyStore,
    directory: Key,
}

impl Listing for FaultyListing {
    fn next(&mut self, limit: usize) -> Answer<'_, Vec<Child>> {
        if !(self.store.judge)(Operation::Children, &self.directory) {
            return Box::pin(std::future::ready(Err(failure(&self.directory))));
        }
        Box::pin(async move {
            let listed = self.inner.next(limit).await?;
            self.store.longest.fetch_max(listed.len() as u64, Ordering::Relaxed);
            Ok(listed)
        })
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer>,
    judge: Judge,
    key: Key,
}

impl Writer for FaultyWriter {
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        if (self.judge)(Operation::Write, &self.key) {
            return self.inner.write(bytes);
        }
        Box::pin(std::future::ready(Err(failure(&self.key))))
    }

    fn gives_way(&mut self) -> Answer<'_, ()> {
        self.inner.gives_way()
    }

    fn finish(self: Box<Self>, durability: Durability) -> Answer<'static, u64> {
        if (self.judge)(Operation::Finish, &self.key) {
            return self.inner.finish(durability);
        }
        Box::pin(std::future::ready(Err(failure(&self.key))))
    }
}
