//! `regatta replicate` by hand, between real registries.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::program::eventually;
use crate::replicate_images::equal;
use crate::replicate_support::{Registry, Served, replicate, replicate_command};

/// Some images that share layers, an index, and a signature. Answers how many different blobs there are.
async fn fill(registry: &Registry) -> usize {
    let (base, shared) = (vec![1_u8; 70_000], vec![2_u8; 50_000]);
    let image = registry.push_image("team/app", "v1", &[&base, &shared, b"app one"]).await;
    registry.push_image("team/app", "v2", &[&base, &shared, b"app two"]).await;
    registry.push_image("team/web/front", "latest", &[&base, b"front"]).await;
    registry.push_index("tools", "multi", &[&[&shared, b"amd64"], &[&shared, b"arm64"]]).await;
    registry.push_referrer("team/app", &image, b"a signature").await;
    // base, shared, app one, app two, front, amd64, arm64, a signature; five configs and the empty one.
    14
}

fn stored(served: &[Served]) -> usize {
    served.iter().filter(|served| served.stored_blob()).count()
}

/// How often each blob was read.
fn read(served: &[Served]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for served in served.iter().filter(|s| s.method == "GET" && s.path.contains("/blobs/sha256:")) {
        *counts.entry(served.path.rsplit('/').next().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_blob_moves_once_and_a_run_again_moves_nothing() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    let blobs = fill(&source).await;
    assert!(replicate(&source, &destination, &[]).await.status.success());
    equal(&source, &destination).await;

    let (reads, writes) = (source.served(), destination.served());
    assert_eq!(stored(&writes), blobs, "{writes:#?}");
    assert!(read(&reads).values().all(|&times| times == 1), "{:#?}", read(&reads));
    let posts = writes.iter().filter(|s| s.method == "POST").count();
    let mounted = writes.iter().filter(|s| s.method == "POST" && s.status == 201).count();
    assert_eq!(posts - mounted, blobs, "one POST a blob, and one a mount");
    // Four tags, two children of the index, the signature, and its subject before it.
    let manifests = writes.iter().filter(|s| s.method == "PUT" && s.path.contains("/manifests/")).count();
    assert_eq!(manifests, 4 + 2 + 2, "{writes:#?}");

    assert!(replicate(&source, &destination, &[]).await.status.success());
    assert!(!destination.served()[writes.len()..].iter().any(Served::writes));
    assert!(read(&source.served()[reads.len()..]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_travel_with_their_subject_and_go_with_it() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    let image = source.push_image("app", "v1", &[b"layer"]).await;
    assert!(replicate(&source, &destination, &[]).await.status.success());
    let signature = source.push_referrer("app", &image, b"signature").await;
    let attestation = source.push_referrer("app", &image, b"attestation").await;
    assert!(replicate(&source, &destination, &[]).await.status.success());
    assert_eq!(destination.referrers("app", &image).await, [signature.clone(), attestation.clone()].into());
    source.delete("app", &attestation).await;
    assert!(replicate(&source, &destination, &[]).await.status.success());
    assert_eq!(destination.referrers("app", &image).await, [signature].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_finished_blob_it_goes_on_without_moving_one_twice() {
    for finished in [1, 2, 4, 7] {
        let (source, destination) = (Registry::start().await, Registry::start().await);
        let blobs = fill(&source).await;
        let mut child = replicate_command(&source.url, &destination.url, &source, &["--workers", "1"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("enough blobs are stored", async || {
            let stored = stored(&destination.served());
            if stored >= finished { Ok(()) } else { Err(stored) }
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
        let moved = finished_blobs(&source, &destination).await;
        assert!(moved.len() >= finished);
        let before = source.served().len();
        assert!(replicate(&source, &destination, &[]).await.status.success());
        equal(&source, &destination).await;
        let again = read(&source.served()[before..]);
        assert!(moved.iter().all(|digest| !again.contains_key(digest)), "{moved:#?} {again:#?}");
        // What the server finished after its client was gone is in neither.
        assert!(again.len() + moved.len() <= blobs, "{moved:#?} {again:#?}");
    }
}

/// What the destination has of the blobs that were read at the source.
async fn finished_blobs(source: &Registry, destination: &Registry) -> Vec<String> {
    let mut finished = Vec::new();
    for served in source.served().iter().filter(|s| s.method == "GET") {
        let Some((repository, digest)) = served.path.trim_start_matches("/v2/").split_once("/blobs/") else { continue };
        let there =
            destination.client().has_blob(&repository.parse().unwrap(), &digest.parse().unwrap()).await.unwrap();
        finished.extend(there.then(|| digest.to_owned()));
    }
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_travel_or_not_and_wait_where_everything_is_gone() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v1", &[b"one"]).await;
    source.push_image("app", "v2", &[b"two"]).await;
    assert!(replicate(&source, &destination, &[]).await.status.success());

    source.delete("app", "v1").await;
    assert!(replicate(&source, &destination, &["--deletions", "ignore"]).await.status.success());
    assert_eq!(destination.tags().await.len(), 2);
    assert!(replicate(&source, &destination, &["--dry-run"]).await.status.success());
    assert_eq!(destination.tags().await.len(), 2);
    assert!(replicate(&source, &destination, &[]).await.status.success());
    equal(&source, &destination).await;

    source.delete("app", "v2").await;
    let summary = destination.file("summary.json");
    let ended = replicate(&source, &destination, &["--summary", summary.to_str().unwrap()]).await;
    assert!(!ended.status.success());
    assert_eq!(destination.tags().await.len(), 1);
    let summary: Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    assert_eq!(summary["withheld"]["reason"], "SourceEmpty");
    let hash = summary["withheld"]["planHash"].as_str().unwrap();
    assert!(replicate(&source, &destination, &["--approve-deletions", hash]).await.status.success());
    assert!(destination.tags().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_everything_else_alone() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    for (repository, tag) in [("team/app", "v1"), ("team/app", "latest"), ("other/app", "v1")] {
        source.push_image(repository, tag, &[repository.as_bytes(), tag.as_bytes()]).await;
    }
    destination.push_image("team/app", "local", &[b"local"]).await;
    destination.push_image("team/app", "v0", &[b"old"]).await;
    destination.push_image("elsewhere", "v0", &[b"old"]).await;
    assert!(replicate(&source, &destination, &["--repository", "team/*", "--tag", "v*"]).await.status.success());
    let found: Vec<String> = destination.tags().await.into_keys().collect();
    assert_eq!(found, ["elsewhere:v0", "team/app:local", "team/app:v1"]);
}

/// Passes on whatever comes to `to`, and cuts the one connection that brings the byte number `cut`, once. Answers its
/// URL and how many bytes it has passed on.
async fn link_that_breaks(to: &str, cut: u64) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (to, passed) = (to.trim_start_matches("http://").to_owned(), Arc::new(AtomicU64::new(0)));
    let counter = passed.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(pass_on(client, server, counter.clone(), cut));
        }
    });
    (url, passed)
}

async fn pass_on(client: TcpStream, server: TcpStream, counter: Arc<AtomicU64>, cut: u64) {
    let ((mut from, mut back), (mut answers, mut to)) = (client.into_split(), server.into_split());
    let answering = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let before = counter.fetch_add(read as u64, Ordering::SeqCst);
        if before < cut && cut <= before + read as u64 {
            answering.abort();
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_link_costs_one_part_of_a_large_blob() {
    const MIB: u64 = 1024 * 1024;
    let (source, destination) = (Registry::start().await, Registry::start().await);
    let large: Vec<u8> = (0..100 * 1024 * 1024_u32).map(|n| n.to_le_bytes()[2]).collect();
    source.push_image("large", "v1", &[&large]).await;
    let (url, passed) = link_that_breaks(&destination.url, 50 * MIB).await;
    let mut command = replicate_command(&source.url, &url, &source, &[]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    equal(&source, &destination).await;
    let passed = passed.load(Ordering::SeqCst);
    assert!((100 * MIB..(100 + 32 + 1) * MIB).contains(&passed), "{passed} bytes were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_goes_in_parts_to_a_regatta() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    let large: Vec<u8> = (0..70_u32 * 1024 * 1024).map(|n| n.to_le_bytes()[2]).collect();
    source.push_image("large", "v1", &[&large]).await;
    assert!(replicate(&source, &destination, &[]).await.status.success());
    equal(&source, &destination).await;
    // Of the upload that became the blob: on a machine that stands still for a minute one may be given up before.
    let writes: Vec<Served> = destination.served().into_iter().filter(Served::writes).collect();
    let closed = writes.iter().rfind(|s| s.stored_blob() && patches(&writes, &s.path, |_| true) > 0);
    let upload = &closed.unwrap_or_else(|| panic!("no upload in parts: {writes:#?}")).path;
    let (landed, broken) = (patches(&writes, upload, |s| s == 202), patches(&writes, upload, |s| s != 202));
    assert!((3..=3 + broken).contains(&landed), "{writes:#?}");
}

fn patches(served: &[Served], path: &str, status: fn(u64) -> bool) -> usize {
    served.iter().filter(|s| s.method == "PATCH" && s.path == path && status(s.status)).count()
}
