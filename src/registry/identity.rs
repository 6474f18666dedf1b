//! The store's identity: made once, so that a replaced or restored volume is told from the one before.

use serde::{Deserialize, Serialize};

use super::{Registry, RegistryError, Result, layout, register::to_json};
use crate::store::{Durability, PutNew, Store};

/// The format that this release writes.
pub const FORMAT: u32 = 1;

/// Who this store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreIdentity {
    /// Random.
    pub identity: String,
    /// The format of everything below our prefix.
    pub format: u32,
}

impl Registry {
    /// Whether the store can be read, and is the one that was opened. A volume that went away leaves an empty directory
    /// to write to, and a backup that is put in its place has another history than what is remembered here.
    pub async fn check_identity(&self) -> Result<()> {
        let key = layout::store_identity();
        let there = self.inner.store.read_through(&key).await?;
        let there = there.and_then(|stored| serde_json::from_slice::<StoreIdentity>(&stored).ok());
        match there {
            Some(there) if there.identity == self.inner.identity.identity => Ok(()),
            Some(_) | None => Err(RegistryError::Replaced),
        }
    }
}

/// Reads the store's identity; gives a new store one.
pub(super) async fn open(store: &Store) -> Result<StoreIdentity> {
    let key = layout::store_identity();
    let fresh = StoreIdentity { identity: super::nonce(), format: FORMAT };
    let stored = match store.read(&key).await? {
        Some(stored) => stored,
        None => match store.put_new(&key, to_json(&fresh), Durability::Durable).await? {
            PutNew::Created => return Ok(fresh),
            PutNew::Exists(stored) => stored,
        },
    };
    let corrupt = |why: String| RegistryError::Corrupt { key: key.to_string(), why };
    let identity: StoreIdentity = serde_json::from_slice(&stored).map_err(|error| corrupt(error.to_string()))?;
    if identity.format > FORMAT {
        return Err(corrupt(format!(
            "the store has format {}, this release knows up to {FORMAT}; run a later release",
            identity.format
        )));
    }
    Ok(identity)
}
