//! Collections: a Job for each request and no request twice.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::objects::{of_kind, registry};
use crate::support::world::World;

async fn request(world: &World, value: &str) {
    let annotation = json!({ "metadata": { "annotations": { "regatta.dev/requested-at": value } } });
    world.patch("GarbageCollection", "gc", annotation).await.expect("annotated");
}

async fn handled(world: &World, value: &str) -> Value {
    eventually(&format!("the request {value} is handled"), || async {
        let object = world.kind("GarbageCollection").get("gc").await.map_err(|error| error.to_string())?;
        let status = object.data["status"].clone();
        if status["lastHandledRequest"] == value { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

async fn world(name: &str) -> World {
    let world = World::new(name).await;
    world.create(&registry("hq")).await;
    let spec = json!({
        "registryRef": { "name": "hq" }, "mode": "ReadOnly", "untagged": true,
        "gracePeriod": "1h30m", "undeleteWindow": "0s",
    });
    world.create(&of_kind("GarbageCollection", "gc", spec)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_runs_once_and_its_outcome_is_in_the_status() {
    let world = world("collection").await;
    let _operator = world.operator().await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Idle").await;
    request(&world, "one").await;
    let job = eventually("a Job is there", || async {
        let jobs = world.api::<Job>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        jobs.items.into_iter().next().ok_or_else(|| "no Job".to_owned())
    })
    .await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
    let container = &job.spec.as_ref().expect("spec").template.spec.as_ref().expect("pod").containers[0];
    insta::assert_snapshot!(container.args.clone().expect("arguments").join(" "));
    let kubelet = Kubelet::start(&world);
    let status = handled(&world, "one").await;
    assert_eq!(status["lastRun"]["bytesFreed"], 42);
    assert_eq!(status["lastRun"]["job"], job.name_any());
    world.condition("GarbageCollection", "gc", "LastRunSucceeded", "True", "Succeeded").await;
    for value in ["two", "three", "four", "five"] {
        request(&world, value).await;
        handled(&world, value).await;
    }
    let status = handled(&world, "five").await;
    assert_eq!(status["history"].as_array().expect("history").len(), 5);
    eventually("three good Jobs are kept", || async {
        let jobs = world.api::<Job>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: Vec<String> = jobs.items.iter().map(ResourceExt::name_any).collect();
        if names.len() == 3 { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    drop(kubelet);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_collections_of_a_registry_take_turns() {
    let world = world("turns").await;
    let mut second =
        of_kind("GarbageCollection", "second", json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" }));
    second.metadata.annotations = Some([("regatta.dev/requested-at".to_owned(), "now".to_owned())].into());
    let _operator = world.operator().await;
    request(&world, "one").await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
    world.create(&second).await;
    world.condition("GarbageCollection", "second", "Ready", "True", "RegistryBusy").await;
    let _kubelet = Kubelet::start(&world);
    handled(&world, "one").await;
    world.condition("GarbageCollection", "second", "LastRunSucceeded", "True", "Succeeded").await;
}
