//! Objects that come in parts: the multipart uploads of those that speak like S3 (Google's XML API too), and Swift's
//! static large objects.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use serde_json::Value;

use super::{Action, Asked, Dialect, Response, State, answer, refused};

/// What a request for a part means.
pub(super) enum Step {
    Begin { key: String, if_new: bool },
    Part { id: String, number: usize, body: Bytes },
    Complete { key: String, id: String, if_new: bool },
    Abort { id: String },
}

/// A multipart upload: its key, and its parts by number.
#[derive(Default)]
pub(super) struct Uploads {
    next: usize,
    open: BTreeMap<String, (String, BTreeMap<usize, Bytes>)>,
}

impl Uploads {
    pub(super) fn are_none(&self) -> bool {
        self.open.is_empty()
    }
}

/// As S3's reference has it, which those of the others follow.
pub(super) fn understand(asked: &Asked, key: &str, if_new: bool) -> Option<Action> {
    let id = || asked.query("uploadId").map(str::to_owned);
    let key = key.to_owned();
    let step = match asked.method {
        Method::POST if asked.query("uploads").is_some() => Step::Begin { key, if_new },
        Method::POST => Step::Complete { key, id: id()?, if_new },
        Method::PUT => {
            Step::Part { id: id()?, number: asked.query("partNumber")?.parse().unwrap(), body: asked.body.clone() }
        }
        Method::DELETE => Step::Abort { id: id()? },
        _ => return None,
    };
    Some(Action::Multipart(step))
}

pub(super) fn perform(dialect: Dialect, state: &mut State, step: Step) -> Response<Full<Bytes>> {
    match step {
        Step::Begin { key, if_new } => {
            if if_new && !state.careless && state.objects.contains_key(&key) {
                return refused(dialect);
            }
            state.uploads.next += 1;
            let id = format!("upload {}/{key}", state.uploads.next);
            state.uploads.open.insert(id.clone(), (key, BTreeMap::new()));
            answer(
                200,
                &[],
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"),
            )
        }
        Step::Part { id, number, body } => {
            assert!(body.len() <= 8 << 20, "a part of {} bytes", body.len());
            let Some((_, parts)) = state.uploads.open.get_mut(&id) else { return no_upload() };
            parts.insert(number, body);
            answer(200, &[("etag", "\"part\"")], "")
        }
        Step::Complete { key, id, if_new } => {
            if if_new && !state.careless && state.objects.contains_key(&key) {
                return refused(dialect);
            }
            let Some((begun, parts)) = state.uploads.open.remove(&id) else { return no_upload() };
            assert_eq!(begun, key);
            let whole: Vec<Bytes> = parts.into_values().collect();
            state.objects.insert(key, whole.concat().into());
            let made = "<CompleteMultipartUploadResult><ETag>\"made\"</ETag></CompleteMultipartUploadResult>";
            answer(200, &[("etag", "\"made\"")], made)
        }
        Step::Abort { id } => {
            state.uploads.open.remove(&id);
            answer(204, &[], "")
        }
    }
}

fn no_upload() -> Response<Full<Bytes>> {
    answer(404, &[], "<Error><Code>NoSuchUpload</Code><Message>none</Message></Error>")
}

/// Swift: a list of objects that are read one after the other under a name of their own.
pub(super) fn assemble(state: &mut State, key: String, list: &Bytes) -> Response<Full<Bytes>> {
    let list: Vec<Value> = serde_json::from_slice(list).unwrap();
    let segments: Vec<String> = list
        .iter()
        .map(|segment| {
            segment["path"].as_str().unwrap().trim_start_matches('/').strip_prefix("images/").unwrap().into()
        })
        .collect();
    for (segment, entry) in segments.iter().zip(&list) {
        assert_eq!(state.objects[segment].len() as u64, entry["size_bytes"].as_u64().unwrap(), "{segment}");
    }
    let whole: Vec<Bytes> = segments.iter().map(|segment| state.objects[segment].clone()).collect();
    state.objects.insert(key.clone(), whole.concat().into());
    state.large.insert(key, segments);
    answer(201, &[("etag", "\"made\"")], "")
}

/// Swift: a large object with its parts.
pub(super) fn delete_large(state: &mut State, key: &str) -> Response<Full<Bytes>> {
    // As Swift 2.38 has it.
    let said = |deleted: usize, status: &str, errors: &str| {
        let head =
            format!("Number Deleted: {deleted}\nNumber Not Found: 0\nResponse Body: \nResponse Status: {status}\n");
        answer(200, &[], format!("{head}Errors:\n{errors}"))
    };
    if std::mem::take(&mut state.fails_late) {
        return said(0, "502 Bad Gateway", &format!("/images/{key}, 503 Service Unavailable\n"));
    }
    let Some(segments) = state.large.remove(key) else {
        return said(0, "400 Bad Request", &format!("/images/{key}, Not an SLO manifest\n"));
    };
    for name in segments.iter().map(String::as_str).chain([key]) {
        state.objects.remove(name);
    }
    said(segments.len() + 1, "200 OK", "")
}
