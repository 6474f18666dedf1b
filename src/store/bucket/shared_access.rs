//! URLs of Azure's by which anybody may read one blob: a service SAS, signed with the account's key ("Create a service SAS"
//! of the REST reference).
//!
//! The library below signs none: it would hand on the very signature that the registry was given, which is good for
//! everything that the registry may do.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::store::Key;
use crate::store::config::Azure;

/// The version of the service whose signatures these are.
const VERSION: &str = "2020-12-06";

const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Signs URLs of a container's blobs.
pub(super) struct SharedAccess {
    /// Of the account, without a slash at its end.
    endpoint: String,
    account: String,
    container: String,
    /// Before every key; ends in a slash where it is anything.
    prefix: String,
    key: SecretString,
}

impl SharedAccess {
    /// `endpoint` has no slash at its end.
    pub(super) fn new(azure: &Azure, endpoint: &str, key: SecretString) -> Self {
        let prefix = match azure.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Self {
            endpoint: endpoint.to_owned(),
            account: azure.account.as_str().to_owned(),
            container: azure.container.as_str().to_owned(),
            prefix,
            key,
        }
    }

    /// A URL at which this blob may be read, and nothing else be done, for so long. None where the key is none.
    pub(super) fn url(&self, key: &Key, lasts: Duration) -> Option<String> {
        let until = Timestamp::try_from(SystemTime::now() + lasts).ok()?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let protocol = if self.endpoint.starts_with("https://") { "https" } else { "" };
        let blob = format!("{}{key}", self.prefix);
        let resource = format!("/blob/{}/{}/{blob}", self.account, self.container);
        // Permissions, start, end, resource, policy, addresses, protocol, version, kind, and seven that are not used.
        let fields = ["r", "", &until, &resource, "", "", protocol, VERSION, "b", "", "", "", "", "", "", ""];
        let secret = STANDARD.decode(self.key.expose_secret()).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).ok()?;
        mac.update(fields.join("\n").as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let protocol = if protocol.is_empty() { String::new() } else { format!("&spr={protocol}") };
        Some(format!(
            "{}/{}/{}?sv={VERSION}&sr=b&sp=r&se={}{protocol}&sig={}",
            self.endpoint,
            self.container,
            utf8_percent_encode(&blob, PATH),
            encode(&until),
            encode(&signature)
        ))
    }
}
