//! Volumes that answer some and not others: whose writes hang while reads go on, and one of whose files hangs for whoever
//! reads it. More requests come for what hangs than there are threads.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use regatta::oci::Digest;
use regatta::store::fs::THREADS;
use serde_json::Value;

use crate::program::eventually;
use crate::survival_acts::Act;
use crate::survival_fuse::Faults;
use crate::survival_ledger::Thing;
use crate::survival_process::{Process, Remote};
use crate::survival_scene::mount;
use crate::survival_server::{Answer, Ask};
use crate::survival_volume::{ask_in_vain, holds, is_alive, is_error, with};

const REPOSITORY: &str = "team/app";
const BLOB: &[u8] = b"a layer that is there";
const OTHER: &[u8] = b"a layer whose file hangs";
const PUSH: Act<'static> = Act::Blob(REPOSITORY, BLOB);
const MANIFEST: Act<'static> = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: BLOB, note: "1" };

/// How long a client waits for what does not hang, and how long anybody may be kept waiting for what does.
const PATIENCE: Duration = Duration::from_secs(20);
const TOLD_WITHIN: Duration = Duration::from_secs(40);

/// Far more than there are threads.
const MANY: usize = THREADS + 144;

/// What more may be resident with as many requests held up.
const HELD_KIB: u64 = 100 * 1024;

fn push(number: usize) -> (String, Bytes) {
    let bytes = format!("layer {number} of those who push in vain").into_bytes();
    (format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", Digest::sha256(&bytes)), bytes.into())
}

async fn reads(process: &Process) {
    let patient = process.remote.with_patience(PATIENCE);
    let blob = Thing::Blob(REPOSITORY.into(), Digest::sha256(BLOB)).path();
    for path in [blob.as_str(), "/v2/team/app/manifests/latest", "/v2/team/app/tags/list", "/v2/_catalog"] {
        let answer = patient.get(path).await.map(|answer| answer.status);
        assert_eq!(answer, Some(StatusCode::OK), "{path}");
    }
    is_alive(process).await;
    assert_eq!(process.health("/readyz").await.map(|(status, _)| status), Some(200));
}

/// A number from `/metrics`.
async fn metric(remote: &Remote, name: &str) -> f64 {
    let text = remote.get("/metrics").await.unwrap().body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("the metric is there");
    line.parse().unwrap()
}

/// Frozen while a backup takes its snapshot, or a disk that takes no writes any more: what is there is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_whose_writes_hang_is_read_and_ready_and_refuses_writes() {
    let Some(volume) = mount() else { return };
    let process = Process::start(volume.path()).await;
    let ledger = with(&process.remote, &[PUSH, MANIFEST]).await;
    let before = process.status("VmRSS");
    // The bytes of blobs, before they get their name: each push has a thread of its own for that. Of files alone: while a
    // directory's sync is under way, FUSE lets nobody look a name up in it.
    volume.fail(Faults { sync_hangs: Some("regatta/v1/uploads/".into()), ..Faults::default() });
    let start = Instant::now();
    let held: Vec<_> = (0..MANY)
        .map(|number| {
            let remote = process.remote.with_patience(TOLD_WITHIN);
            tokio::spawn(async move {
                let (path, bytes) = push(number);
                remote.ask(Method::POST, &path, "application/octet-stream", bytes).await
            })
        })
        .collect();
    eventually("writes hang", async || match volume.hanging() {
        enough if enough >= THREADS / 2 => Ok(()),
        few => Err(few),
    })
    .await;
    while start.elapsed() < Duration::from_secs(15) {
        reads(&process).await;
    }
    // Who would write then is told at once, as is who waited for a turn.
    let refused: Answer = eventually("writes are refused", async || {
        reads(&process).await;
        let (path, bytes) = push(MANY);
        let hasty = process.remote.with_patience(Duration::from_secs(2));
        hasty.ask(Method::POST, &path, "application/octet-stream", bytes).await.ok_or(start.elapsed())
    })
    .await;
    is_error(&refused, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    assert!(metric(&process.remote, "regatta_registry_store_oldest_write_seconds").await > 20.0);
    reads(&process).await;
    let mut told = 0;
    for held in held {
        // Who has a thread waits for the disk, and gives up.
        if let Some(answer) = held.await.unwrap() {
            is_error(&answer, StatusCode::SERVICE_UNAVAILABLE);
            told += 1;
        }
    }
    println!("{told} of {MANY} were told; {} KiB, {} threads", process.status("VmRSS"), process.status("Threads"));
    assert!(told > 100, "{told}");
    let grown = process.status("VmRSS").saturating_sub(before);
    assert!(grown < HELD_KIB, "{grown} KiB more");
    volume.fail(Faults::default());
    eventually("writes go on", async || match PUSH.send(&process.remote).await {
        Some(StatusCode::CREATED) => Ok(()),
        other => Err(other),
    })
    .await;
    with(&process.remote, &[Act::Blob(REPOSITORY, OTHER)]).await;
    holds(&process.remote, &ledger).await;
    assert!(metric(&process.remote, "regatta_registry_store_oldest_write_seconds").await < 20.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_retries_than_threads_for_a_blob_that_hangs_stop_nobody_else() {
    let Some(volume) = mount() else { return };
    let process = Process::start(volume.path()).await;
    let ledger = with(&process.remote, &[PUSH, MANIFEST]).await;
    with(&process.remote, &[Act::Blob(REPOSITORY, OTHER)]).await;
    let before = process.status("VmRSS");
    let (digest, path) = (Digest::sha256(OTHER), Thing::Blob(REPOSITORY.into(), Digest::sha256(OTHER)).path());
    volume.fail(Faults { hangs: Some(format!("{}/data", digest.hex())), ..Faults::default() });
    ask_in_vain(&process.remote, &path, MANY).await;
    assert!(volume.hanging() > 0, "nobody asked for what hangs");
    assert!(volume.hanging() < THREADS / 4, "{} threads wait for one file", volume.hanging());
    holds(&process.remote, &ledger).await;
    reads(&process).await;
    with(&process.remote, &[Act::Blob(REPOSITORY, b"new")]).await;
    let grown = process.status("VmRSS").saturating_sub(before);
    assert!(grown < HELD_KIB, "{grown} KiB more");
    // Who waits long enough is told.
    let answer = process.remote.with_patience(TOLD_WITHIN).get(&path).await.expect("an answer");
    is_error(&answer, StatusCode::SERVICE_UNAVAILABLE);
    volume.fail(Faults::default());
    eventually("what hung is served", async || process.remote.get(&path).await.filter(|a| a.body == OTHER).ok_or(()))
        .await;
}

/// As ext4 is after an error, and a disk whose controller has given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_turns_read_only_is_read_and_ready_and_says_so() {
    let Some(volume) = mount() else { return };
    let process = Process::start(volume.path()).await;
    let ledger = with(&process.remote, &[PUSH, MANIFEST]).await;
    let begun = process.remote.ask(Method::POST, "/v2/team/app/blobs/uploads/", "text/plain", Bytes::new()).await;
    let upload = begun.unwrap().header("location").to_owned();
    assert!(metric(&process.remote, "regatta_registry_store_read_only").await < 1.0);
    volume.fail(Faults { read_only: true, ..Faults::default() });
    let (path, bytes) = push(0);
    let manifest = Thing::Manifest(REPOSITORY.into(), Digest::sha256(BLOB)).path();
    for (method, path, body) in [
        (Method::POST, path, bytes),
        (Method::PATCH, upload, "a part".into()),
        (Method::DELETE, "/v2/team/app/manifests/latest".to_owned(), Bytes::new()),
        (Method::DELETE, Thing::Blob(REPOSITORY.into(), Digest::sha256(BLOB)).path(), Bytes::new()),
    ] {
        println!("{method} {path}");
        let answer = process.remote.ask(method, &path, "application/octet-stream", body).await.unwrap();
        is_error(&answer, StatusCode::SERVICE_UNAVAILABLE);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(body["errors"][0]["message"].as_str().unwrap().contains("read-only"), "{body}");
    }
    assert_eq!(process.remote.get(&manifest).await.unwrap().status, StatusCode::NOT_FOUND, "what is not there is not");
    assert!(metric(&process.remote, "regatta_registry_store_read_only").await > 0.0);
    assert!(process.log().contains("mount it read-write"), "{}", process.log());
    reads(&process).await;
    holds(&process.remote, &ledger).await;
    volume.fail(Faults::default());
    with(&process.remote, &[Act::Blob(REPOSITORY, OTHER)]).await;
    assert!(metric(&process.remote, "regatta_registry_store_read_only").await < 1.0);
}
