//! A store in memory, for tests of what is above it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::{
    Answer, Backend, Capacity, Child, Content, Durability, Key, Meta, Object, Published, PutNew, Writer, in_key_order,
};

/// Keys and values, gone with the process.
#[derive(Debug, Default, Clone)]
pub struct MemoryStore {
    keys: std::sync::Arc<Mutex<BTreeMap<String, (Bytes, SystemTime)>>>,
    lists_below: bool,
}

impl MemoryStore {
    /// One that lists keys at any depth, as buckets do.
    #[cfg(test)]
    pub fn like_a_bucket() -> Self {
        Self { lists_below: true, ..Self::default() }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, (Bytes, SystemTime)>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, key: &Key, value: &Bytes) -> PutNew {
        let mut keys = self.keys();
        match keys.get(key.as_str()) {
            Some((stored, _)) if stored == value => PutNew::Created,
            Some((stored, _)) => PutNew::Exists(stored.clone()),
            None => {
                keys.insert(key.to_string(), (value.clone(), SystemTime::now()));
                PutNew::Created
            }
        }
    }

    fn list(&self, directory: &Key, after: Option<&str>, limit: usize) -> Vec<Child> {
        let prefix = format!("{directory}/");
        let keys = self.keys();
        let mut children: Vec<Child> = keys
            .range(prefix.clone()..)
            .map_while(|(key, _)| key.strip_prefix(&prefix))
            .map(|rest| match rest.split_once('/') {
                Some((name, _)) => Child { name: name.to_owned(), is_directory: true },
                None => Child { name: rest.to_owned(), is_directory: false },
            })
            .filter(|child| after.is_none_or(|after| child.is_after(after)))
            .collect();
        children.sort_by(in_key_order);
        children.dedup();
        children.truncate(limit);
        children
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Backend for MemoryStore {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, _: Durability) -> Answer<'a, PutNew> {
        ready(self.create(key, &value))
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        ready(self.keys().get(key.as_str()).map(|(value, _)| value.clone()))
    }

    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        ready(self.keys().get(key.as_str()).map(|(value, modified)| Object {
            meta: Meta { size: value.len() as u64, modified: *modified },
            content: Content::Bytes(value.clone()),
        }))
    }

    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        ready(
            self.keys()
                .get(key.as_str())
                .map(|(value, modified)| Meta { size: value.len() as u64, modified: *modified }),
        )
    }

    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        ready(self.list(directory, after, limit))
    }

    fn below<'a>(
        &'a self,
        directory: &'a Key,
        after: Option<&'a str>,
        limit: usize,
    ) -> Option<Answer<'a, Vec<String>>> {
        self.lists_below.then(|| {
            let prefix = format!("{directory}/");
            let keys = self.keys();
            let below = keys.range(prefix.clone()..).map_while(|(key, _)| key.strip_prefix(&prefix));
            let below = below.filter(|key| after.is_none_or(|after| *key > after));
            ready(below.take(limit).map(str::to_owned).collect())
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        ready(self.keys().remove(key.as_str()).is_some())
    }

    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        ready(Box::new(MemoryWriter { store: self.clone(), key: key.clone(), bytes: BytesMut::new() }))
    }

    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, _: Durability) -> Answer<'a, Published> {
        let value = self.keys().get(temporary.as_str()).map(|(value, _)| value.clone());
        let published = match value {
            Some(value) if !self.keys().contains_key(key.as_str()) => {
                self.create(key, &value);
                Ok(Published::Created)
            }
            Some(_) => Ok(Published::Exists),
            None => Err(super::StoreError::io("publishing", temporary, std::io::ErrorKind::NotFound.into())),
        };
        Box::pin(std::future::ready(published))
    }

    fn replace<'a>(&'a self, temporary: &'a Key, key: &'a Key) -> Answer<'a, bool> {
        let mut keys = self.keys();
        let Some(value) = keys.get(temporary.as_str()).cloned() else { return ready(false) };
        keys.insert(key.to_string(), value);
        ready(true)
    }

    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        let mut keys = self.keys();
        if keys.contains_key(to.as_str()) {
            return ready(false);
        }
        let Some(value) = keys.remove(from.as_str()) else { return ready(false) };
        keys.insert(to.to_string(), value);
        ready(true)
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        ready(SystemTime::now())
    }

    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        ready(None)
    }
}

struct MemoryWriter {
    store: MemoryStore,
    key: Key,
    bytes: BytesMut,
}

impl Writer for MemoryWriter {
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        self.bytes.extend_from_slice(&bytes);
        ready(())
    }

    fn finish(self: Box<Self>, _: Durability) -> Answer<'static, u64> {
        let size = self.bytes.len() as u64;
        self.store.create(&self.key, &self.bytes.freeze());
        ready(size)
    }
}
