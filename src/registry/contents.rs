//! Small contents, kept in memory under their digest. They never change; whether they may be served is the registers'
//! to say, at every request.

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};

use super::{Registry, RegistryError, Result};
use crate::oci::{Digest, Hasher};
use crate::store::{Meta, Object};

/// Longer contents are not kept.
const LONGEST: u64 = 16 * 1024;

/// How many bytes are kept in all.
const KEPT: u64 = 8 * 1024 * 1024;

/// About what a key and its place in the cache cost.
const OVERHEAD: u64 = 256;

#[derive(Debug)]
pub(super) struct Contents {
    cache: Cache<Digest, Content, BySize>,
}

impl Default for Contents {
    fn default() -> Self {
        Self { cache: Cache::with_weighter(4_096, KEPT, BySize) }
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
        let cache = &self.inner.contents.cache;
        if let Some(content) = cache.get(digest) {
            return Ok(Some(Object::from_bytes(content.meta, content.bytes)));
        }
        let Some(object) = self.open_data(digest).await? else { return Ok(None) };
        if object.meta.size > LONGEST {
            return Ok(Some(object));
        }
        let meta = object.meta;
        let bytes = object.read().await.map_err(|source| RegistryError::unreadable(digest, source))?;
        // Bytes that are not what their name says may be mended where they lie: they are not remembered.
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() == *digest {
            // A copy of its own: a slice would hold on to the whole buffer that was read into.
            cache.insert(digest.clone(), Content { meta, bytes: Bytes::copy_from_slice(&bytes) });
        }
        Ok(Some(Object::from_bytes(meta, bytes)))
    }
}
