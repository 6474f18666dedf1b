//! What is said to be in force is in force: in this Registry, for this Project, and not in one that had the name before.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::access::{credentials, settles, with_robot};
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::objects::{project, registry};
use crate::support::world::{World, find_condition};

/// Waits until an object says something else than this of its being ready, of what it is now; its status.
async fn says_other_than(world: &World, kind: &str, name: &str, reason: &str) -> Value {
    let api = world.kind(kind);
    eventually(&format!("{kind} {name} says something else than {reason}"), || async {
        let object = api.get(name).await.map_err(|error| json!(error.to_string()))?;
        let said = find_condition(&object, "Ready").map(|found| found["reason"].clone()).unwrap_or_default();
        let status = object.data["status"].clone();
        if said.is_null() || said == reason { Err(status) } else { Ok(status) }
    })
    .await
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().expect("conditions");
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_made_again_is_not_in_force_before_the_registry_says_so() {
    let (world, kubelet) = with_robot("project-again").await;
    let _operator = world.operator().await;
    world.ready("RoleBinding", "r").await;
    let who = credentials(&world.exists("r").await);
    world.delete("Project", "p").await;
    world.condition("RoleBinding", "r", "Ready", "False", "ReferenceNotFound").await;
    let without = world.kind("RoleBinding").get("r").await.expect("it is there");
    assert_eq!(without.data["status"]["registries"], Value::Null, "it is in force nowhere");
    settles(&kubelet, "hq", &who, false).await;

    kubelet.freeze("hq").await;
    world.create(&project("p", "hq", "app")).await;
    let status = says_other_than(&world, "RoleBinding", "r", "ReferenceNotFound").await;
    assert!(!is_ready(&status), "nobody has acknowledged it: {status:#}");
    kubelet.thaw("hq").await;
    world.ready("RoleBinding", "r").await;
    settles(&kubelet, "hq", &who, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_was_replaced_while_nobody_looked_has_nothing_in_force() {
    let (world, kubelet) = with_robot("registry-again").await;
    let operator = world.operator().await;
    world.ready("Project", "p").await;
    world.ready("RoleBinding", "r").await;
    drop((operator, kubelet));
    world.delete("Registry", "hq").await;
    world.collect_garbage().await;
    world.create(&registry("hq")).await;
    // Something that only the next operator can have made: it has looked.
    let _operator = world.operator().await;
    world.exists::<Deployment>("hq-registry").await;
    for (kind, name) in [("Project", "p"), ("RoleBinding", "r")] {
        let status = says_other_than(&world, kind, name, "Succeeded").await;
        assert!(!is_ready(&status), "{kind}: the registry has no pod: {status:#}");
    }
    let _kubelet = Kubelet::start(&world);
    world.ready("Project", "p").await;
    world.ready("RoleBinding", "r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_was_replaced_while_nobody_looked_has_nothing_in_force() {
    let (world, kubelet) = with_robot("project-replaced").await;
    let operator = world.operator().await;
    world.ready("RoleBinding", "r").await;
    drop(operator);
    kubelet.freeze("hq").await;
    world.delete("Project", "p").await;
    world.create(&project("p", "hq", "app")).await;
    let _operator = world.operator().await;
    let status = says_other_than(&world, "RoleBinding", "r", "Succeeded").await;
    assert!(!is_ready(&status), "{status:#}");
    kubelet.thaw("hq").await;
    world.ready("RoleBinding", "r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_in_a_project_that_does_not_hold_its_name_is_stalled() {
    let (world, kubelet) = with_robot("name-lost").await;
    let _operator = world.operator().await;
    world.ready("RoleBinding", "r").await;
    let who = credentials(&world.exists("r").await);
    world.create(&project("q", "hq", "app")).await;
    world.delete("Project", "p").await;
    world.ready("Project", "q").await;
    world.create(&project("p", "hq", "app")).await;
    world.stalled("Project", "p", "NameTaken").await;
    let message = world.stalled("RoleBinding", "r", "NameTaken").await;
    let holder = format!("the Project {}/q", world.namespace);
    assert!(message.contains("spec.projectRef names the Project p") && message.contains(&holder), "{message}");
    settles(&kubelet, "hq", &who, false).await;
    world.delete("Project", "q").await;
    world.ready("RoleBinding", "r").await;
    settles(&kubelet, "hq", &who, true).await;
}
