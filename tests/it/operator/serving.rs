//! Ready means accepted and set up: what was set up stays so while a pod is away.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::eventually;
use crate::support::objects::{of_kind, registry};
use crate::support::world::{World, find_condition};

/// Says of the Deployment, as it is now, that so many of its two pods are ready.
async fn pods_are_ready(world: &World, count: i32) {
    let deployment: Deployment = world.exists("hq-registry").await;
    let status = json!({ "status": {
        "observedGeneration": deployment.metadata.generation,
        "replicas": 2, "updatedReplicas": 2, "readyReplicas": count, "availableReplicas": count,
    } });
    let api = world.api::<Deployment>();
    api.patch_status("hq-registry", &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

/// Waits until the Registry counts so many ready pods; whether it is Ready, whether it is Reconciling, and the message.
async fn counts(world: &World, count: i32) -> (bool, bool, String) {
    let object = eventually(&format!("{count} pods are counted"), || async {
        let object = world.kind("Registry").get("hq").await.map_err(|error| json!(error.to_string()))?;
        let status = &object.data["status"];
        if status["readyReplicas"] == count { Ok(object) } else { Err(status.clone()) }
    })
    .await;
    let ready = find_condition(&object, "Ready").expect("a condition").clone();
    let reconciling = find_condition(&object, "Reconciling").is_some();
    (ready["status"] == "True", reconciling, ready["message"].as_str().expect("a message").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_ready_while_one_of_its_pods_is_away_and_not_while_all_are() {
    let world = World::new("away").await;
    let mut spec = registry("hq").data["spec"].clone();
    spec["managed"]["replicas"] = json!(2);
    world.create(&of_kind("Registry", "hq", spec)).await;
    let _operator = world.operator().await;
    pods_are_ready(&world, 1).await;
    let (ready, reconciling, message) = counts(&world, 1).await;
    assert!(!ready && reconciling, "it has not been set up yet: {message}");
    pods_are_ready(&world, 2).await;
    world.ready("Registry", "hq").await;

    pods_are_ready(&world, 1).await;
    let (ready, reconciling, message) = counts(&world, 1).await;
    assert!(ready && !reconciling && message.ends_with("1 of 2 pods are ready"), "{ready} {reconciling} {message}");
    pods_are_ready(&world, 0).await;
    let (ready, reconciling, message) = counts(&world, 0).await;
    assert!(!ready && reconciling, "nothing serves: {message}");
    pods_are_ready(&world, 2).await;
    world.ready("Registry", "hq").await;

    let changed = json!({ "spec": { "managed": { "image": "registry.example/regatta:2" } } });
    world.patch("Registry", "hq", changed).await.expect("changed");
    world.condition("Registry", "hq", "Ready", "False", "Progressing").await;
    pods_are_ready(&world, 2).await;
    world.ready("Registry", "hq").await;
}
