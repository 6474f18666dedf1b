//! What can go wrong when another registry is asked, by what the caller can do about it.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};

use crate::oci::{Digest, ErrorBody, Invalid, ManifestError};

/// Why a registry could not be asked, or what is wrong with its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The registry's address is not one.
    #[error("`{text}` is not a registry's address: {why}")]
    Address {
        /// What was given.
        text: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The certificates to be trusted cannot be read.
    #[error("the CA certificates cannot be read: {0}")]
    Certificates(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be made")]
    Build(#[source] reqwest::Error),
    /// The credentials cannot be read.
    #[error("the credentials cannot be read from {place}")]
    Credentials {
        /// Where they should be.
        place: String,
        /// Why not.
        source: std::io::Error,
    },
    /// An address that no registry may send us to.
    #[error("{url} is a link-local or metadata address: refused")]
    ForbiddenAddress {
        /// Where it would have gone.
        url: String,
    },
    /// The token realm is elsewhere: the credentials stay here.
    #[error("the registry {registry} wants its credentials sent to {realm}, which is another host: refused")]
    ForeignRealm {
        /// The configured registry.
        registry: String,
        /// The realm of its challenge.
        realm: String,
    },
    /// No answer.
    #[error("{method} {url}: no answer")]
    Transport {
        /// Of the request.
        method: Method,
        /// Of the request, without its query.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// No answer, or no progress, in time.
    #[error("{method} {url}: nothing came or went for {waited:?}")]
    Stalled {
        /// Of the request.
        method: Method,
        /// Of the request, without its query.
        url: String,
        /// How long.
        waited: Duration,
    },
    /// 401 with the credentials that there are, or without any.
    #[error("{method} {url}: the credentials were refused: {message}")]
    Unauthorized {
        /// Of the request.
        method: Method,
        /// Of the request, without its query.
        url: String,
        /// The registry's words.
        message: String,
    },
    /// Any other status than expected.
    #[error("{method} {url}: {status}: {message}")]
    Status {
        /// Of the request.
        method: Method,
        /// Of the request, without its query.
        url: String,
        /// Of the answer.
        status: StatusCode,
        /// The first code of the error body, where there is one.
        code: Option<String>,
        /// The registry's words.
        message: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// An answer that the specification does not allow.
    #[error("{url}: {why}")]
    Protocol {
        /// Of the request, without its query.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The bytes are not what they should be.
    #[error("{what}: expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was read or written.
        what: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        actual: Digest,
    },
    /// There are more or fewer bytes than there should be.
    #[error("{what}: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// What was read.
        what: String,
        /// How many there should be.
        expected: u64,
        /// How many there are, at least.
        actual: u64,
    },
    /// What should be there is not.
    #[error("{what} is not there")]
    Missing {
        /// What.
        what: String,
    },
    /// A manifest that cannot be read.
    #[error("{what}: {source}")]
    Manifest {
        /// Which.
        what: String,
        /// Why.
        source: ManifestError,
    },
    /// A text of the answer without the grammar that it should have.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl ClientError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => is_transient(*status),
            Self::Address { .. }
            | Self::Certificates(_)
            | Self::Build(_)
            | Self::Credentials { .. }
            | Self::ForbiddenAddress { .. }
            | Self::ForeignRealm { .. }
            | Self::Unauthorized { .. }
            | Self::Protocol { .. }
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::Missing { .. }
            | Self::Manifest { .. }
            | Self::Invalid(_) => false,
        }
    }

    /// Whether this is about the registry as a whole (away, refusing us, overloaded) and not about one thing in it.
    pub fn is_about_the_registry(&self) -> bool {
        match self {
            Self::Transport { .. }
            | Self::Stalled { .. }
            | Self::Unauthorized { .. }
            | Self::ForeignRealm { .. }
            | Self::ForbiddenAddress { .. }
            | Self::Credentials { .. }
            | Self::Address { .. }
            | Self::Certificates(_)
            | Self::Build(_) => true,
            Self::Status { status, .. } => {
                matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY)
                    || matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
            }
            Self::Protocol { .. }
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::Missing { .. }
            | Self::Manifest { .. }
            | Self::Invalid(_) => false,
        }
    }

    /// The status of the answer, where there was one that was not expected.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Unauthorized { .. } => Some(StatusCode::UNAUTHORIZED),
            Self::Transport { .. }
            | Self::Stalled { .. }
            | Self::Address { .. }
            | Self::Certificates(_)
            | Self::Build(_)
            | Self::Credentials { .. }
            | Self::ForbiddenAddress { .. }
            | Self::ForeignRealm { .. }
            | Self::Protocol { .. }
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::Missing { .. }
            | Self::Manifest { .. }
            | Self::Invalid(_) => None,
        }
    }

    /// How long the registry asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }

    /// With all its causes.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and all its causes in one line, for people.
pub fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Statuses that another attempt may mend.
pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// A URL as it may be shown: queries carry upload states and signatures.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// The first code and the words of an error body; other bodies are shortened.
pub(super) fn words(body: &[u8]) -> (Option<String>, String) {
    const MOST: usize = 300;
    if let Ok(ErrorBody { errors }) = serde_json::from_slice(body)
        && let Some(first) = errors.into_iter().next()
    {
        let message = if first.message.is_empty() { first.code.clone() } else { first.message };
        return (Some(first.code), message);
    }
    let text = String::from_utf8_lossy(body);
    (None, text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_secrets() {
        let url = Url::parse("https://user:pass@host/v2/a?_state=secret").unwrap();
        assert_eq!(shown(&url), "https://host/v2/a");
    }

    #[test]
    fn the_words_of_an_error_body_are_the_registrys() {
        let body = br#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#;
        assert_eq!(words(body), (Some("DENIED".to_owned()), "not yours".to_owned()));
        assert_eq!(words(b"<html>\n bad  gateway"), (None, "<html> bad gateway".to_owned()));
    }
}
