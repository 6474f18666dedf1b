//! What each code means, and with which statuses it comes: what the reference of errors is printed from, and what every
//! answer of the tests is held against.

use std::fmt::Write as _;

use crate::oci::ErrorCode;

/// The statuses that a code comes with, and when.
pub(super) fn documented(code: ErrorCode) -> (&'static [u16], &'static str) {
    match code {
        ErrorCode::BlobUnknown => (&[404], "the repository has no such blob"),
        ErrorCode::BlobUploadInvalid => (
            &[400, 408, 416],
            "a part of an upload that breaks off, is one of more than 10,000, does not fit its Content-Range, comes too slowly \
             (408), or does not begin where the last one ended (416: `Range` says how far it came, `Location` where to go on)",
        ),
        ErrorCode::BlobUploadUnknown => {
            (&[404], "no such upload, or somebody else's: it was closed, cancelled or swept")
        }
        ErrorCode::DigestInvalid => {
            (&[400], "no digest, one of an algorithm that is not known, or not that of the bytes")
        }
        ErrorCode::ManifestBlobUnknown => {
            (&[400], "a manifest names what its repository does not have: `detail.missing` names each")
        }
        ErrorCode::ManifestInvalid => (
            &[400, 408, 413],
            "no manifest, one that contradicts itself, that names more than 10,000 different things or is larger than 4 MiB \
             (413), or too slow to come (408); a tag that cannot be",
        ),
        ErrorCode::ManifestUnknown => (&[404], "the repository has no such manifest or tag"),
        ErrorCode::NameInvalid => (&[400], "no name of a repository"),
        ErrorCode::NameUnknown => (&[404], "no such repository"),
        ErrorCode::SizeInvalid => (
            &[400, 416],
            "more or fewer bytes came than were announced; a range that lies outside (416: `Content-Range` says the size), or \
             too many of them",
        ),
        ErrorCode::Unauthorized => (
            &[401],
            "no credentials, wrong ones, or a token that does not cover this: `WWW-Authenticate` says what to ask for",
        ),
        ErrorCode::Denied => (&[403], "the identity has no such right here, whether or not the thing exists"),
        ErrorCode::Unsupported => (
            &[400, 404, 405, 414, 431],
            "a path that nothing is at (404), a method that it does not know (405: `Allow`), a target or headers that are too \
             long (414, 431), a parameter that cannot be, such as an `n` that is no number, or a request over HTTP/1.1 that has no \
             `Host` or more than one (400)",
        ),
        ErrorCode::TooManyRequests => (
            &[429],
            "too many open uploads, large manifests or passwords to hash at a time: `Retry-After` says when to come back",
        ),
        ErrorCode::Unavailable => (
            &[503, 507],
            "a collection holds the store read-only, its volume has become read-only or takes no writes (writes only), it is \
             busy or does not answer, or could not be looked at for 30 s (503: `Retry-After`); it is full (507: writes only)",
        ),
        ErrorCode::Unknown => (
            &[500],
            "a defect, or a store that fails or has damaged bytes: the log has the cause in a line with the request's `id`",
        ),
    }
}

const HEAD: &str = "\
# Errors

<!-- Printed by `regatta reference` from the table that the server keeps; a test holds it. -->

An answer that is an error has the specification's body:

```json
{ \"errors\": [{ \"code\": \"MANIFEST_UNKNOWN\", \"message\": \"...\", \"detail\": { \"reference\": \"v1\", \"requestId\": \"...\" } }] }
```

`message` is for people and may change; `code` and `detail` are for programs. `detail.requestId` is the answer's
`X-Request-Id` and the access log's `id`. What is behind a 500 or a 507 is in a line of the log of its own, with the level
`ERROR`, the same `id`, and the cause in `error`.

Only what is no HTTP has none of this: a request line or header that cannot be read, or a `Content-Length` that is no number, is
400, and more than 100 headers are 431, from the parser itself, without a body, an id, or a line in the log; then the connection
is closed. Over HTTP/2 the stream or the connection is reset.

| code | statuses | when |
|---|---|---|
";

/// The page of the reference, in Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for code in ErrorCode::ALL {
        let (statuses, when) = documented(code);
        let statuses: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        let _ = writeln!(page, "| `{}` | {} | {when} |", code.as_str(), statuses.join(", "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_on_the_page_once() {
        let page = page();
        let source = include_str!("../../oci/error.rs");
        let codes: Vec<&str> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""))
            .map(|(_, rest)| rest.trim_end_matches("\","))
            .collect();
        assert!(codes.len() > 15, "{codes:?}");
        for code in codes {
            assert_eq!(page.matches(&format!("\n| `{code}` |")).count(), 1, "{code}");
        }
    }
}
