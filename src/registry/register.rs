//! Registers: tags, manifests and links, each a history of entries.
//!
//! *A client's write*: read the head; decide on it; take a clock greater than the head's; land version n+1; on loss
//! read and decide again. So every register has one history, and a create cannot become an overwrite.
//!
//! Condemning, rescuing and purging a manifest or a link are versions too, so that a collector and a writer meet at
//! one number and one of them decides anew.

use serde::{Deserialize, Serialize};

use super::{Registry, Result, journal::Ticket, layout::Register, versions};
use crate::clock::Hlc;
use crate::oci::{Digest, MediaType};
use crate::store::{Durability, Key};

/// What an entry says of its register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// It is.
    Set,
    /// It is no more.
    Delete,
    /// It will be no more: HEAD and mount answer 404, GET still serves, and what names it takes it back.
    Condemn,
}

impl Op {
    /// In the name of the hint key beside a version.
    pub(super) const fn hint(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Delete => "del",
            Self::Condemn => "con",
        }
    }

    /// Whether the register is set: neither deleted nor condemned.
    pub fn is_set(self) -> bool {
        self == Self::Set
    }

    /// Whether GET serves it: set or condemned.
    pub fn is_readable(self) -> bool {
        match self {
            Self::Set | Self::Condemn => true,
            Self::Delete => false,
        }
    }
}

/// Why an entry was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Somebody asked for it.
    Client,
    /// A replicator made it equal to its source.
    Replication,
    /// The collector.
    Collection,
}

/// Who writes, and why.
#[derive(Debug, Clone)]
pub struct Author {
    /// The identity, as it is displayed.
    pub actor: String,
    /// Why.
    pub cause: Cause,
}

/// One version of a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What it says.
    pub op: Op,
    /// What the tag points to; the manifest's or the blob's own digest.
    pub digest: Digest,
    /// The manifest's media type; absent for blobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// Bytes.
    pub size: u64,
    /// When, greater than every clock before it in this register.
    pub clock: Hlc,
    /// Who.
    pub actor: String,
    /// Why.
    pub cause: Cause,
    /// Tells this write from every other: its writer knows its own again after an answer was lost.
    pub nonce: String,
}

/// The newest entry of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub version: u64,
    /// What it says.
    pub entry: Entry,
}

impl Head {
    /// See [`Op::is_set`].
    pub fn is_set(&self) -> bool {
        self.entry.op.is_set()
    }

    /// See [`Op::is_readable`].
    pub fn is_readable(&self) -> bool {
        self.entry.op.is_readable()
    }
}

/// What a register is to say next, before it has a clock and a nonce.
#[derive(Debug, Clone)]
pub struct Draft {
    /// See [`Entry::op`].
    pub op: Op,
    /// See [`Entry::digest`].
    pub digest: Digest,
    /// See [`Entry::media_type`].
    pub media_type: Option<MediaType>,
    /// See [`Entry::size`].
    pub size: u64,
}

impl Draft {
    /// The same register, with another op.
    pub fn from_entry(entry: &Entry, op: Op) -> Self {
        Self { op, digest: entry.digest.clone(), media_type: entry.media_type.clone(), size: entry.size }
    }

    fn entry(&self, clock: Hlc, author: &Author) -> Entry {
        Entry {
            op: self.op,
            digest: self.digest.clone(),
            media_type: self.media_type.clone(),
            size: self.size,
            clock,
            actor: author.actor.clone(),
            cause: author.cause,
            nonce: super::nonce(),
        }
    }
}

/// Why a version may be landed.
#[derive(Debug, Clone, Copy)]
pub enum Permit<'a> {
    /// A journal record names the register, and is not too old.
    Recorded(&'a Ticket),
    /// The store is held read-only by who lands it: nobody need be told.
    Held,
}

impl Permit<'_> {
    fn check(self) -> Result<()> {
        match self {
            Self::Recorded(ticket) => ticket.check(),
            Self::Held => Ok(()),
        }
    }
}

impl Registry {
    /// The register's newest entry.
    pub async fn head(&self, register: &Register) -> Result<Option<Head>> {
        let key = register.key();
        let least = self.inner.heads.least(register);
        let Some(newest) = versions::newest_from(&self.inner.store, &key, least).await? else { return Ok(None) };
        let entry = serde_json::from_slice(&newest.value).map_err(|error| super::RegistryError::Corrupt {
            key: key.join(versions::name(newest.number)).to_string(),
            why: error.to_string(),
        })?;
        Ok(Some(Head { version: newest.number, entry }))
    }

    /// The head, if the register is set.
    pub async fn head_if_set(&self, register: &Register) -> Result<Option<Head>> {
        Ok(self.head(register).await?.filter(Head::is_set))
    }

    /// Lands the version after `head`; `None` where another writer was first. The journal has named the register:
    /// `permit` says so, and for how long that is good.
    pub async fn land(
        &self,
        register: &Register,
        head: Option<&Head>,
        draft: &Draft,
        author: &Author,
        permit: Permit<'_>,
    ) -> Result<Option<Head>> {
        let clock = self.inner.clock.tick(head.map(|head| &head.entry.clock));
        self.land_at(register, head, draft, author, clock, permit).await
    }

    /// As [`Self::land`], with a clock of the caller's: several registers of one request share it. It must be
    /// greater than the head's.
    pub async fn land_at(
        &self,
        register: &Register,
        head: Option<&Head>,
        draft: &Draft,
        author: &Author,
        clock: Hlc,
        permit: Permit<'_>,
    ) -> Result<Option<Head>> {
        let version = head.map_or(1, |head| head.version + 1);
        let entry = draft.entry(clock, author);
        let (key, store) = (register.key(), &self.inner.store);
        permit.check()?;
        if !versions::land(store, &key, version, to_json(&entry), Durability::Durable).await? {
            self.inner.heads.lost(register, version);
            return Ok(None);
        }
        // Only tags are listed by names alone.
        if let Register::Tag(..) = register {
            self.hint(&key, version, entry.op).await;
        }
        Ok(Some(Head { version, entry }))
    }

    /// Its failure is not the write's: a head without a hint is read.
    async fn hint(&self, register: &Key, version: u64, op: Op) {
        let hint = register.join(format_args!("{}!{}", versions::name(version), op.hint()));
        if let Err(error) = self.inner.store.put_new(&hint, bytes::Bytes::new(), Durability::Volatile).await {
            tracing::debug!(%hint, error = %error, "a hint was not written; readers read the version instead");
        }
    }

    /// Makes sure that a head which another process may have landed just now survives a power cut: what is answered with
    /// success because of it must not fall with it.
    pub(super) async fn make_durable(&self, register: &Register, head: &Head) -> Result<()> {
        if self.inner.store.abilities().seen_is_durable {
            return Ok(());
        }
        let key = register.key().join(versions::name(head.version));
        // One that is compacted has been superseded for a day.
        self.inner.store.make_durable(&key).await?;
        Ok(())
    }

    /// Whether the register is set, from its hint where there is one.
    pub async fn is_set(&self, key: &Key) -> Result<bool> {
        Ok(self.set_version(key).await?.is_some())
    }

    /// The number of the register's newest version where that sets it.
    pub(super) async fn set_version(&self, key: &Key) -> Result<Option<u64>> {
        match versions::newest_number(&self.inner.store, key).await? {
            None => Ok(None),
            Some((number, Some(hint))) => Ok((hint == Op::Set.hint()).then_some(number)),
            Some((_, None)) => {
                let Some(newest) = versions::newest(&self.inner.store, key).await? else { return Ok(None) };
                let entry = serde_json::from_slice::<Entry>(&newest.value);
                let entry = entry
                    .map_err(|error| super::RegistryError::Corrupt { key: key.to_string(), why: error.to_string() })?;
                Ok((entry.op == Op::Set).then_some(newest.number))
            }
        }
    }
}

/// Types of this room have only texts and numbers in them.
pub(crate) fn to_json<T: Serialize>(value: &T) -> bytes::Bytes {
    #[expect(clippy::expect_used, reason = "maps with text keys, texts and numbers always make JSON")]
    serde_json::to_vec(value).expect("plain data makes JSON").into()
}

/// Whether a value is one that was never synced and that a power cut has left as a half: of no length, short, or with
/// zeros where its bytes were. What is durable is never like that; what is volatile is then as if it had not been.
pub(crate) fn is_torn(value: &[u8]) -> bool {
    let short = || serde_json::from_slice::<serde::de::IgnoredAny>(value).is_err_and(|error| error.is_eof());
    value.contains(&0) || short()
}
