//! A store with something in between: calls that are made less durable than asked for, or that stop half-way.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use regatta::store::{
    Answer, Backend, Capacity, Child, Durability, Key, Meta, Object, Published, PutNew, Store, StoreError, Writer,
};
use tokio::sync::Notify;

/// What is in between.
pub trait Between: Send + Sync + std::fmt::Debug {
    /// How durable a write is really made.
    fn durability(&self, _key: &Key, asked: Durability) -> Durability {
        asked
    }

    /// Where the store is.
    fn root(&self) -> &Path {
        Path::new("")
    }

    /// Whether this key is linked and then nothing is done any more; who is told of it.
    fn stops_at(&self, _key: &Key) -> Option<&Notify> {
        None
    }
}

#[derive(Debug)]
pub struct Wrapped<B> {
    inner: Store,
    between: B,
}

pub fn wrapped(inner: Store, between: impl Between + 'static) -> Store {
    Arc::new(Wrapped { inner, between })
}

impl<B: Between> Wrapped<B> {
    /// Links what is synced, and comes to no end.
    async fn stop(&self, temporary: &Key, key: &Key, stopped: &Notify) -> Result<(), StoreError> {
        self.inner.publish(temporary, key, Durability::Volatile).await?;
        stopped.notify_one();
        std::future::pending().await
    }
}

impl<B: Between> Backend for Wrapped<B> {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, durability: Durability) -> Answer<'a, PutNew> {
        Box::pin(async move {
            if let Some(stopped) = self.between.stops_at(key) {
                let temporary = Key::of("regatta/v1/tmp/stopped".to_owned());
                let mut writer = self.inner.temporary(&temporary).await?;
                writer.write(value.clone()).await?;
                writer.finish(Durability::Durable).await?;
                self.stop(&temporary, key, stopped).await?;
            }
            let durability = self.between.durability(key, durability);
            self.inner.put_new(key, value, durability).await
        })
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.inner.read(key)
    }

    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.inner.open(key)
    }

    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        self.inner.head(key)
    }

    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        self.inner.children(directory, after, limit)
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.inner.delete(key)
    }

    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        self.inner.temporary(key)
    }

    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, durability: Durability) -> Answer<'a, Published> {
        Box::pin(async move {
            if let Some(stopped) = self.between.stops_at(key) {
                File::open(self.between.root().join(temporary.as_str())).unwrap().sync_data().unwrap();
                self.stop(temporary, key, stopped).await?;
            }
            let durability = self.between.durability(key, durability);
            self.inner.publish(temporary, key, durability).await
        })
    }

    fn make_durable<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.inner.make_durable(key)
    }

    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        self.inner.rename(from, to)
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        self.inner.now()
    }

    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        self.inner.capacity()
    }
}

/// Syncs nothing of what has this in its key when it is written.
#[derive(Debug)]
pub struct Forgetful(pub &'static str);

impl Between for Forgetful {
    fn durability(&self, key: &Key, asked: Durability) -> Durability {
        if key.as_str().contains(self.0) { Durability::Volatile } else { asked }
    }
}

/// Links whatever has this in its key, and stops before the directory is synced: a process that is between the two.
#[derive(Debug)]
pub struct StopsBeforeSync {
    pub root: PathBuf,
    pub part: &'static str,
    pub stopped: Arc<Notify>,
}

impl Between for StopsBeforeSync {
    fn root(&self) -> &Path {
        &self.root
    }

    fn stops_at(&self, key: &Key) -> Option<&Notify> {
        key.as_str().contains(self.part).then_some(&*self.stopped)
    }
}
