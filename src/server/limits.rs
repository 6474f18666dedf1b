//! What one client may take of a server (docs/explanation/threats.md, "Denial of service"): sizes, rates, numbers.

use std::time::Duration;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};

use super::Fault;
use crate::oci::ErrorCode;

/// The bounds of one server. Whoever stays within them is served, however long it takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The slowest that bodies may come and go.
    pub least: Rate,
    /// How much of a body that nobody wants is read, so that its sender sees the answer and not a reset.
    pub drained_bytes: u64,
    /// And for how long.
    pub drained_for: Duration,
    /// How long connections may be idle.
    pub patience: Patience,
    /// How many connections a listener has at once; whoever comes later waits.
    pub connections: usize,
    /// How many uploads an identity may have open, as far as this process knows.
    pub open_uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            least: Rate { bytes: 60 * 1024, within: Duration::from_mins(1) },
            drained_bytes: 256 * 1024,
            drained_for: Duration::from_secs(2),
            patience: Patience::default(),
            connections: 10_000,
            open_uploads: 1_000,
        }
    }
}

/// How long a connection may be open without a request.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From its acceptance to the end of the first head, and from the beginning of a later head to its end.
    pub head: Duration,
    /// Between two requests. Longer than clients keep a connection that they do not use, or they find it ended under a
    /// request: Go's keep it for 90 seconds.
    pub idle: Duration,
    /// Between two requests, while the listener has as many connections as it may, and others wait.
    pub pressed: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(15), idle: Duration::from_mins(2), pressed: Duration::from_secs(5) }
    }
}

/// So many bytes within so much time.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Bytes.
    pub bytes: u64,
    /// Within this.
    pub within: Duration,
}

/// Refuses a head that does not say whom it is for, or says so twice (RFC 9112, 3.2; RFC 9110, 7.2): what is before the
/// registry might take it for somebody else's. HTTP/1.0 and HTTP/2 need not have the header.
pub fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Fault> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let why = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => "a request over HTTP/1.1 must have the header `Host`",
        (Some(_), Some(_)) => "a request may have one header `Host`",
        (Some(host), None) if !is_host(host) => "the header `Host` is no `host[:port]`",
        (None | Some(_), _) => return Ok(()),
    };
    Err(Fault::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, why))
}

/// An empty one stands for a target that has no authority.
fn is_host(value: &HeaderValue) -> bool {
    let authority = value.to_str().ok().map(str::parse::<Authority>);
    value.is_empty() || matches!(authority, Some(Ok(authority)) if !authority.as_str().contains('@'))
}

/// How many bytes a request's headers may have in all: tokens of people in many groups are long. 32 KiB for one of them
/// and room for the others.
const HEADERS: usize = 48 * 1024;

/// How long a request's target may be: a hundred tags of the longest, at most.
const TARGET: usize = 16 * 1024;

/// Refuses a head that is too large. What is more than twice that does not come this far: hyper refuses it.
pub fn check_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    if target > TARGET {
        let message = format!("a request's target may have {TARGET} bytes");
        return Err(Fault::new(StatusCode::URI_TOO_LONG, ErrorCode::Unsupported, message));
    }
    // `name: value\r\n`
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > HEADERS {
        let message = format!("a request's headers may have {HEADERS} bytes");
        return Err(Fault::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::Unsupported, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_once_whom_it_is_for() {
        let check = |version, hosts: &[&'static str]| {
            let hosts = hosts.iter().map(|host| (header::HOST, HeaderValue::from_static(host)));
            check_host(version, &hosts.collect()).is_ok()
        };
        for taken in ["registry", "registry:5000", "10.0.0.1:5000", "[::1]:5000", "a_b.example", ""] {
            assert!(check(Version::HTTP_11, &[taken]) && check(Version::HTTP_2, &[taken]), "{taken}");
        }
        for refused in ["a b", "http://registry", "ada@registry", "registry/v2"] {
            assert!(!check(Version::HTTP_11, &[refused]), "{refused}");
        }
        assert!(!check(Version::HTTP_11, &[]) && check(Version::HTTP_10, &[]) && check(Version::HTTP_2, &[]));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(!check(version, &["registry", "registry"]), "{version:?}");
        }
    }
}
