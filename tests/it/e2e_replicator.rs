//! The replicator is killed half-way, and goes on without moving a finished blob again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use kube::ResourceExt;
use regatta::oci::Digest;
use serde_json::{Value, json};

use super::e2e_support::client::{Remote, config, random};
use super::e2e_support::cluster::Role;
use super::e2e_support::process::kill_pod;
use super::e2e_support::stage::{Stage, registry, replication};
use super::e2e_support::waiting::{when, within};

const PORT: u16 = 30640;
const IMAGES: usize = 6;
const LAYERS: usize = 8;
const LAYER: usize = 3_000_000;
/// The replicator is killed when so many blobs are done.
const KILLED_AT: usize = 12;
/// How soon all of it is there: the pod's start, a compare, and a copy.
const COPIED: Duration = Duration::from_mins(1);

/// What was pushed to the source.
struct Pushed {
    blobs: Vec<Digest>,
    manifests: Vec<Digest>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicator_that_is_killed_moves_no_finished_blob_again() {
    let stage = Stage::new(Role::Shared, "replicator").await;
    let one = json!({ "replicas": 1 });
    stage.apply(&registry(&stage, "hub", PORT, &one));
    stage.apply(&registry(&stage, "leaf", PORT + 1, &one));
    stage.serving_at("hub", PORT).await;
    stage.serving_at("leaf", PORT + 1).await;
    let pushed = push(&stage.remote(PORT, "admin")).await;
    let data = stage.data("leaf").await;

    stage.apply(&replication("hub", "leaf"));
    kill_half_way(&stage, &data, &pushed.blobs).await;
    let finished = blobs_stored(&stage).await;

    all_is_there(&stage, &pushed).await;
    let (stored, pushed) = (blobs_stored(&stage).await, pushed.blobs.len());
    println!("{finished} of {pushed} blobs were finished when it was killed; {stored} were stored until the end");
    assert!(finished < pushed, "it was killed too late: everything was there");
    // What was on its way at that moment was either answered with 201, and is there, or its request was given up (499)
    // and it is moved again: one that was finished would be counted twice.
    assert!(stored <= pushed, "{stored} blobs were stored, and there are {pushed}: some were moved twice");
    was_killed_indeed(&stage).await;
}

async fn push(hub: &Remote) -> Pushed {
    let images: Vec<Vec<Bytes>> = (0..IMAGES).map(|_| (0..LAYERS).map(|_| random(LAYER)).collect()).collect();
    let tags: Vec<String> = (0..IMAGES).map(|each| format!("v{each}")).collect();
    let pushes = images.iter().zip(&tags).map(|(layers, tag)| hub.push_image("shop/demo", tag, layers));
    let manifests = join_all(pushes).await.into_iter().map(Result::unwrap).collect();
    let blobs = images.into_iter().flatten().chain(tags.iter().map(|tag| config(tag)));
    Pushed { blobs: blobs.map(|blob| Digest::sha256(&blob)).collect(), manifests }
}

/// How many of these lie whole on the destination's volume: what is there by its name is whole.
fn done(data: &Path, blobs: &[Digest]) -> usize {
    blobs.iter().filter(|digest| place(data, digest).exists()).count()
}

fn place(data: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    data.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
}

async fn kill_half_way(stage: &Stage, data: &Path, blobs: &[Digest]) {
    let replicator = within(COPIED, "the replicator's pod is there", async || {
        let mut pods = stage.pods("app.kubernetes.io/component=replicator").await;
        pods.pop().ok_or("no pod")
    })
    .await;
    // Looked at more often than anything else here: half a second later all would be there.
    let data = data.to_owned();
    let (blobs, uid) = (blobs.to_vec(), replicator.uid().unwrap());
    let killing = tokio::task::spawn_blocking(move || {
        let began = std::time::Instant::now();
        while done(&data, &blobs) < KILLED_AT {
            assert!(began.elapsed() < COPIED * 3, "only {} blobs came", done(&data, &blobs));
            std::thread::sleep(Duration::from_millis(2));
        }
        kill_pod(&uid);
    });
    killing.await.unwrap();
}

/// How many blobs the destination says that it stored, by its access log.
async fn blobs_stored(stage: &Stage) -> usize {
    let mut count = 0;
    for pod in stage.registry_pods("leaf").await {
        let log = stage.kubectl(&["logs", &pod.name_any()]);
        count += log.lines().filter(|line| stored_a_blob(line)).count();
    }
    count
}

fn stored_a_blob(line: &str) -> bool {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
    line["method"] == "PUT"
        && line["status"] == 201
        && line["path"].as_str().is_some_and(|path| path.contains("/blobs/uploads/"))
}

async fn all_is_there(stage: &Stage, pushed: &Pushed) {
    let leaf = stage.remote(PORT + 1, "admin");
    within(COPIED, "every tag is at the destination", async || {
        let mut there = 0;
        for (each, digest) in pushed.manifests.iter().enumerate() {
            let path = format!("/v2/shop/demo/manifests/v{each}");
            let answer = leaf.request(reqwest::Method::HEAD, &path).send().await.map_err(|error| error.to_string())?;
            let found = answer.headers().get("docker-content-digest").and_then(|it| it.to_str().ok());
            there += usize::from(found == Some(digest.as_str()));
        }
        when(there == pushed.manifests.len(), format!("{there} tags"))
    })
    .await;
    stage.condition(COPIED, "replicationpolicies", "follow", "Synced", "True").await;
}

async fn was_killed_indeed(stage: &Stage) {
    let replicators = stage.pods("app.kubernetes.io/component=replicator").await;
    let statuses = replicators.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    let restarts: i32 = statuses.flatten().map(|status| status.restart_count).sum();
    assert!(restarts >= 1, "the replicator was not started again");
}
