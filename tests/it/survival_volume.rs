//! Volumes that are full, cannot be read, do not answer, or cannot be written to.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use regatta::oci::Digest;
use regatta::registry::RegistryError;
use serde_json::Value;

use crate::program::eventually;
use crate::survival_acts::{Act, wrongs};
use crate::survival_fuse::{Faults, Volume};
use crate::survival_ledger::{Ledger, Thing};
use crate::survival_process::{Process, Remote};
use crate::survival_scene::mount;
use crate::survival_server::{Answer, Ask, Node, manifest};

const REPOSITORY: &str = "team/app";
const BLOB: &[u8] = b"a layer that is there";
const OTHER: &[u8] = b"a layer that is to come";
/// Larger than what is read before it is answered.
const LARGE: &[u8] = &[7; 100_000];
const PUSH: Act<'static> = Act::Blob(REPOSITORY, BLOB);
const MANIFEST: Act<'static> = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: BLOB, note: "1" };

/// How long a server may take to notice that its volume is not there, or there again.
const NOTICED: Duration = Duration::from_secs(10);

/// How long a client waits for what is answered without the volume.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does these; they are what is there from now on.
pub async fn with(to: &impl Ask, acts: &[Act<'static>]) -> Ledger {
    let mut ledger = Ledger::default();
    for act in acts {
        let begun = ledger.begin(act.changes());
        let status = act.send(to).await;
        assert!(status.is_some_and(|status| status.is_success()), "{act:?}: {status:?}");
        ledger.answered(begun);
    }
    ledger
}

pub async fn holds(to: &impl Ask, ledger: &Ledger) {
    let wrong = wrongs(to, &ledger.now()).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An error as clients are to see it: with this status, a code, and the request's id.
pub fn is_error(answer: &Answer, status: StatusCode) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["errors"][0]["code"].is_string(), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_volume_refuses_writes_with_507_serves_on_and_recovers_by_itself() {
    let Some(volume) = mount() else { return };
    let node = Node::start(volume.path()).await;
    let ledger = with(&node, &[PUSH, MANIFEST, Act::Blob(REPOSITORY, OTHER)]).await;
    let text = manifest(&Digest::sha256(BLOB), "2");
    let push = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", Digest::sha256(b"new"));
    let mounted = format!("/v2/other/app/blobs/uploads/?mount={}&from={REPOSITORY}", Digest::sha256(BLOB));
    let begun = node.ask(Method::POST, &format!("/v2/{REPOSITORY}/blobs/uploads/"), "text/plain", Bytes::new()).await;
    let upload = begun.unwrap().header("location").to_owned();
    volume.fail(Faults { full: true, ..Faults::default() });
    for (method, path, body) in [
        (Method::PATCH, upload.clone(), "a part".to_owned()),
        (Method::PUT, format!("{upload}?digest={}", Digest::sha256(b"new")), "new".to_owned()),
        (Method::POST, push, "new".to_owned()),
        (Method::POST, format!("/v2/{REPOSITORY}/blobs/uploads/"), String::new()),
        (Method::POST, mounted, String::new()),
        (Method::PUT, format!("/v2/{REPOSITORY}/manifests/latest"), text),
        (Method::DELETE, format!("/v2/{REPOSITORY}/manifests/latest"), String::new()),
        (Method::DELETE, format!("/v2/{REPOSITORY}/blobs/{}", Digest::sha256(OTHER)), String::new()),
    ] {
        let answer = node.ask(method.clone(), &path, "application/vnd.oci.image.manifest.v1+json", body.into()).await;
        println!("{method} {path}");
        is_error(&answer.unwrap(), StatusCode::INSUFFICIENT_STORAGE);
    }
    holds(&node, &ledger).await;
    assert_eq!(node.get("/readyz").await.unwrap().status, StatusCode::OK);
    volume.fail(Faults::default());
    let close = format!("{upload}?digest={}", Digest::sha256(b"part"));
    let closed = node.ask(Method::PUT, &close, "application/octet-stream", "part".into()).await.unwrap();
    assert_eq!(closed.status, StatusCode::CREATED, "the upload goes on: {closed:?}");
    with(&node, &[Act::Blob(REPOSITORY, b"new"), Act::DeleteBlob(REPOSITORY, OTHER)]).await;
    let moved = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: BLOB, note: "2" };
    let ledger = with(&node, &[moved]).await;
    holds(&node, &ledger).await;
}

async fn becomes(node: &Node, status: StatusCode) {
    let start = Instant::now();
    eventually("the readiness is as it should be", async || {
        let answer = node.get("/readyz").await.unwrap();
        if answer.status == status { Ok(()) } else { Err(answer) }
    })
    .await;
    assert!(start.elapsed() < NOTICED, "{:?}", start.elapsed());
}

/// An upload whose bytes have come, by another node: what closes it.
async fn begun_elsewhere(volume: &Volume) -> String {
    let other = Node::start(volume.path()).await;
    let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let begun = other.ask(Method::POST, &uploads, "", Bytes::new()).await.unwrap();
    let place = begun.header("location").to_owned();
    let answer = other.ask(Method::PATCH, &place, "application/octet-stream", OTHER.into()).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    format!("{place}?digest={}", Digest::sha256(OTHER))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_a_failure_and_never_something_else() {
    let Some(volume) = mount() else { return };
    let node = Node::start(volume.path()).await;
    let ledger = with(&node, &[PUSH, MANIFEST, Act::Blob(REPOSITORY, LARGE)]).await;
    let blob = Thing::Blob(REPOSITORY.into(), Digest::sha256(BLOB)).path();
    // The bytes alone: the volume is fine otherwise, and so is the server.
    volume.fail(Faults { unreadable: Some("docker/".into()), ..Faults::default() });
    for path in [&blob, "/v2/team/app/manifests/latest"] {
        is_error(&node.get(path).await.unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    // An answer that has begun breaks off: its length was said, so that no client takes it for whole.
    let answer = node.get(&Thing::Blob(REPOSITORY.into(), Digest::sha256(LARGE)).path()).await.unwrap();
    assert!(answer.status == StatusCode::OK && !answer.header("content-length").is_empty(), "{answer:?}");
    assert!(answer.body.is_empty(), "{answer:?}");
    // A part that another process has written: its client is not told that it sent the wrong bytes.
    let close = begun_elsewhere(&volume).await;
    volume.fail(Faults { unreadable: Some("uploads/".into()), ..Faults::default() });
    is_error(&node.ask(Method::PUT, &close, "", Bytes::new()).await.unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
    volume.fail(Faults::default());
    let closed = node.ask(Method::PUT, &close, "", Bytes::new()).await.unwrap();
    assert_eq!(closed.status, StatusCode::CREATED, "{closed:?}");
    assert_eq!(node.get("/readyz").await.unwrap().status, StatusCode::OK);
    // Everything: what is there may not be called absent.
    volume.fail(Faults { unreadable: Some(String::new()), ..Faults::default() });
    for path in [&blob, "/v2/team/app/manifests/latest", "/v2/team/app/tags/list", "/v2/_catalog"] {
        is_error(&node.get(path).await.unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    becomes(&node, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(node.get("/healthz").await.unwrap().status, StatusCode::OK);
    volume.fail(Faults::default());
    becomes(&node, StatusCode::OK).await;
    holds(&node, &ledger).await;
}

/// A mount that goes away leaves the directory that it was mounted on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_another_than_before_is_not_served() {
    let Some(volume) = mount() else { return };
    let (place, other) = (volume.path().join("data"), volume.path().join("other"));
    let node = Node::start(&place).await;
    with(&node, &[PUSH]).await;
    becomes(&node, StatusCode::OK).await;
    std::fs::rename(&place, &other).unwrap();
    becomes(&node, StatusCode::SERVICE_UNAVAILABLE).await;
    std::fs::create_dir(&place).unwrap();
    Node::start(&place).await;
    for _ in 0..2 {
        let look = node.server.poll_documents().await;
        assert!(matches!(look, Err(RegistryError::Replaced)), "{look:?}");
    }
    assert_eq!(node.get("/readyz").await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}

/// It says that it is, and never anything else, however late on a busy machine.
pub async fn is_alive(process: &Process) {
    let said = eventually("liveness is told", async || process.health("/healthz").await.ok_or("nothing")).await;
    assert_eq!(said, (200, "ok\n".into()));
}

/// Many requests at once for what hangs; they are given up after a second.
pub async fn ask_in_vain(remote: &Remote, path: &str, many: usize) {
    let remote = remote.with_patience(Duration::from_secs(1));
    let asked = (0..many).map(|_| {
        let (remote, path) = (remote.clone(), path.to_owned());
        tokio::spawn(async move { remote.get(&path).await })
    });
    for asked in asked.collect::<Vec<_>>() {
        let _ = asked.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_hangs_makes_the_server_unready_and_not_dead() {
    let Some(volume) = mount() else { return };
    let process = Process::start(volume.path()).await;
    let ledger = with(&process.remote, &[PUSH, MANIFEST]).await;
    volume.fail(Faults { hangs: Some(String::new()), ..Faults::default() });
    let start = Instant::now();
    let path = Thing::Tag(REPOSITORY.into(), "latest".into()).path();
    // Clients do not leave off meanwhile.
    let (remote, asked) = (process.remote.clone(), path.clone());
    let crowd = tokio::spawn(async move {
        loop {
            ask_in_vain(&remote, &asked, 100).await;
        }
    });
    let why = eventually("the server is not ready", async || {
        is_alive(&process).await;
        match process.health("/readyz").await {
            Some((503, why)) => Ok(why),
            other => Err(other),
        }
    })
    .await;
    assert!(start.elapsed() < NOTICED, "{:?}", start.elapsed());
    crowd.abort();
    println!("not ready: {why}; {} KiB, {} threads", process.status("VmRSS"), process.status("Threads"));
    // By now nobody is kept waiting: clients are told, and turn to a replica that has its volume.
    let patient = process.remote.with_patience(PATIENCE);
    let answer = eventually("clients are told", async || patient.get(&path).await.ok_or("nothing")).await;
    is_error(&answer, StatusCode::SERVICE_UNAVAILABLE);
    let before = process.status("VmRSS");
    ask_in_vain(&process.remote, &path, 2_000).await;
    let grown = process.status("VmRSS").saturating_sub(before);
    assert!(grown < 100 * 1024, "{grown} KiB more");
    assert!(process.status("Threads") < 600);
    is_alive(&process).await;
    volume.fail(Faults::default());
    process.becomes_ready().await;
    holds(&process.remote, &ledger).await;
}

/// Starts on a volume that is no good; gives what is said of it.
async fn refusal(faults: Faults) -> Option<String> {
    let volume = mount()?;
    volume.fail(faults);
    let mut process = Process::spawn(volume.path());
    assert!(!process.end().await.success());
    Some(process.log())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_cannot_be_written_to_is_named_at_the_start_with_what_to_do() {
    let Some(text) = refusal(Faults { read_only: true, ..Faults::default() }).await else { return };
    assert!(text.contains("cannot hold a store") && text.contains("mount it read-write"), "{text}");
    let text = refusal(Faults { denied: true, ..Faults::default() }).await.unwrap();
    assert!(text.contains("cannot hold a store") && text.contains("writable for the user"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_full_at_the_start_is_served_and_written_to_as_soon_as_there_is_room() {
    let Some(text) = refusal(Faults { full: true, ..Faults::default() }).await else { return };
    assert!(text.contains("the store is full"), "a new store needs room: {text}");
    let volume = mount().unwrap();
    let ledger = with(&Process::start(volume.path()).await.remote, &[PUSH, MANIFEST]).await;
    volume.fail(Faults { full: true, ..Faults::default() });
    let process = Process::start(volume.path()).await;
    holds(&process.remote, &ledger).await;
    assert_eq!(Act::Blob(REPOSITORY, OTHER).send(&process.remote).await, Some(StatusCode::INSUFFICIENT_STORAGE));
    volume.fail(Faults::default());
    with(&process.remote, &[Act::Blob(REPOSITORY, OTHER)]).await;
    holds(&process.remote, &ledger).await;
}

/// A pod that waits for its volume says so, rather than nothing at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_hangs_at_the_start_is_named_and_waited_for() {
    let Some(volume) = mount() else { return };
    volume.fail(Faults { hangs: Some(String::new()), ..Faults::default() });
    let process = Process::spawn(volume.path());
    eventually("it is said", async || {
        let log = process.log();
        if log.contains("does not answer") { Ok(()) } else { Err(log) }
    })
    .await;
    volume.fail(Faults::default());
    process.becomes_ready().await;
    let _ = process.remote.ask(Method::GET, "/v2/", "text/plain", Bytes::new()).await.unwrap();
}
