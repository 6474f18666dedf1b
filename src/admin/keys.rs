//! The registry's secret keys: one set a registry, made by the operator, mounted in every pod.
//!
//! One 256-bit key signs bearer tokens, the operator's own tokens and the access document; each use has a context of
//! its own. HMAC, because those who verify are exactly those who may sign, and because it costs a microsecond where
//! Ed25519 costs a hundred. Rotation: `next` is verified everywhere before anything is signed with it; `previous`
//! is verified until the longest token ends.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// A key and its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Names the key in tokens and documents; not secret.
    pub id: String,
    /// 32 bytes, standard Base64.
    #[serde(serialize_with = "expose")]
    pub secret: SecretString,
}

fn expose<S: serde::Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// What a registry signs and verifies with; the JSON in its keys Secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySet {
    /// Signs.
    pub signing: Key,
    /// Signed until lately; still verifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Key>,
    /// Will sign soon; verifies already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Key>,
}

impl Key {
    /// A new random key.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing that is safe could be done then.
    #[expect(clippy::expect_used, reason = "without randomness there is no key to go on with")]
    pub fn generate() -> Self {
        let mut bytes = [0_u8; 40];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        let (id, secret) = bytes.split_at(8);
        Self { id: hex::encode(id), secret: STANDARD.encode(secret).into() }
    }

    /// The raw bytes of the key. A secret that is not Base64 is used as the text that it is.
    pub fn bytes(&self) -> Vec<u8> {
        let text = self.secret.expose_secret();
        STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec())
    }

    fn hmac(&self, context: &[u8], message: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes()).expect("a key of any length");
        mac.update(context);
        mac.update(message);
        mac
    }

    /// HMAC-SHA-256 over context and message.
    pub fn mac(&self, context: &[u8], message: &[u8]) -> [u8; 32] {
        self.hmac(context, message).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub fn verify(&self, context: &[u8], message: &[u8], claimed: &[u8]) -> bool {
        self.hmac(context, message).verify_slice(claimed).is_ok()
    }
}

impl KeySet {
    /// A set with one new key.
    pub fn generate() -> Self {
        Self { signing: Key::generate(), previous: None, next: None }
    }

    /// The key of this id, if it is one of the set.
    pub fn find(&self, id: &str) -> Option<&Key> {
        [Some(&self.signing), self.previous.as_ref(), self.next.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }
}
