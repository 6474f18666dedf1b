//! Lists of the names in a bucket, as each service has them.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answers::gcs_meta;
use super::{DATE, Dialect, ISO_DATE};

pub(super) struct Page {
    objects: Vec<(String, usize)>,
    prefixes: Vec<String>,
    next: Option<String>,
}

/// Where a page begins.
pub(super) struct From<'a> {
    pub(super) after: &'a str,
    /// Whether what is called so is on the page.
    pub(super) inclusive: bool,
    /// Whether what it was rolled up to is over with it.
    pub(super) after_is_over: bool,
}

/// Names, up to the next `/` where they are rolled up.
pub(super) fn page(
    objects: &BTreeMap<String, Bytes>,
    prefix: &str,
    limit: usize,
    from: &From<'_>,
    rolled_up: bool,
) -> Page {
    let From { after, inclusive, after_is_over } = *from;
    let mut page = Page { objects: Vec::new(), prefixes: Vec::new(), next: None };
    let start = if inclusive { Bound::Included(after) } else { Bound::Excluded(after) };
    for (key, body) in objects.range::<str, _>((start, Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(prefix) else { continue };
        let rolled = rest.split_once('/').filter(|_| rolled_up).map(|(name, _)| format!("{prefix}{name}/"));
        // What a marker rolled up is over.
        let over = rolled.as_ref().is_some_and(|rolled| {
            page.prefixes.last() == Some(rolled)
                || (!inclusive && after.starts_with(rolled.as_str()) && (after_is_over || after != *rolled))
        });
        if over {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == limit {
            page.next = Some(last_of(&page));
            break;
        }
        match rolled {
            Some(rolled) => page.prefixes.push(rolled),
            None => page.objects.push((key.clone(), body.len())),
        }
    }
    page
}

/// Where the next page begins: behind everything that the last name rolled up.
fn last_of(page: &Page) -> String {
    let prefix = page.prefixes.last().map(|prefix| format!("{prefix}\u{7f}"));
    let object = page.objects.last().map(|(key, _)| key.clone());
    prefix.max(object).unwrap_or_default()
}

pub(super) fn listing(dialect: Dialect, page: &Page) -> String {
    match dialect {
        Dialect::Gcs => {
            let items: Vec<Value> = page.objects.iter().map(|(key, size)| gcs_meta(key, *size)).collect();
            json!({"kind": "storage#objects", "items": items, "prefixes": page.prefixes, "nextPageToken": page.next})
                .to_string()
        }
        Dialect::Swift => {
            let objects = page.objects.iter().map(|(key, size)| {
                json!({"name": key, "bytes": size, "hash": "00000000000000000000000000000000",
                    "content_type": "application/octet-stream", "last_modified": "2026-11-21T12:00:00.000000"})
            });
            let prefixes = page.prefixes.iter().map(|prefix| json!({"subdir": prefix}));
            let mut all: Vec<Value> = objects.chain(prefixes).collect();
            let name = |entry: &Value| entry["name"].as_str().or(entry["subdir"].as_str()).unwrap().to_owned();
            all.sort_by_key(name);
            Value::Array(all).to_string()
        }
        Dialect::Azure => {
            let objects = page.objects.iter().map(|(key, size)| {
                format!(
                    "<Blob><Name>{key}</Name><Properties><Last-Modified>{DATE}</Last-Modified><Etag>0x1</Etag>\
                     <Content-Length>{size}</Content-Length><Content-Type>application/octet-stream</Content-Type>\
                     <Content-MD5></Content-MD5></Properties></Blob>"
                )
            });
            let prefixes = page.prefixes.iter().map(|prefix| format!("<BlobPrefix><Name>{prefix}</Name></BlobPrefix>"));
            let blobs: String = objects.chain(prefixes).collect();
            let next = page.next.as_deref().unwrap_or_default();
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{blobs}</Blobs>\
                 <NextMarker>{next}</NextMarker></EnumerationResults>"
            )
        }
        Dialect::Oss | Dialect::Cos | Dialect::Obs => {
            let objects = page.objects.iter().map(|(key, size)| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>{ISO_DATE}</LastModified><ETag>\"made\"</ETag>\
                     <Size>{size}</Size></Contents>"
                )
            });
            let prefixes = page
                .prefixes
                .iter()
                .map(|prefix| format!("<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"));
            let entries: String = objects.chain(prefixes).collect();
            let name = if dialect == Dialect::Oss { "NextContinuationToken" } else { "NextMarker" };
            let next = page.next.as_ref().map(|next| format!("<{name}>{next}</{name}>")).unwrap_or_default();
            let truncated = page.next.is_some();
            format!("<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{next}{entries}</ListBucketResult>")
        }
    }
}
