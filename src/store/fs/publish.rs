//! Bytes on their way to the disk, and to the name under which everybody finds them.

use std::fs::File;
use std::io;

use super::directory::with_parent;
use super::write::sync_or_remove;
use super::{Inner, found};
use crate::store::{Durability, Key, Published, StoreError, nonce};

impl Inner {
    pub(super) fn publish(&self, temporary: &Key, key: &Key, durability: Durability) -> Result<Published, StoreError> {
        if durability == Durability::Durable {
            self.sync(temporary).map_err(|source| StoreError::io("syncing", temporary, source))?;
        }
        let published = self.link(temporary, key, durability)?;
        if published == Published::Exists && durability == Durability::Durable && self.is_suspect(key)? {
            self.replace(temporary, key)?;
        }
        Ok(published)
    }

    fn sync(&self, temporary: &Key) -> io::Result<()> {
        let path = self.path(temporary);
        sync_or_remove(&File::open(&path)?, &path)
    }

    /// Whether a sync of what is there has failed.
    pub(super) fn is_suspect(&self, key: &Key) -> Result<bool, StoreError> {
        let path = self.path(key);
        let meta = found(std::fs::metadata(&path)).map_err(|source| StoreError::io("looking at", key, source))?;
        Ok(meta.is_some_and(|meta| self.entries.is_suspect(&path, &meta)))
    }

    /// The only rename over something: a second name of the temporary, over bytes that are known to be damaged, or that
    /// nobody knows to be on disk.
    pub(super) fn replace(&self, temporary: &Key, key: &Key) -> Result<bool, StoreError> {
        let second = self.path(&self.scratch.join(nonce()));
        let (from, to) = (self.path(temporary), self.path(key));
        let failed = |source| StoreError::io("replacing", key, source);
        let replaced = || {
            self.sync(temporary)?;
            with_parent(&self.root, &second, || std::fs::hard_link(&from, &second))?;
            with_parent(&self.root, &to, || std::fs::rename(&second, &to))?;
            self.directories.sync(&to)?;
            std::fs::metadata(&to)
        };
        let replaced = replaced();
        // Gone already, unless something failed.
        let _ = std::fs::remove_file(&second);
        self.entries.remember(&to, &replaced.map_err(failed)?);
        Ok(true)
    }

    /// Whether a key is there, and known to survive a power cut.
    pub(super) fn durability(&self, key: &Key) -> Result<Option<Durability>, StoreError> {
        let path = self.path(key);
        let meta = found(std::fs::metadata(&path)).map_err(|source| StoreError::io("looking at", key, source))?;
        Ok(meta.filter(|meta| !meta.is_dir()).map(|meta| {
            let is_durable = self.entries.is_durable(&path, &meta);
            if is_durable { Durability::Durable } else { Durability::Volatile }
        }))
    }

    /// Its maker has synced the bytes before it linked them, if it promises anything; the entry it may not have. A file
    /// whose sync failed is not asked again (see [`sync_or_remove`]); it has its name, and so it stays until it is
    /// replaced.
    pub(super) fn make_durable(&self, key: &Key) -> Result<bool, StoreError> {
        let path = self.path(key);
        let sync = || {
            let file = File::open(&path)?;
            let meta = file.metadata()?;
            if self.entries.is_suspect(&path, &meta) {
                return Err(io::Error::other("it could not be synced before; it has to be written anew"));
            }
            file.sync_data().inspect_err(|_| self.entries.suspect(path.clone(), &meta))?;
            self.directories.sync(&path)?;
            Ok(meta)
        };
        let meta = found(sync()).map_err(|source| StoreError::io("syncing", key, source))?;
        let Some(meta) = meta else { return Ok(false) };
        self.entries.remember(&path, &meta);
        Ok(true)
    }
}
