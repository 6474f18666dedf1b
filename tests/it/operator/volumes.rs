//! Where a registry's data lies: the claim that the operator makes, and one that is there.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::changes::runs;
use super::unready::waiting_pod;
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::of_kind;
use crate::support::world::World;

const CLAIM: &str = "hq-registry";

/// A Registry with a claim of this size.
fn sized(size: &str, class: Option<&str>) -> DynamicObject {
    let mut template = json!({ "accessModes": ["ReadWriteMany"], "resources": { "requests": { "storage": size } } });
    if let Some(class) = class {
        template["storageClassName"] = json!(class);
    }
    of_kind("Registry", "hq", json!({ "managed": { "storage": { "claimTemplate": template } } }))
}

fn grown(size: &str) -> Value {
    json!({ "spec": { "managed": { "storage": { "claimTemplate": { "resources": { "requests": { "storage": size } } } } } } })
}

/// A class for this world alone; whether its claims may grow.
async fn class(world: &World, may_grow: bool) -> String {
    let name = format!("class-{}", world.namespace);
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
        "provisioner": "example/none", "allowVolumeExpansion": may_grow,
    });
    let params = PatchParams::apply("test").force();
    let api: Api<StorageClass> = Api::all(world.client.clone());
    api.patch(&name, &params, &Patch::Apply(class)).await.expect("a class");
    name
}

/// Gives the claim a volume.
async fn bind(world: &World) {
    world.exists::<PersistentVolumeClaim>(CLAIM).await;
    let status = json!({ "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } });
    let api = world.api::<PersistentVolumeClaim>();
    api.patch_status(CLAIM, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

async fn size(world: &World) -> String {
    let claim: PersistentVolumeClaim = world.exists(CLAIM).await;
    let requests = claim.spec.and_then(|spec| spec.resources).and_then(|resources| resources.requests);
    requests.expect("a size")["storage"].0.clone()
}

async fn has_size(world: &World, wanted: &str) {
    eventually(&format!("the claim has {wanted}"), || async {
        let size = size(world).await;
        if size == wanted { Ok(()) } else { Err(size) }
    })
    .await;
}

/// Waits until the operator has looked because it was asked to.
async fn looked(world: &World, value: &str) {
    world.request("Registry", "hq", value).await;
    eventually("the request is handled", || async {
        let found = world.kind("Registry").get("hq").await.map_err(|error| error.to_string())?;
        let status = &found.data["status"];
        if status["lastHandledRequest"] == value { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_may_not_grow_is_named_and_keeps_nothing_else_from_being_done() {
    let world = World::new("resize").await;
    let class_name = class(&world, false).await;
    world.create(&sized("1Gi", Some(&class_name))).await;
    let _operator = world.operator().await;
    bind(&world).await;
    world.roll_out("hq").await;
    world.ready("Registry", "hq").await;
    let image = "registry.example/regatta:2";
    let mut patch = grown("2Gi");
    patch["spec"]["managed"]["image"] = json!(image);
    world.patch("Registry", "hq", patch).await.expect("patched");
    let message = world.stalled("Registry", "hq", "ChildRefused").await;
    let field = "spec.managed.storage.claimTemplate.resources.requests.storage";
    assert!(message.contains(field) && message.contains("allowVolumeExpansion"), "{message}");
    runs(&world, "hq-registry", image).await;
    waiting_pod(&world, "registry", "ImagePullBackOff", "Back-off pulling image").await;
    looked(&world, "0").await;
    let message = world.stalled("Registry", "hq", "ChildRefused").await;
    let hidden = ["ImagePullBackOff: Back-off pulling image", "spec.managed.image", field];
    assert!(hidden.iter().all(|part| message.contains(part)), "{message}");
    world.roll_out("hq").await;
    looked(&world, "1").await;
    world.stalled("Registry", "hq", "ChildRefused").await;
    world.holds("Registry", "hq", "Ready", "False").await;

    class(&world, true).await;
    world.request("Registry", "hq", "2").await;
    has_size(&world, "2Gi").await;
    world.ready("Registry", "hq").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_somebody_enlarged_is_left_as_it_is() {
    let world = World::new("enlarged").await;
    let class = class(&world, true).await;
    world.create(&sized("1Gi", Some(&class))).await;
    let _operator = world.operator().await;
    bind(&world).await;
    let larger = json!({ "spec": { "resources": { "requests": { "storage": "5Gi" } } } });
    let api = world.api::<PersistentVolumeClaim>();
    api.patch(CLAIM, &PatchParams::default(), &Patch::Merge(larger)).await.expect("it may grow");
    let image = "registry.example/regatta:2";
    let mut patch = grown("2Gi");
    patch["spec"]["managed"]["image"] = json!(image);
    world.patch("Registry", "hq", patch).await.expect("patched");
    runs(&world, "hq-registry", image).await;
    world.roll_out("hq").await;
    world.ready("Registry", "hq").await;
    assert_eq!(size(&world).await, "5Gi");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_written_in_another_way_changes_nothing() {
    let world = World::new("as-written").await;
    world.create(&sized("1024Mi", None)).await;
    let control = Control::counting();
    let _operator = world.operator_with(&control, world.settings("undisturbed")).await;
    bind(&world).await;
    world.roll_out("hq").await;
    world.ready("Registry", "hq").await;
    for value in ["1", "2", "3"] {
        looked(&world, value).await;
    }
    let claim = format!("/persistentvolumeclaims/{CLAIM}");
    let changes: Vec<String> = control.log().into_iter().filter(|change| change.ends_with(&claim)).collect();
    assert_eq!(changes, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_a_volume_grows_once_it_has_one() {
    let world = World::new("unbound").await;
    let class = class(&world, true).await;
    world.create(&sized("1Gi", Some(&class))).await;
    let _operator = world.operator().await;
    world.exists::<Deployment>("hq-registry").await;
    world.patch("Registry", "hq", grown("2Gi")).await.expect("patched");
    let message = world.condition("Registry", "hq", "Ready", "False", "Progressing").await;
    assert!(message.contains("the claim hq-registry has no volume yet"), "{message}");
    bind(&world).await;
    has_size(&world, "2Gi").await;
}

/// A claim as a person makes it.
async fn claim(world: &World, name: &str, mode: &str) {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
        "spec": { "accessModes": [mode], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
    world.api().create(&PostParams::default(), &claim).await.expect("made");
}

/// A Registry on a claim of its own name that is there.
fn on_claim(name: &str, replicas: u32) -> DynamicObject {
    let storage = json!({ "existingClaim": { "name": name } });
    of_kind(
        "Registry",
        name,
        json!({ "managed": { "replicas": replicas, "storage": storage }, "deletionPolicy": "Delete" }),
    )
}

/// What a Deployment does with old pods, and the claim that its pods mount.
async fn strategy(world: &World, name: &str) -> (String, String) {
    let deployment: Deployment = world.exists(&format!("{name}-registry")).await;
    let spec = deployment.spec.expect("spec");
    let volumes = spec.template.spec.and_then(|pod| pod.volumes).expect("volumes");
    let claim = volumes.into_iter().find_map(|volume| volume.persistent_volume_claim).expect("a claim");
    (spec.strategy.and_then(|strategy| strategy.type_).expect("a strategy"), claim.claim_name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_there_is_used_as_its_access_modes_allow() {
    let world = World::new("existing").await;
    let modes = [("many", "ReadWriteMany"), ("one", "ReadWriteOnce"), ("two", "ReadWriteOnce")];
    for (name, mode) in modes.into_iter().chain([("pod", "ReadWriteOncePod"), ("reader", "ReadOnlyMany")]) {
        claim(&world, name, mode).await;
    }
    for (name, replicas) in [("many", 2), ("one", 1), ("two", 2), ("pod", 1), ("reader", 1)] {
        world.create(&on_claim(name, replicas)).await;
    }
    let _operator = world.operator().await;
    assert_eq!(strategy(&world, "many").await, ("RollingUpdate".to_owned(), "many".to_owned()));
    world.exists::<PodDisruptionBudget>("many-registry").await;
    assert_eq!(strategy(&world, "one").await, ("Recreate".to_owned(), "one".to_owned()));
    let message = world.stalled("Registry", "two", "AccessMode").await;
    assert!(message.contains("spec.managed.replicas is 2") && message.contains("existingClaim"), "{message}");
    for name in ["pod", "reader"] {
        let message = world.stalled("Registry", name, "AccessMode").await;
        assert!(message.contains("spec.managed.storage.existingClaim"), "{message}");
    }
    for (name, _) in modes {
        let found: PersistentVolumeClaim = world.exists(name).await;
        assert!(
            found.owner_references().is_empty() && found.labels().is_empty(),
            "it is not the operator's: {found:?}"
        );
        assert_eq!(
            world.api::<PersistentVolumeClaim>().get_opt(&format!("{name}-registry")).await.expect("asked"),
            None
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_missing_is_waited_for_and_then_a_persons_business() {
    let world = World::new("no-claim").await;
    world.create(&on_claim("late", 1)).await;
    let operator = world.operator().await;
    let message = world.condition("Registry", "late", "Reconciling", "True", "ClaimMissing").await;
    assert!(message.contains("spec.managed.storage.existingClaim names the claim late"), "{message}");
    claim(&world, "late", "ReadWriteOnce").await;
    world.exists::<Deployment>("late-registry").await;
    drop(operator);

    world.create(&on_claim("never", 1)).await;
    let mut settings = world.settings("undisturbed");
    settings.patience = std::time::Duration::from_secs(2);
    let _operator = world.operator_with(&Control::counting(), settings).await;
    world.stalled("Registry", "never", "ClaimMissing").await;
    claim(&world, "never", "ReadWriteOnce").await;
    world.request("Registry", "never", "1").await;
    world.exists::<Deployment>("never-registry").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_registry_is_taken_over_only_where_a_person_says_so() {
    let world = World::new("take-over").await;
    let _kubelet = Kubelet::start(&world);
    claim(&world, "hq", "ReadWriteMany").await;
    let first = world.create(&on_claim("hq", 1)).await.uid().expect("a UID");
    let _operator = world.operator().await;
    world.condition("Registry", "hq", "AccessInForce", "True", "Succeeded").await;
    world.delete("Registry", "hq").await;
    world.collect_garbage().await;
    world.create(&on_claim("hq", 1)).await;
    let message = world.condition("Registry", "hq", "AccessInForce", "False", "StoreOwnedByAnother").await;
    assert!(message.contains("regatta.dev/take-over") && message.contains(&first), "{message}");
    let annotate = async |uid: &str| {
        let annotation = json!({ "metadata": { "annotations": { "regatta.dev/take-over": uid } } });
        world.patch("Registry", "hq", annotation).await.expect("annotated");
    };
    annotate("00000000-0000-0000-0000-000000000000").await;
    looked(&world, "1").await;
    world.condition("Registry", "hq", "AccessInForce", "False", "StoreOwnedByAnother").await;
    annotate(&first).await;
    world.condition("Registry", "hq", "AccessInForce", "True", "Succeeded").await;
}
