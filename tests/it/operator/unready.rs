//! Pods that do not start: why is said, and which field it comes from.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::layers::Control;
use crate::support::objects::{of_kind, registry};
use crate::support::world::{Operator, World, find_condition};

/// A Registry whose Deployment is there, and its operator.
async fn deployed(name: &str) -> (World, Operator) {
    let world = World::new(name).await;
    world.create(&registry("hq")).await;
    let operator = world.operator().await;
    world.exists::<Deployment>("hq-registry").await;
    world.exists::<ServiceAccount>("hq-registry").await;
    (world, operator)
}

/// Writes what a Deployment's controller says.
pub(super) async fn say(world: &World, registry: &str, conditions: Value) {
    let name = format!("{registry}-registry");
    let deployment: Deployment = world.exists(&name).await;
    // One pod is of the old template, and one of the new.
    let status = json!({ "status": {
        "observedGeneration": deployment.metadata.generation, "conditions": conditions, "replicas": 2,
        "updatedReplicas": 1,
    } });
    let api = world.api::<Deployment>();
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:00Z",
    })
}

/// Says of a registry's Deployment that it does not come to an end.
pub(super) async fn exceed_deadline(world: &World, registry: &str) {
    let exceeded = condition("Progressing", "False", "ProgressDeadlineExceeded", "has timed out progressing");
    say(world, registry, json!([exceeded])).await;
}

/// A pod of this component whose container waits.
pub(super) async fn waiting_pod(world: &World, component: &str, reason: &str, message: &str) {
    let deployment: Deployment = world.exists("hq-registry").await;
    let template = deployment.spec.expect("spec").template;
    let mut labels = template.metadata.and_then(|meta| meta.labels).expect("labels");
    labels.insert("app.kubernetes.io/component".to_owned(), component.to_owned());
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": component, "labels": labels }, "spec": template.spec,
    });
    let params = PatchParams::apply("kubelet").force();
    world.api::<Pod>().patch(component, &params, &Patch::Apply(&pod)).await.expect("a pod");
    let waiting = json!({ "waiting": { "reason": reason, "message": message } });
    let container = json!({
        "name": "registry", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": waiting,
    });
    let status = json!({ "status": { "phase": "Pending", "containerStatuses": [container] } });
    world.api::<Pod>().patch_status(component, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

/// Waits until a condition's message has all of this; hands it back.
async fn says(world: &World, kind: &str, parts: &[&str]) -> String {
    eventually(&format!("{kind} says {parts:?}"), || async {
        let found = world.kind("Registry").get("hq").await.map_err(|error| error.to_string())?;
        let message = find_condition(&found, kind).and_then(|it| it["message"].as_str()).unwrap_or_default().to_owned();
        if parts.iter().all(|part| message.contains(part)) {
            Ok(message)
        } else {
            Err(found.data["status"].to_string())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named_with_its_field() {
    let (world, operator) = deployed("no-image").await;
    waiting_pod(&world, "collector", "CrashLoopBackOff", "that of a collection").await;
    waiting_pod(&world, "registry", "ImagePullBackOff", "Back-off pulling image").await;
    world.request("Registry", "hq", "1").await;
    let said = ["0 of 1 pods are ready", "ImagePullBackOff: Back-off pulling image", "spec.managed.image"];
    let message = says(&world, "Ready", &said).await;
    assert!(!message.contains("that of a collection"), "{message}");
    world.holds("Registry", "hq", "Reconciling", "True").await;
    drop(operator);

    let mut settings = world.settings("undisturbed");
    settings.start_patience = Duration::ZERO;
    let _operator = world.operator_with(&Control::counting(), settings).await;
    let message = world.stalled("Registry", "hq", "NotStarted").await;
    assert!(said.iter().all(|part| message.contains(part)), "{message}");
    let status = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    world
        .api::<Pod>()
        .patch_status("registry", &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("a status");
    world.roll_out("hq").await;
    world.ready("Registry", "hq").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_made_for_too_long_is_told_with_what_it_mostly_is() {
    let (world, operator) = deployed("unmounted").await;
    waiting_pod(&world, "registry", "ContainerCreating", "").await;
    drop(operator);
    let mut settings = world.settings("undisturbed");
    settings.start_patience = Duration::ZERO;
    let _operator = world.operator_with(&Control::counting(), settings).await;
    let message = world.stalled("Registry", "hq", "NotStarted").await;
    assert!(message.contains("ContainerCreating") && message.contains("a volume cannot be mounted"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_the_cluster_does_not_let_in_are_told_with_the_field_to_change() {
    let (world, _operator) = deployed("quota").await;
    let refused = "pods \"hq-registry-x\" is forbidden: exceeded quota: small, requested: memory=1Gi";
    say(&world, "hq", json!([condition("ReplicaFailure", "True", "FailedCreate", refused)])).await;
    let message = world.stalled("Registry", "hq", "NotStarted").await;
    assert!(message.contains(refused) && message.contains("spec.managed.resources"), "{message}");
    world.roll_out("hq").await;
    world.ready("Registry", "hq").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_which_nothing_is_known_are_found_by_a_command_that_finds_no_others() {
    let world = World::new("deadline").await;
    let mut hq = registry("hq");
    hq.data["spec"]["managed"]["image"] = json!("registry.example/regatta:2");
    world.create(&hq).await;
    // Only so that there are other pods that a command might find.
    world
        .create(&of_kind("GarbageCollection", "gc", json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" })))
        .await;
    let _operator = world.operator().await;
    exceed_deadline(&world, "hq").await;
    let message = world.stalled("Registry", "hq", "ProgressDeadlineExceeded").await;
    let command = format!(
        "kubectl --namespace {} describe pods -l regatta.dev/registry=hq,app.kubernetes.io/component=registry",
        world.namespace
    );
    assert!(message.contains(&command), "{message}");
}
