//! A store in memory that counts what is asked of it, and can do what buckets can: say the least part, and send
//! clients away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use regatta::store::memory::MemoryStore;
use regatta::store::{
    Abilities, Answer, Backend, Capacity, Child, Durability, Key, Meta, Object, Published, PutNew, Writer,
};

/// Counts, and answers as a bucket where it is told to be one.
#[derive(Debug, Default, Clone)]
pub struct CountingStore {
    inner: MemoryStore,
    asked: Arc<AtomicU64>,
    is_bucket: bool,
}

impl CountingStore {
    /// As a bucket that clients are sent to.
    pub fn bucket() -> Self {
        Self { is_bucket: true, ..Self::default() }
    }

    /// How often anything was asked of it.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn counted(&self) -> &MemoryStore {
        self.asked.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }
}

impl Backend for CountingStore {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, durability: Durability) -> Answer<'a, PutNew> {
        self.counted().put_new(key, value, durability)
    }
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.counted().read(key)
    }
    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.counted().open(key)
    }
    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        self.counted().head(key)
    }
    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        self.counted().children(directory, after, limit)
    }
    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.counted().delete(key)
    }
    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        self.counted().temporary(key)
    }
    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, durability: Durability) -> Answer<'a, Published> {
        self.counted().publish(temporary, key, durability)
    }
    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        self.counted().rename(from, to)
    }
    fn now(&self) -> Answer<'_, SystemTime> {
        self.counted().now()
    }
    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        self.counted().capacity()
    }
    fn abilities(&self) -> Abilities {
        Abilities {
            least_chunk: self.is_bucket.then_some(5_242_880),
            redirects: self.is_bucket,
            ..Abilities::default()
        }
    }
    fn redirect<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<String>> {
        Box::pin(std::future::ready(Ok(Some(format!("https://bucket.example/{key}?signed")))))
    }
}
