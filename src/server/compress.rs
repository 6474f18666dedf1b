//! gzip for lists of names, where a client takes it. Never for manifests and blobs: their bytes are what their digest
//! says.

use std::io::Write as _;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;

/// An answer with this body, compressed if the client takes that. Says in any case that it depends on that.
pub fn respond(headers: &HeaderMap, body: Bytes) -> Response {
    let packed = accepts_gzip(headers).then(|| gzip(&body)).flatten();
    let is_packed = packed.is_some();
    let mut response = Response::new(packed.unwrap_or(body).into());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_packed {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Names in order are much alike: the fastest level finds that.
fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    Some(encoder.finish().ok()?.into())
}

/// RFC 9110, section 12.5.3: the weight of `gzip`, else that of `*`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    for line in headers.get_all(header::ACCEPT_ENCODING) {
        let Ok(line) = line.to_str() else { continue };
        for coding in line.split(',') {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let accepted = !is_zero(weight);
            match name.trim() {
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => return accepted,
                "*" => any = Some(accepted),
                _ => {}
            }
        }
    }
    any.unwrap_or(false)
}

/// `q=0`, `q=0.000`.
fn is_zero(weight: &str) -> bool {
    let value = weight.trim().strip_prefix("q=").or_else(|| weight.trim().strip_prefix("Q="));
    value.is_some_and(|value| value.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_whom_it_is_named_or_anything_goes() {
        let check = |value: &str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        };
        assert!(!accepts_gzip(&HeaderMap::new()));
        for taken in ["gzip", "GZIP", "br, gzip;q=0.5", "*", "br;q=1, *;q=0.1", "x-gzip"] {
            check(taken, true);
        }
        for refused in ["", "identity", "br", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "gzipped"] {
            check(refused, false);
        }
    }
}
