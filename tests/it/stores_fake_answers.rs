//! Answers, as each service has them.

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Response, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Asked, DATE, Dialect, ISO_DATE};

pub(super) fn gcs_meta(key: &str, size: usize) -> Value {
    let md5 = base64::engine::general_purpose::STANDARD.encode([0; 16]);
    json!({"kind": "storage#object", "name": key, "size": size.to_string(), "updated": ISO_DATE, "etag": "made",
        "md5Hash": md5, "generation": "1", "contentType": "application/octet-stream"})
}

pub(super) fn gcs_object(key: &str, body: &Bytes) -> Value {
    gcs_meta(key, body.len())
}

pub(super) fn object(asked: &Asked, body: &Bytes) -> Response<Full<Bytes>> {
    let common = [("last-modified", DATE), ("etag", "\"made\"")];
    if asked.method == Method::HEAD {
        let mut response = answer(200, &common, "");
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        return response;
    }
    let Some(range) = asked.headers.get(header::RANGE) else { return answer(200, &common, body.clone()) };
    let (start, end) = range.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(body.len(), |end: usize| (end + 1).min(body.len()));
    let mut response = answer(206, &common, body.slice(start..end));
    let range = format!("bytes {start}-{}/{}", end - 1, body.len());
    response.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
    response
}

pub(super) fn refused(dialect: Dialect) -> Response<Full<Bytes>> {
    match dialect {
        Dialect::Gcs => {
            let errors = json!([{"reason": "conditionNotMet", "domain": "global", "message": "not met"}]);
            answer(412, &[], json!({"error": {"code": 412, "message": "not met", "errors": errors}}).to_string())
        }
        Dialect::Azure => answer(409, &[], "<Error><Code>BlobAlreadyExists</Code><Message>exists</Message></Error>"),
        Dialect::Oss | Dialect::Cos => {
            answer(409, &[], "<Error><Code>FileAlreadyExists</Code><Message>exists</Message></Error>")
        }
        Dialect::Obs | Dialect::Swift => unreachable!("these know no condition"),
    }
}

pub(super) fn missing(dialect: Dialect) -> Response<Full<Bytes>> {
    match dialect {
        Dialect::Gcs => answer(404, &[], json!({"error": {"code": 404, "message": "none", "errors": []}}).to_string()),
        Dialect::Azure => answer(404, &[], "<Error><Code>BlobNotFound</Code><Message>none</Message></Error>"),
        Dialect::Swift => answer(404, &[], ""),
        Dialect::Oss | Dialect::Cos | Dialect::Obs => {
            answer(404, &[], "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
        }
    }
}

pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into())).unwrap()
}
