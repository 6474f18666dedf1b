//! The read-only hold: a collector's word that nothing is to be written for now.
//!
//! A hold is a lease: it ends by itself, so that a collector that died leaves no registry read-only. A writer learns
//! of it by its journal: the collector claims the next number of every origin, and who finds its number taken looks
//! here before it goes on (see [`super::journal`]).

use serde::{Deserialize, Serialize};

use super::{RegistryError, Result, layout, register::to_json, versions};
use crate::store::{Durability, Store};

/// How long a hold lasts unless it is renewed, in milliseconds.
pub const LEASE_MILLIS: u64 = 120_000;

/// One version of the hold's register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Who holds.
    pub nonce: String,
    /// Until when, in milliseconds since the epoch by the holder's clock; 0 for "given back".
    pub until: u64,
}

/// The hold as it is, whether or not it has ended.
pub async fn read(store: &Store) -> Result<Option<(u64, Hold)>> {
    let Some(newest) = versions::newest(store, &layout::hold()).await? else { return Ok(None) };
    let hold = serde_json::from_slice(&newest.value)
        .map_err(|error| RegistryError::Corrupt { key: layout::hold().to_string(), why: error.to_string() })?;
    Ok(Some((newest.number, hold)))
}

/// Whether somebody holds the store read-only now.
pub async fn is_held(store: &Store, now_millis: u64) -> Result<bool> {
    Ok(read(store).await?.is_some_and(|(_, hold)| hold.until > now_millis))
}

/// Takes, renews or gives back (`until` 0) the hold for `nonce`. False where another holds.
pub async fn put(store: &Store, nonce: &str, until: u64, now_millis: u64) -> Result<bool> {
    loop {
        let current = read(store).await?;
        if current.as_ref().is_some_and(|(_, hold)| hold.nonce != nonce && hold.until > now_millis) {
            return Ok(false);
        }
        let next = current.map_or(1, |(number, _)| number + 1);
        let hold = Hold { nonce: nonce.to_owned(), until };
        if versions::land(store, &layout::hold(), next, to_json(&hold), Durability::Durable).await? {
            return Ok(true);
        }
    }
}
