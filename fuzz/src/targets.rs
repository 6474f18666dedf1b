//! What strangers send, and what a damaged disk may hold, read by what reads it. Each target takes any bytes, and
//! panics where a promise is broken; the tests run them over the corpora, the fuzzer over whatever it thinks of.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use regatta::auth::scope::Scope;
use regatta::clock::System;
use regatta::oci::{
    Algorithm, ByteRange, ByteRanges, ContentRange, Digest, Hasher, Manifest, MediaType, Reference, RepositoryName, Tag,
};
use regatta::registry::journal::{self, Cursor, Record};
use regatta::registry::{Register, Registry, layout, versions};
use regatta::server::forwarded::{Range, TrustedProxies};
use regatta::server::gate;
use regatta::server::route::Route;
use regatta::store::{Backend as _, Durability, Key, Store, memory::MemoryStore};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// By name.
pub const ALL: [(&str, Target); 9] = [
    ("digest", digest),
    ("reference", reference),
    ("route", route),
    ("range", range),
    ("content-range", content_range),
    ("manifest", manifest),
    ("headers", headers),
    ("journal", journal),
    ("upload", upload),
];

/// What was read is written as it was read.
fn same_again<T: FromStr + ToString + PartialEq + Debug>(text: &str) -> Option<T>
where
    T::Err: Debug,
{
    let value: T = text.parse().ok()?;
    assert_eq!(value.to_string(), text);
    assert_eq!(value.to_string().parse::<T>().unwrap(), value);
    Some(value)
}

/// No name leads out of its directory.
fn stays_within(key: &Key, directory: &str) {
    assert!(key.as_str().starts_with(directory), "{key}");
    assert!(key.as_str().split('/').all(|part| !matches!(part, "" | "." | "..")), "{key}");
    assert!(!key.as_str().contains(['\0', '\\']), "{key}");
}

fn digest(data: &[u8]) {
    // The state of a hash is read from the disk.
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        assert!(Digest::of(algorithm, data).as_str().parse::<Digest>().is_ok());
        if let Some(mut hasher) = Hasher::resume(algorithm, data) {
            assert_eq!(Hasher::resume(algorithm, &hasher.state()).unwrap().finish(), hasher.clone().finish());
            hasher.update(data);
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(digest) = same_again::<Digest>(text) else { return };
    assert!(digest.hex().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    stays_within(&layout::blob_data(&digest), "");
}

fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    same_again::<Tag>(text);
    same_again::<Reference>(text);
    if let Some(name) = same_again::<RepositoryName>(text) {
        assert!(name.is_within(name.as_str()));
        for key in [layout::tags(&name), layout::manifests(&name), layout::links(&name), layout::catalog_entry(&name)] {
            stays_within(&key, "");
        }
    }
    if let Some((name, tag)) = text.split_once(':')
        && let (Ok(name), Ok(tag)) = (name.parse::<RepositoryName>(), tag.parse::<Tag>())
    {
        stays_within(&Register::Tag(name.clone(), tag).key(), layout::tags(&name).as_str());
    }
    if let Ok(key) = Key::new(text) {
        stays_within(&key, "");
    }
}

fn route(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(route) = Route::parse(text) else { return };
    assert!(!route.class().is_empty());
    match route {
        Route::Manifest(name, Reference::Tag(tag)) => {
            stays_within(&Register::Tag(name.clone(), tag).key(), layout::tags(&name).as_str());
        }
        Route::Manifest(name, Reference::Digest(digest)) => {
            stays_within(&Register::Manifest(name.clone(), digest).key(), layout::manifests(&name).as_str());
        }
        Route::Blob(name, digest) => {
            stays_within(&Register::Link(name.clone(), digest).key(), layout::links(&name).as_str());
        }
        _ => {}
    }
}

/// The first eight bytes are the content's length, the others the header.
fn range(data: &[u8]) {
    let Some((length, header)) = data.split_first_chunk::<8>() else { return };
    let Ok(header) = std::str::from_utf8(header) else { return };
    // Lengths of files: up to 2^63 - 1.
    let length = u64::from_le_bytes(*length) >> 1;
    let Ok(ranges) = ByteRanges::resolve(header, length) else { return };
    let ranges = ranges.as_slice();
    assert!(!ranges.is_empty());
    for range in ranges {
        assert!(range.start <= range.end && range.end < length);
        assert_eq!(range.length(), range.end - range.start + 1);
    }
    assert!(ranges.windows(2).all(|pair| pair[0].end + 1 < pair[1].start));
    assert!(ranges.iter().map(ByteRange::length).sum::<u64>() <= length);
}

fn content_range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(range) = text.parse::<ContentRange>() else { return };
    assert!(range.start <= range.end);
    assert_eq!(range.length() - 1, range.end - range.start);
}

/// Up to the first line feed the Content-Type, then the body.
fn manifest(data: &[u8]) {
    let (kind, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[][..], data),
    };
    let kind = std::str::from_utf8(kind).ok().and_then(|text| text.parse::<MediaType>().ok());
    let Ok(manifest) = Manifest::parse(kind.as_ref(), body) else { return };
    // Numbers may be larger than this program's.
    assert!(serde_json::from_slice::<&serde_json::value::RawValue>(body).is_ok());
    if let Some(kind) = kind {
        assert_eq!(manifest.media_type, kind);
    }
    let all: Vec<_> = manifest.references().map(|descriptor| &descriptor.digest).collect();
    assert!(manifest.blobs().all(|blob| all.contains(&&blob.digest)), "a blob that must be there is not kept alive");
    let descriptor = manifest.descriptor(Digest::sha256(body), body.len() as u64);
    let written = serde_json::to_vec(&descriptor).unwrap();
    assert_eq!(serde_json::from_slice::<regatta::oci::Descriptor>(&written).unwrap(), descriptor);
}

/// A line each: whatever stands in a header.
fn headers(data: &[u8]) {
    let proxies: TrustedProxies =
        ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse::<Range>().unwrap()).collect();
    let mut forwarded = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        forwarded.append("x-forwarded-for", value);
        let Ok(text) = std::str::from_utf8(line) else { continue };
        gate::basic(text);
        let _ = text.parse::<Range>();
        // Parameters are left out.
        if let Ok(kind) = text.parse::<MediaType>() {
            assert_eq!(kind.as_str().parse::<MediaType>().unwrap(), kind);
        }
        let scope = Scope::parse([text]);
        assert!(scope.repositories.keys().all(|name| name.parse::<RepositoryName>().is_ok()));
        let again: Scope = serde_json::from_value(serde_json::to_value(&scope).unwrap()).unwrap();
        assert_eq!(again, scope);
    }
    let stranger = SocketAddr::from(([192, 0, 2, 1], 1));
    assert_eq!(proxies.client(stranger, &forwarded), stranger.ip(), "a stranger is believed");
    proxies.client(SocketAddr::from(([10, 0, 0, 1], 1)), &forwarded);
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn put(store: &MemoryStore, key: &Key, value: &[u8]) {
    wait(store.put_new(key, bytes::Bytes::copy_from_slice(value), Durability::Volatile)).unwrap();
}

/// A log of the journal, a record a line; and a cursor from a client.
fn journal(data: &[u8]) {
    let memory = MemoryStore::default();
    for (number, line) in (1..).zip(data.split(|byte| *byte == b'\n').take(8)) {
        put(&memory, &layout::journal_record("a", number), line);
        if let Ok(record) = serde_json::from_slice::<Record>(line) {
            let written = serde_json::to_vec(&record).unwrap();
            assert_eq!(serde_json::from_slice::<Record>(&written).unwrap(), record);
            for register in &record.names {
                stays_within(&register.key(), "");
            }
        }
    }
    let store: Store = Arc::new(memory);
    // Whatever is there, it is read or said to be corrupt; what was read can be gone on from.
    if let Ok(read) = wait(journal::read(&store, "s", None, 1)) {
        assert!(!read.compare && !read.ahead);
        let on = wait(journal::read(&store, "s", Some(&read.cursor), 2)).unwrap();
        assert!(on.changes.is_empty() && !on.compare && !on.ahead);
    }
    let from_the_start = Cursor { store: "s".to_owned(), at: u64::MAX, origins: BTreeMap::new() };
    let _ = wait(journal::read(&store, "s", Some(&from_the_start), 1));
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(cursor) = Cursor::decode(text) {
        assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        let _ = wait(journal::read(&store, &cursor.store, Some(&cursor), 1));
    }
}

/// The record of an upload, a step a line.
fn upload(data: &[u8]) {
    const ID: &str = "0123456789abcdef0123456789abcdef";
    let memory = MemoryStore::default();
    put(&memory, &layout::store_identity(), br#"{"identity":"s","format":1}"#);
    for (number, line) in (1..).zip(data.split(|byte| *byte == b'\n').take(8)) {
        put(&memory, &layout::upload(ID).join(versions::name(number)), line);
    }
    let name: RepositoryName = "a/b".parse().unwrap();
    wait(async {
        grow(memory, &name, ID).await;
        // Tasks are only looked after while somebody waits.
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..1_000 {
            if tasks() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(tasks(), 0, "a registry that is gone has left tasks");
    });
}

async fn grow(memory: MemoryStore, name: &RepositoryName, id: &str) {
    let Ok(registry) = Registry::open(Arc::new(memory), Arc::new(System)).await else { return };
    let open = registry.is_upload_open(id).await;
    let Ok(upload) = registry.upload(name, id, "u").await else { return };
    assert!(open.is_ok());
    let _ = registry.keep(&upload).await;
    let body = futures::stream::iter([Ok(bytes::Bytes::from_static(b"bytes"))]);
    let Ok(grown) = registry.append(&upload, None, None, body).await else { return };
    assert!(grown.size() >= 5);
}
