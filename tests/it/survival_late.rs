//! A store that shows late what others did: as an NFS client does that remembers names, listings and what was under a
//! name, each for as long as chance has it, up to a bound. What is done through it, it shows at once; and creating is
//! the server's to decide, whatever is remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use regatta::store::{
    Answer, Backend, Capacity, Child, Durability, Key, Meta, Object, Published, PutNew, Store, StoreError, Writer,
};

use crate::survival_seed::Random;

#[derive(Debug)]
struct Remembered<T> {
    until: Instant,
    value: T,
}

type Listing = (String, Option<String>, usize);

#[derive(Debug)]
struct Memory {
    values: HashMap<String, Remembered<Option<Bytes>>>,
    metas: HashMap<String, Remembered<Option<Meta>>>,
    listings: HashMap<Listing, Remembered<Vec<Child>>>,
    /// How often each directory was seen to have changed.
    doubts: HashMap<String, u64>,
    random: Random,
    /// How often something was told from memory.
    told: u64,
}

impl Memory {
    /// What was not there, directly in this directory, is looked up anew.
    fn doubt(&mut self, directory: &Key) {
        *self.doubts.entry(directory.as_str().to_owned()).or_default() += 1;
        let is_in = |key: &str| key.rsplit_once('/').is_some_and(|(parent, _)| parent == directory.as_str());
        self.values.retain(|key, known| known.value.is_some() || !is_in(key));
        self.metas.retain(|key, known| known.value.is_some() || !is_in(key));
    }

    /// A name and its directory are looked at anew.
    fn forget(&mut self, key: &Key) {
        let key = key.as_str();
        self.values.remove(key);
        self.metas.remove(key);
        for (directory, _) in key.match_indices('/').map(|(at, _)| key.split_at(at)) {
            self.listings.retain(|(listed, ..), _| listed != directory);
        }
    }
}

fn directory_of(key: &Key) -> Option<&str> {
    key.as_str().rsplit_once('/').map(|(directory, _)| directory)
}

/// See the module.
#[derive(Debug)]
pub struct Late {
    inner: Store,
    bound: Duration,
    memory: Arc<Mutex<Memory>>,
}

/// Tells how often a store told something from memory.
#[derive(Clone)]
pub struct Told(Arc<Mutex<Memory>>);

impl Told {
    pub fn times(&self) -> u64 {
        self.0.lock().unwrap().told
    }
}

impl Late {
    pub fn new(inner: Store, bound: Duration, random: Random) -> (Self, Told) {
        let (values, metas, listings, doubts) = Default::default();
        let memory = Arc::new(Mutex::new(Memory { values, metas, listings, doubts, random, told: 0 }));
        (Self { inner, bound, memory: Arc::clone(&memory) }, Told(memory))
    }

    /// From memory, or from the store and into memory.
    async fn remember<K, T>(
        &self,
        map: impl Fn(&mut Memory) -> &mut HashMap<K, Remembered<T>>,
        key: K,
        directory: Option<&str>,
        ask: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError>
    where
        K: std::hash::Hash + Eq,
        T: Clone,
    {
        let asked = Instant::now();
        let doubts = |memory: &Memory| directory.and_then(|directory| memory.doubts.get(directory).copied());
        let before;
        {
            let mut memory = self.memory.lock().unwrap();
            before = doubts(&memory);
            if let Some(known) = map(&mut memory).get(&key).filter(|known| asked < known.until) {
                let value = known.value.clone();
                memory.told += 1;
                return Ok(value);
            }
        }
        let value = ask.await?;
        let mut memory = self.memory.lock().unwrap();
        let share = u32::try_from(memory.random.below(101)).unwrap();
        // From when it was asked for: what is told is never older than the bound.
        let until = asked + self.bound * share / 100;
        // What was found before the directory was seen to have changed is not good for afterwards.
        if doubts(&memory) == before {
            map(&mut memory).insert(key, Remembered { until, value: value.clone() });
        }
        Ok(value)
    }

    fn forget(&self, key: &Key) {
        self.memory.lock().unwrap().forget(key);
    }
}

impl Backend for Late {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, durability: Durability) -> Answer<'a, PutNew> {
        Box::pin(async move {
            let put = self.inner.put_new(key, value, durability).await?;
            match put {
                PutNew::Created => self.forget(key),
                // The name is known to be there; its directory is not looked at for that.
                PutNew::Exists(_) => {
                    let mut memory = self.memory.lock().unwrap();
                    memory.values.remove(key.as_str());
                    memory.metas.remove(key.as_str());
                }
            }
            Ok(put)
        })
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        Box::pin(self.remember(
            |memory| &mut memory.values,
            key.as_str().to_owned(),
            directory_of(key),
            self.inner.read(key),
        ))
    }

    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        // Opening asks the server (close-to-open).
        self.inner.open(key)
    }

    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        Box::pin(self.remember(
            |memory| &mut memory.metas,
            key.as_str().to_owned(),
            directory_of(key),
            self.inner.head(key),
        ))
    }

    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        let listing = (directory.as_str().to_owned(), after.map(str::to_owned), limit);
        // Whoever lists a directory sees that it changed, and looks names up anew that were not there.
        let ask = async move {
            let children = self.inner.children(directory, after, limit).await;
            self.memory.lock().unwrap().doubt(directory);
            children
        };
        Box::pin(self.remember(|memory| &mut memory.listings, listing, None, ask))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.forget(key);
        self.inner.delete(key)
    }

    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        self.inner.temporary(key)
    }

    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, durability: Durability) -> Answer<'a, Published> {
        Box::pin(async move {
            let published = self.inner.publish(temporary, key, durability).await;
            self.forget(key);
            published
        })
    }

    fn make_durable<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.inner.make_durable(key)
    }

    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        Box::pin(async move {
            let renamed = self.inner.rename(from, to).await;
            self.forget(from);
            self.forget(to);
            renamed
        })
    }

    fn staleness(&self) -> Option<Duration> {
        Some(self.bound)
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        self.inner.now()
    }

    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        self.inner.capacity()
    }
}
