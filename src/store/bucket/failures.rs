//! What a service says when it does not do what it was asked: an answer, a reason to come back later, no room, or an error.

use std::io;

use opendal::ErrorKind;

use crate::store::StoreError;

/// What services that have no room, or allow no more of it, say in their answers, beside the status 507.
const FULL: [&str; 5] = [
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "QuotaExceeded",
    "InsufficientStorage",
    "Insufficient Storage",
];

/// Statuses with which a service asks to be left alone for a while, or cannot be reached through what is before it.
const BUSY: [u16; 7] = [408, 429, 499, 500, 502, 503, 504];

/// Whether the service said that the key exists.
pub(super) fn is_refusal(error: &opendal::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists)
}

/// `NotFound` is an answer.
pub(super) fn found<T>(result: opendal::Result<T>) -> opendal::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the library says, without the request's URL and headers: they may hold a signature.
pub(super) fn text(error: &opendal::Error) -> String {
    let mut source = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        source.push_str(": ");
        source.push_str(&error.to_string());
        next = error.source();
    }
    format!("{}: {}{source}", error.kind(), error.message())
}

/// Also the number of tries that it takes is behind it.
pub(super) fn failed(doing: &'static str, key: impl std::fmt::Display, error: opendal::Error) -> StoreError {
    StoreError::io(doing, key, to_io(&error))
}

/// As an error of input or output, whose kind says what to tell a client.
pub(super) fn to_io(error: &opendal::Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::NotFound => io::ErrorKind::NotFound,
        ErrorKind::RateLimited => io::ErrorKind::ResourceBusy,
        _ if is_full(error) => io::ErrorKind::StorageFull,
        ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        _ if is_busy(error) => io::ErrorKind::ResourceBusy,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, text(error))
}

fn is_full(error: &opendal::Error) -> bool {
    status(error) == Some(507) || FULL.iter().any(|code| error.message().contains(code))
}

/// The layer that tries again marks whatever passes it as tried often enough: what it was is read from the rest.
fn is_busy(error: &opendal::Error) -> bool {
    let never_answered = || {
        let source = std::error::Error::source(error);
        source.is_some_and(<dyn std::error::Error>::is::<reqwest::Error>)
            || error.message().ends_with("timeout reached")
    };
    error.is_temporary() || status(error).is_some_and(|status| BUSY.contains(&status)) || never_answered()
}

/// The status of the answer, which the library keeps as a line of text.
fn status(error: &opendal::Error) -> Option<u16> {
    let text = error.to_string();
    let (_, after) = text.split_once("response: Parts { status: ")?;
    after.get(..3)?.parse().ok()
}
