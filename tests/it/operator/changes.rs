//! Ready is about the spec of now, also when the API server does not do what it is asked.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use super::access::with_robot;
use crate::support::eventually;
use crate::support::layers::Control;
use crate::support::objects::registry;
use crate::support::world::{Operator, World};

const DEPLOYMENT: &str = "/deployments/hq-registry";

/// A Registry that is Ready, and what stands between its operator and the API server.
async fn ready(name: &str) -> (World, Control, Operator) {
    let world = World::new(name).await;
    world.create(&registry("hq")).await;
    let control = Control::counting();
    let operator = world.operator_with(&control, world.settings("undisturbed")).await;
    world.roll_out("hq").await;
    world.ready("Registry", "hq").await;
    (world, control, operator)
}

/// Waits until a Deployment's pods are to run this image.
pub(super) async fn runs(world: &World, name: &str, image: &str) {
    eventually(&format!("{name} runs {image}"), || async {
        let found = world.api::<Deployment>().get(name).await.map_err(|error| error.to_string())?;
        let pod = found.spec.and_then(|spec| spec.template.spec).ok_or_else(|| "no pod".to_owned())?;
        let has = pod.containers[0].image.clone().unwrap_or_default();
        if has == image { Ok(()) } else { Err(has) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_change_could_not_be_made_is_not_ready_until_it_is_made() {
    let (world, control, _operator) = ready("change").await;
    control.refuse(&[DEPLOYMENT]);
    let image = "registry.example/regatta:2";
    world.patch("Registry", "hq", json!({ "spec": { "managed": { "image": image } } })).await.expect("patched");
    world.condition("Registry", "hq", "Ready", "False", "Retrying").await;
    control.relent();
    runs(&world, "hq-registry", image).await;
    // A pod of the old image is ready, which says nothing of the new one.
    world.condition("Registry", "hq", "Ready", "False", "Progressing").await;
    world.roll_out("hq").await;
    world.ready("Registry", "hq").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_was_set_up_stays_ready_through_an_error() {
    let (world, control, _operator) = ready("unchanged").await;
    control.refuse(&[DEPLOYMENT]);
    world.request("Registry", "hq", "1").await;
    world.condition("Registry", "hq", "Ready", "True", "Retrying").await;
    control.relent();
    world.ready("Registry", "hq").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_new_pods_do_not_start_is_not_ready_because_old_ones_serve() {
    let (world, _control, _operator) = ready("stuck").await;
    let image = "registry.example/regatta:2";
    world.patch("Registry", "hq", json!({ "spec": { "managed": { "image": image } } })).await.expect("patched");
    runs(&world, "hq-registry", image).await;
    super::unready::exceed_deadline(&world, "hq").await;
    world.stalled("Registry", "hq", "ProgressDeadlineExceeded").await;
    world.holds("Registry", "hq", "Ready", "False").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_whose_change_could_not_be_made_is_not_ready_until_it_is_made() {
    let (world, _kubelet) = with_robot("binding-change").await;
    let control = Control::counting();
    let _operator = world.operator_with(&control, world.settings("undisturbed")).await;
    world.ready("RoleBinding", "r").await;
    control.refuse(&["/secrets/r"]);
    world.patch("RoleBinding", "r", json!({ "spec": { "role": "guest" } })).await.expect("patched");
    world.condition("RoleBinding", "r", "Ready", "False", "Retrying").await;
    control.relent();
    world.ready("RoleBinding", "r").await;
}
