//! Small contents, kept in memory under their digest. They never change; whether they may be served is the registers'
//! to say, at every request. What is read is hashed before it is kept: a bad read is one wrong answer, which the client
//! finds out, and not all of them until it is forgotten.

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};

use super::{CacheFigures, Lookups, Registry, RegistryError, Result};
use crate::oci::Digest;
use crate::store::{Meta, Object};

/// Longer contents are not kept.
const LONGEST: u64 = 16 * 1024;

/// How many bytes are kept in all.
const KEPT: u64 = 8 * 1024 * 1024;

/// About what a key and its place in the cache cost.
const OVERHEAD: u64 = 256;

/// How much of a content is wanted, as far as that is known when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All.
    Whole,
    /// Its size at least; some of its bytes perhaps.
    Part,
}

#[derive(Debug)]
pub(super) struct Contents {
    cache: Cache<Digest, Content, BySize>,
    lookups: Lookups,
}

impl Contents {
    pub(super) fn figures(&self) -> CacheFigures {
        self.lookups.figures("contents", self.cache.len())
    }
}

impl Default for Contents {
    fn default() -> Self {
        Self { cache: Cache::with_weighter(4_096, KEPT, BySize), lookups: Lookups::default() }
    }
}

#[derive(Debug, Clone)]
struct Content {
    meta: Meta,
    bytes: Bytes,
}

#[derive(Debug, Clone)]
struct BySize;

impl Weighter<Digest, Content> for BySize {
    fn weight(&self, _: &Digest, content: &Content) -> u64 {
        content.meta.size + OVERHEAD
    }
}

impl Registry {
    /// A content that a register names, from memory or from where it is in the store.
    pub(super) async fn open_content(&self, digest: &Digest) -> Result<Option<Object>> {
        self.open_content_for(digest, Wanted::Whole).await
    }

    /// As [`Self::open_content`], for who may want less than all.
    pub(super) async fn open_content_for(&self, digest: &Digest, wanted: Wanted) -> Result<Option<Object>> {
        let Contents { cache, lookups } = &self.inner.contents;
        if let Some(content) = cache.get(digest) {
            lookups.count(true);
            return Ok(Some(Object::from_bytes(content.meta, content.bytes)));
        }
        let Some(object) = self.open_data_for(digest, wanted).await? else { return Ok(None) };
        if object.meta.size > LONGEST {
            return Ok(Some(object));
        }
        // What would never have been kept is none of its misses.
        lookups.count(false);
        let meta = object.meta;
        let bytes = object.read().await.map_err(|source| RegistryError::unreadable(digest, source))?;
        let found = Digest::of(digest.algorithm(), &bytes);
        if found == *digest {
            // A copy of its own: a slice would hold on to the whole buffer that was read into.
            cache.insert(digest.clone(), Content { meta, bytes: Bytes::copy_from_slice(&bytes) });
        } else {
            tracing::error!(%digest, %found, "what was read from the store is not what its name says; it is not kept in memory");
        }
        Ok(Some(Object::from_bytes(meta, bytes)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::System;
    use crate::registry::layout;
    use crate::registry::tests::{push_blob, repository};
    use crate::store::{Backend as _, Durability, memory::MemoryStore};

    #[tokio::test]
    async fn a_bad_read_is_not_kept() {
        let (memory, name) = (MemoryStore::default(), repository("a"));
        let open = || Registry::open(Arc::new(memory.clone()), Arc::new(System));
        let digest = push_blob(&open().await.unwrap(), &name, b"whole").await;
        let data = layout::blob_data(&digest);
        let rewrite = async |bytes: &'static [u8]| {
            memory.delete(&data).await.unwrap();
            memory.put_new(&data, Bytes::from_static(bytes), Durability::Durable).await.unwrap();
        };
        let registry = open().await.unwrap();
        let read = async || registry.open_blob(&name, &digest).await.unwrap().read().await.unwrap();
        rewrite(b"wrong").await;
        assert_eq!(read().await, "wrong");
        rewrite(b"whole").await;
        assert_eq!(read().await, "whole");
        // Now it is kept.
        rewrite(b"wrong").await;
        assert_eq!(read().await, "whole");
    }
}
