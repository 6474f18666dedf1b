//! The steps of an upload, as they lie in the store.

use serde::{Deserialize, Serialize};

use super::Upload;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::registry::{RegistryError, Result, layout};
use crate::store::Key;

/// One version of an upload's register.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) done: Done,
    pub(super) stands: Standing,
}

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Done {
    /// It was begun.
    Begin,
    /// Some bytes came.
    Part(Part),
    /// What was kept of a broken body is thrown away: the client began again.
    Reset,
    /// What was kept of a broken body counts: the client asked for it.
    Keep,
    /// Published and linked under this digest.
    Close { digest: Digest, size: u64 },
    /// Given up by the client.
    Cancel,
}

/// How an upload stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    /// Bound to a repository and an identity.
    pub(super) repository: RepositoryName,
    pub(super) actor: String,
    /// What the client said that it will close with.
    pub(super) algorithm: Algorithm,
    /// How many bytes there are.
    pub(super) size: u64,
    /// The state of the hash over all of them, in hex, where one process has hashed them all; and that process: only it
    /// knows the bytes to be what it hashed.
    pub(super) state: String,
    pub(super) origin: String,
    /// The last body broke off, and nobody has asked since.
    pub(super) broken: bool,
    /// The first version whose part counts: what came before was thrown away.
    pub(super) from: u64,
    /// The last part, where it is small.
    pub(super) last: Option<Part>,
}

impl Standing {
    /// Whether its numbers can be, and its files' names lead nowhere else: the store may be damaged.
    pub(super) fn is_sound(&self) -> bool {
        let last = self.last.as_ref();
        self.size < u64::MAX / 2
            && last.is_none_or(|last| last.is_sound() && last.offset.checked_add(last.length) == Some(self.size))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    /// Parts that begin here or later are in this one, and count no more.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// The file's name.
    pub(super) nonce: String,
    /// The name of the file whose bytes it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) copied: Option<String>,
}

impl Part {
    pub(super) fn is_sound(&self) -> bool {
        is_id(&self.nonce) && self.copied.as_deref().is_none_or(is_id) && self.offset.checked_add(self.length).is_some()
    }

    /// Its file.
    pub(super) fn key(&self, upload: &Upload) -> Key {
        layout::upload_part(&upload.id, &self.nonce)
    }
}

/// Whether a text can be an upload's id: what `nonce` makes.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// How an upload stands whose client begins again.
pub(super) fn thrown_away(upload: &Upload) -> Standing {
    Standing {
        size: 0,
        state: String::new(),
        origin: String::new(),
        broken: false,
        // Behind the step that says so.
        from: upload.version + 2,
        last: None,
        ..upload.stands.clone()
    }
}

/// Where the next part begins.
pub(super) fn end_of(parts: &[Part]) -> u64 {
    parts.last().map_or(0, |part| part.offset + part.length)
}

/// Reads a step.
pub(super) fn step(id: &str, value: &[u8]) -> Result<Step> {
    let corrupt = |error: serde_json::Error| RegistryError::Corrupt {
        key: layout::upload(id).to_string(),
        why: error.to_string(),
    };
    serde_json::from_slice(value).map_err(corrupt)
}
