//! Three replicas on one directory, of which some are killed or stopped now and then, and connections that break: each
//! tag, link and manifest is one variable all the same, and an upload goes on wherever its client turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use regatta::oci::Digest;

use crate::program::Waiting;
use crate::replicate_support::Registry;
use crate::survival_acts::Act;
use crate::survival_history::History;
use crate::survival_ledger::Thing;
use crate::survival_process::{Broken, Remote};
use crate::survival_seed::{Random, short_or_long};
use crate::survival_server::{Answer, Ask as _};

const REPOSITORY: &str = "team/app";
const LAYER: &[u8] = b"the layer that all manifests name";
const TAGS: [&str; 3] = ["one", "two", "three"];
const BLOBS: [&[u8]; 2] = [b"a blob that comes and goes", b"another"];
const NOTES: [&str; 2] = ["first", "second"];

/// How clients reach three of them.
struct Replicas {
    remotes: Vec<Remote>,
    stop: AtomicBool,
}

async fn start() -> (Vec<Registry>, Arc<Replicas>) {
    let first = Registry::start().await;
    let others = [first.replica().await, first.replica().await];
    let processes: Vec<Registry> = std::iter::once(first).chain(others).collect();
    let remotes = processes.iter().map(|process| Remote::new(&process.url)).collect();
    (processes, Arc::new(Replicas { remotes, stop: AtomicBool::new(false) }))
}

/// Kills and stops one after the other until it is told to end. They live as long as what it gives.
async fn harm(mut processes: Vec<Registry>, stop: &AtomicBool, mut random: Random) -> Vec<Registry> {
    let mut harmed = 0;
    while !stop.load(Ordering::Relaxed) {
        let at = random.below(processes.len());
        let pause = Duration::from_millis(u64::try_from(20 + random.below(200)).unwrap());
        if random.below(2) == 0 {
            let killed = processes.remove(at);
            processes.insert(at, killed.restart().await);
        } else {
            processes[at].signal("STOP");
            tokio::time::sleep(pause).await;
            processes[at].signal("CONT");
        }
        tokio::time::sleep(pause).await;
        harmed += 1;
    }
    println!("replicas were killed or stopped {harmed} times");
    processes
}

impl Replicas {
    /// Any one, dead or alive, by a client that sometimes hangs up early.
    fn any(&self, random: &mut Random) -> Remote {
        let remote = &self.remotes[random.below(self.remotes.len())];
        let patience = if random.below(12) == 0 { random.below(20) } else { 5_000 };
        remote.with_patience(Duration::from_millis(1 + u64::try_from(patience).unwrap()))
    }
}

/// One client's requests about tags, or about blobs and manifests by digest.
async fn client(replicas: Arc<Replicas>, history: Arc<History>, number: usize, requests: usize, mut random: Random) {
    for request in 0..requests {
        let to = replicas.any(&mut random);
        let (tag, blob, note) = (TAGS[random.below(3)], BLOBS[random.below(2)], NOTES[random.below(2)]);
        let new = format!("{number}-{request}");
        let deletes = |repository| Act::DeleteManifest { repository, blob: LAYER, note, tags: &[] };
        let manifest = |repository| Act::ManifestByDigest { repository, blob: LAYER, note };
        let act = match random.below(16) {
            0..=3 => Act::Manifest { repository: REPOSITORY, tag, blob: LAYER, note: &new },
            4 => Act::DeleteTag { repository: REPOSITORY, tag },
            5 => Act::Blob("team/blobs", blob),
            6 => Act::DeleteBlob("team/blobs", blob),
            7 => manifest("team/digests"),
            8 => deletes("team/digests"),
            9 | 10 => {
                let looked_at = Thing::Blob("team/blobs".into(), Digest::sha256(blob));
                history.get(&to, &looked_at).await;
                continue;
            }
            11 | 12 => {
                let (looked_at, _) = manifest("team/digests").changes().pop().unwrap();
                history.get(&to, &looked_at).await;
                continue;
            }
            _ => {
                history.get(&to, &Thing::Tag(REPOSITORY.into(), tag.into())).await;
                continue;
            }
        };
        history.act(&to, &act).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_register_is_one_variable_at_all_replicas_together() {
    let mut random = Random::announced("histories");
    for _ in 0..short_or_long(1, 30) {
        let (processes, replicas) = start().await;
        for repository in [REPOSITORY, "team/digests"] {
            assert_eq!(Act::Blob(repository, LAYER).send(&replicas.remotes[0]).await, Some(StatusCode::CREATED));
        }
        let history = Arc::new(History::default());
        let clients = (0..6)
            .map(|number| tokio::spawn(client(Arc::clone(&replicas), Arc::clone(&history), number, 60, random.fork())));
        let clients: Vec<_> = clients.collect();
        let all = async {
            for client in clients {
                client.await.unwrap();
            }
            replicas.stop.store(true, Ordering::Relaxed);
        };
        futures::future::join(harm(processes, &replicas.stop, random.fork()), all).await;
        history.check();
    }
}

/// An upload's client, who turns to another replica for every request, and asks how far it came when no answer comes.
async fn upload(replicas: &Replicas, bytes: &[u8], random: &mut Random) -> Result<(), String> {
    let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let waiting = Waiting::on("an upload is begun");
    let begun = loop {
        let answer = replicas.any(random).ask(Method::POST, &uploads, "text/plain", bytes::Bytes::new()).await;
        if let Some(begun) = waiting.took(answer.ok_or("no answer")).await {
            break begun;
        }
    };
    let place = begun.header("location").to_owned();
    // Once it may have been closed, nothing but that can be repeated.
    let mut closing = false;
    for _ in 0..200 {
        let at = if closing { Some(bytes.len()) } else { how_far(replicas, &place, random).await? };
        let Some(at) = at else { continue };
        let to = replicas.any(random);
        if at == bytes.len() {
            closing = true;
            let close = format!("{place}?digest={}", Digest::sha256(bytes));
            match to.ask(Method::PUT, &close, "text/plain", bytes::Bytes::new()).await {
                Some(answer) if answer.status == StatusCode::CREATED => return Ok(()),
                Some(answer) if answer.status != StatusCode::RANGE_NOT_SATISFIABLE => {
                    return Err(format!("closing is answered {}: {:?}", answer.status, answer.body));
                }
                Some(_) | None => continue,
            }
        }
        let piece = &bytes[at..(at + 1 + random.below(60_000)).min(bytes.len())];
        let broken = if random.below(4) == 0 { Broken::AfterHalf } else { Broken::Not };
        let answer = to.patch(&place, at, piece, broken).await;
        let status = answer.map(|answer| answer.status);
        // Another of this client's own pieces may have landed after its answer was lost.
        let fine = [StatusCode::ACCEPTED, StatusCode::RANGE_NOT_SATISFIABLE];
        if status.is_some_and(|status| !fine.contains(&status)) && broken == Broken::Not {
            return Err(format!("a piece at {at} is answered {status:?}"));
        }
    }
    Err("the upload came to no end".to_owned())
}

async fn how_far(replicas: &Replicas, place: &str, random: &mut Random) -> Result<Option<usize>, String> {
    let Some(answer) = replicas.any(random).get(place).await else { return Ok(None) };
    let Answer { status: StatusCode::NO_CONTENT, .. } = answer else {
        return Err(format!("how far the upload came is answered {}", answer.status));
    };
    let Some((_, last)) = answer.header("range").split_once('-') else { return Err("there is no range".to_owned()) };
    // `0-0` is nothing or one byte: pieces are longer.
    let last: usize = last.parse().map_err(|_| "the range has no number".to_owned())?;
    Ok(Some(if last == 0 { 0 } else { last + 1 }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_at_whichever_replica_is_there() {
    let mut random = Random::announced("uploads");
    let (processes, replicas) = start().await;
    let uploads = (0..short_or_long(12, 200)).map(|_| {
        let (replicas, mut random) = (Arc::clone(&replicas), random.fork());
        tokio::spawn(async move {
            let bytes = random.bytes(300_000);
            upload(&replicas, &bytes, &mut random).await.unwrap();
            bytes
        })
    });
    let uploads: Vec<_> = uploads.collect();
    let all = async {
        let mut pushed = Vec::new();
        for upload in uploads {
            pushed.push(upload.await.unwrap());
        }
        replicas.stop.store(true, Ordering::Relaxed);
        pushed
    };
    let (_processes, pushed) = futures::future::join(harm(processes, &replicas.stop, random.fork()), all).await;
    for (bytes, remote) in pushed.iter().zip(replicas.remotes.iter().cycle()) {
        let path = Thing::Blob(REPOSITORY.into(), Digest::sha256(bytes)).path();
        assert!(remote.get(&path).await.is_some_and(|answer| answer.body == *bytes));
    }
}
