//! Where access documents and terms of office are kept. What they say is no business of this room: they are bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::versions::{self, Newest};
use super::{Registry, RegistryError, Result, layout, register::to_json};
use crate::store::Durability;

#[derive(Debug, Serialize, Deserialize)]
struct Term {
    holder: String,
}

impl Registry {
    /// The greatest access document, and its generation.
    pub async fn access_document(&self) -> Result<Option<Newest>> {
        versions::newest(&self.inner.store, &layout::access()).await
    }

    /// The number of the greatest access document; 0 where there is none. One listing.
    pub async fn access_generation(&self) -> Result<u64> {
        Ok(versions::newest_number(&self.inner.store, &layout::access()).await?.map_or(0, |(number, _)| number))
    }

    /// The access documents, newest first.
    pub async fn access_documents(&self) -> Result<Vec<Newest>> {
        versions::all(&self.inner.store, &layout::access()).await
    }

    /// Stores a document as this generation; false where another is that already. The same one again is true.
    pub async fn put_access_document(&self, generation: u64, document: Bytes) -> Result<bool> {
        versions::land(&self.inner.store, &layout::access(), generation, document, Durability::Durable).await
    }

    /// The greatest term that was given out; 0 where none was.
    pub async fn term(&self) -> Result<u64> {
        Ok(versions::newest_number(&self.inner.store, &layout::terms()).await?.map_or(0, |(number, _)| number))
    }

    /// Gives a term to a holder: the one that it has, if it has the greatest, or the next.
    pub async fn take_term(&self, holder: &str) -> Result<u64> {
        loop {
            let newest = versions::newest(&self.inner.store, &layout::terms()).await?;
            if let Some(newest) = &newest {
                let corrupt = |error: serde_json::Error| RegistryError::Corrupt {
                    key: layout::terms().to_string(),
                    why: error.to_string(),
                };
                let term: Term = serde_json::from_slice(&newest.value).map_err(corrupt)?;
                if term.holder == holder {
                    return Ok(newest.number);
                }
            }
            let next = newest.map_or(1, |newest| newest.number + 1);
            let value = to_json(&Term { holder: holder.to_owned() });
            if versions::land(&self.inner.store, &layout::terms(), next, value, Durability::Durable).await? {
                return Ok(next);
            }
        }
    }
}
