//! One lock a name, made when it is wanted and forgotten when nobody holds it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

/// Locks by name: who reads a head and acts on it must not be overtaken by another who does the same.
#[derive(Debug)]
pub struct Locks<K> {
    held: Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> Locks<K> {
    /// Waits for this name's lock.
    pub async fn lock(&self, name: &K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.len() > 1024 {
                held.retain(|_, lock| lock.strong_count() > 0);
            }
            held.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                held.insert(name.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}
