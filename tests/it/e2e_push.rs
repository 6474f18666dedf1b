//! A registry's replica is killed while images are pushed through it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use kube::ResourceExt;
use regatta::oci::Digest;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tokio::sync::watch;

use super::e2e_support::client::{Remote, body, manifest, random};
use super::e2e_support::cluster::Role;
use super::e2e_support::process::kill_pod;
use super::e2e_support::stage::{SERVES, Stage, registry};
use super::e2e_support::waiting::{when, within};

const PORT: u16 = 30630;
const REPOSITORY: &str = "shop/demo";
/// So many that none of them going through the replica that is killed is a matter of one in 65,536.
const BLOBS: usize = 16;
const HALF: usize = 300_000;
/// How soon a client that tries again succeeds.
const RETRIED: Duration = Duration::from_secs(20);

/// A push that stops half-way until it is told to go on.
struct Push {
    remote: Remote,
    blob: Bytes,
    halves: watch::Sender<usize>,
    go_on: watch::Receiver<bool>,
}

impl Push {
    /// Whether the first attempt broke. It is made again until the blob is there.
    async fn run(self) -> bool {
        let digest = Digest::sha256(&self.blob);
        let broke = self.halting(&digest).await.is_err();
        if broke {
            within(RETRIED, &format!("the push of {digest} was made again"), async || {
                let again = self.remote.push_blob(REPOSITORY, self.blob.clone()).await;
                again.map_err(|error| format!("{error:?}"))
            })
            .await;
        }
        broke
    }

    async fn halting(&self, digest: &Digest) -> reqwest::Result<()> {
        let location = self.remote.begin(REPOSITORY).await?;
        let (first, second) = (self.blob.slice(..HALF), self.blob.slice(HALF..));
        let (halves, mut go_on) = (self.halves.clone(), self.go_on.clone());
        let rest = stream::once(async move {
            halves.send_modify(|count| *count += 1);
            let _ = go_on.wait_for(|go_on| *go_on).await;
            second
        });
        let pieces = stream::once(async move { first }).chain(rest);
        self.remote.finish(&location, digest, body(pieces)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_a_replica_that_is_killed_succeeds_when_it_is_made_again() {
    let stage = Stage::new(Role::Shared, "push").await;
    stage.apply(&registry(&stage, "team", PORT, &json!({})));
    stage.serving_at("team", PORT).await;
    both_replicas_are_reached(&stage).await;
    let blobs: Vec<Bytes> = (0..BLOBS).map(|_| random(2 * HALF)).collect();
    let watching = Watch::begin(&stage, &blobs);

    push_while_killed(&stage, &blobs).await;
    let wrong = watching.end().await;
    assert_eq!(wrong, Vec::<String>::new(), "something half-written was served");

    // Until the killed one is back, or taken away from behind the port, connections to it are refused.
    both_replicas_are_reached(&stage).await;
    is_pulled_whole(&stage.remote(PORT, "admin"), &blobs).await;
    nothing_is_half_written(&stage.data("team").await);
    within(SERVES, "both replicas serve again", async || {
        let team = stage.object("registries", "team").await;
        when(team["status"]["readyReplicas"] == 2, &team["status"])
    })
    .await;
}

/// Two processes serve. A replica that has just turned ready is not yet behind the port of every node: without it, all
/// would go to one.
async fn both_replicas_are_reached(stage: &Stage) {
    let remote = stage.remote(PORT, "admin").without_keeping();
    let mut processes = BTreeSet::new();
    within(SERVES, "both replicas are reached", async || {
        let answer = remote.request(Method::GET, "/v2/").send().await.and_then(Response::error_for_status);
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        // What is before the dash names the process.
        processes.extend(id.split('-').next().map(str::to_owned));
        when(processes.len() == 2, format!("{processes:?}"))
    })
    .await;
}

async fn push_while_killed(stage: &Stage, blobs: &[Bytes]) {
    let (halves, mut half_way) = watch::channel(0);
    let (tell, go_on) = watch::channel(false);
    let pushes = blobs.iter().map(|blob| Push {
        // A client each: connections of their own, which go to one replica or the other.
        remote: stage.remote(PORT, "admin"),
        blob: blob.clone(),
        halves: halves.clone(),
        go_on: go_on.clone(),
    });
    let killing = async {
        let all = tokio::time::timeout(3 * RETRIED, half_way.wait_for(|count| *count == BLOBS)).await;
        all.expect("every push comes half-way").unwrap();
        a_manifest_of_what_is_not_there_is_refused(stage, blobs).await;
        let victim = stage.registry_pods("team").await.remove(0);
        kill_pod(&victim.uid().unwrap());
        tell.send(true).unwrap();
    };
    let (broke, ()) = tokio::join!(join_all(pushes.map(Push::run)), killing);
    let broken = broke.into_iter().filter(|broke| *broke).count();
    println!("{broken} of {BLOBS} pushes broke and were made again");
    assert!(broken > 0, "no push went through the replica that was killed");
}

async fn a_manifest_of_what_is_not_there_is_refused(stage: &Stage, blobs: &[Bytes]) {
    let admin = stage.remote(PORT, "admin");
    let config = Bytes::from_static(b"{}");
    admin.push_blob(REPOSITORY, config.clone()).await.unwrap();
    let answer = admin.put_manifest(REPOSITORY, "v1", &manifest(&config, blobs)).await.unwrap();
    assert!(answer.status().is_client_error(), "{}", answer.status());
}

async fn is_pulled_whole(admin: &Remote, blobs: &[Bytes]) {
    let text = manifest(&Bytes::from_static(b"{}"), blobs);
    let answer = admin.put_manifest(REPOSITORY, "v1", &text).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
    for blob in blobs {
        let pulled = admin.blob(REPOSITORY, &Digest::sha256(blob)).await.unwrap();
        assert!(pulled.as_ref() == Some(blob), "{} is not what was pushed", Digest::sha256(blob));
    }
}

/// Everything that lies where blobs lie is what its name says.
fn nothing_is_half_written(data: &Path) {
    let below = |directory: &Path| std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let fans = below(&data.join("docker/registry/v2/blobs/sha256"));
    let mut count = 0;
    for blob in fans.flat_map(|fan| below(&fan).collect::<Vec<_>>()) {
        let bytes = std::fs::read(blob.join("data")).unwrap();
        let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(Digest::sha256(&bytes).hex(), name);
        count += 1;
    }
    assert!(count > BLOBS, "only {count} blobs lie in {}", data.display());
}

/// Asks for all blobs all the time: each is either there whole or not there at all.
struct Watch {
    stop: Arc<AtomicBool>,
    watching: tokio::task::JoinHandle<Vec<String>>,
}

impl Watch {
    fn begin(stage: &Stage, blobs: &[Bytes]) -> Self {
        let (stop, remote) = (Arc::new(AtomicBool::new(false)), stage.remote(PORT, "admin").without_keeping());
        let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::sha256(blob)).collect();
        let stopped = Arc::clone(&stop);
        let watching = tokio::spawn(async move {
            let (mut wrong, mut asked) = (Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                for digest in &digests {
                    asked += 1;
                    wrong.extend(look(&remote, digest).await);
                }
            }
            println!("{asked} times a blob was asked for meanwhile");
            wrong
        });
        Self { stop, watching }
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.await.unwrap()
    }
}

/// What is wrong with an answer. A connection that breaks or is refused is the killed replica's, and no answer.
async fn look(remote: &Remote, digest: &Digest) -> Option<String> {
    match remote.blob(REPOSITORY, digest).await {
        Ok(Some(bytes)) if Digest::sha256(&bytes) != *digest => Some(format!("{digest}: {} other bytes", bytes.len())),
        Ok(_) => None,
        Err(error) => error.status().map(|status| format!("{digest}: {status}")),
    }
}
