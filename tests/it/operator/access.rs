//! Who may do what in a live registry, as Projects and RoleBindings have it.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use regatta::admin::client::Client;
use serde_json::json;

use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{project, registry, robot, secret};
use crate::support::world::World;

/// User name and password of the only entry of a pull secret.
pub fn credentials(secret: &Secret) -> (String, String) {
    let config = &secret.data.as_ref().expect("data")[".dockerconfigjson"].0;
    let config: serde_json::Value = serde_json::from_slice(config).expect("JSON");
    let entry = config["auths"].as_object().expect("hosts").values().next().expect("a host");
    let text = |key: &str| entry[key].as_str().expect("text").to_owned();
    (text("username"), text("password"))
}

/// Whether a registry lets somebody in.
pub async fn lets_in(kubelet: &Kubelet, registry: &str, (username, password): &(String, String)) -> bool {
    eventually("the registry answers clients", || async {
        let url = format!("{}/v2/", kubelet.serving(registry).await);
        let request = reqwest::Client::new().get(url).basic_auth(username, Some(password));
        request.send().await.map(|answer| answer.status().is_success()).map_err(|error| error.to_string())
    })
    .await
}

/// Waits until a robot is let in, or is not.
pub async fn settles(kubelet: &Kubelet, registry: &str, who: &(String, String), let_in: bool) {
    let what = format!("{} {} let in", who.0, if let_in { "is" } else { "is not" });
    eventually(&what, || async {
        let now = lets_in(kubelet, registry, who).await;
        if now == let_in { Ok(()) } else { Err(now) }
    })
    .await;
}

/// The greatest generation in the store.
pub async fn generation(client: &Client) -> u64 {
    client.access().await.expect("the registry answers").stored_generation
}

/// A namespace with a live registry, a project and a robot that is let in.
pub async fn with_robot(name: &str) -> (World, Kubelet) {
    let world = World::new(name).await;
    let kubelet = Kubelet::start(&world);
    world.create(&registry("hq")).await;
    world.create(&project("p", "hq", "app")).await;
    world.create(&robot("r", "p")).await;
    (world, kubelet)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_robot_is_let_in_while_a_binding_names_it() {
    let (world, kubelet) = with_robot("robot").await;
    let _operator = world.operator().await;
    world.ready("RoleBinding", "r").await;
    world.ready("Project", "p").await;
    world.condition("Registry", "hq", "AccessInForce", "True", "Succeeded").await;
    let pull: Secret = world.exists("r").await;
    assert_eq!(pull.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    let who = credentials(&pull);
    assert_eq!(who.0, format!("robot+{}+r", world.namespace));
    assert!(lets_in(&kubelet, "hq", &who).await, "Ready means in force");
    world.delete("RoleBinding", "r").await;
    settles(&kubelet, "hq", &who, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_there_is_taken_as_it_is() {
    let (world, kubelet) = with_robot("input").await;
    let password = "a-password-that-somebody-else-has-chosen";
    world.api().create(&PostParams::default(), &secret("r", &[("password", password)])).await.expect("made");
    let _operator = world.operator().await;
    world.ready("RoleBinding", "r").await;
    let who = (format!("robot+{}+r", world.namespace), password.to_owned());
    assert!(lets_in(&kubelet, "hq", &who).await);
    let untouched: Secret = world.exists("r").await;
    assert!(untouched.metadata.owner_references.is_none());
    let short = json!({ "stringData": { "password": "short" } });
    world.api::<Secret>().patch("r", &PatchParams::default(), &Patch::Merge(short)).await.expect("patched");
    let touched = json!({ "metadata": { "annotations": { "regatta.dev/requested-at": "1" } } });
    world.patch("RoleBinding", "r", touched).await.expect("annotated");
    let message = world.stalled("RoleBinding", "r", "SecretInvalid").await;
    assert!(message.contains("shorter than 32 characters"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stays_with_its_holder_until_it_is_released() {
    let (world, _kubelet) = with_robot("claims").await;
    let _operator = world.operator().await;
    world.ready("Project", "p").await;
    // First by name, and yet too late.
    world.create(&project("a", "hq", "app")).await;
    let message = world.stalled("Project", "a", "NameTaken").await;
    assert!(message.contains(&format!("held by the Project {}/p", world.namespace)), "{message}");
    world.delete("Project", "p").await;
    world.ready("Project", "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_revoked_because_a_list_is_slow() {
    let (world, kubelet) = with_robot("held").await;
    let first = world.operator().await;
    world.ready("RoleBinding", "r").await;
    let who = credentials(&world.exists("r").await);
    let admin = kubelet.admin("hq").await;
    let before = generation(&admin).await;
    drop(first);
    let control = Control::counting();
    control.hold_list("registryrolebindings");
    let _second = world.operator_with(&control, world.settings("undisturbed")).await;
    // Something that would be acted on at once, were it not for the list.
    world.create(&project("q", "hq", "other")).await;
    eventually("every other list has been asked for", || async {
        let asked = control.lists();
        if asked.len() >= 8 { Ok(()) } else { Err(asked) }
    })
    .await;
    assert_eq!(generation(&admin).await, before);
    assert!(lets_in(&kubelet, "hq", &who).await);
    control.release_lists();
    world.ready("Project", "q").await;
    assert!(lets_in(&kubelet, "hq", &who).await);
    assert!(generation(&admin).await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_made_again_takes_over_its_old_volume() {
    let (world, kubelet) = with_robot("again").await;
    let _operator = world.operator().await;
    world.ready("RoleBinding", "r").await;
    let who = credentials(&world.exists("r").await);
    let before = generation(&kubelet.admin("hq").await).await;
    let claim: k8s_openapi::api::core::v1::PersistentVolumeClaim = world.exists("hq-registry").await;
    world.delete("Registry", "hq").await;
    world.collect_garbage().await;
    world.create(&registry("hq")).await;
    world.condition("Registry", "hq", "AccessInForce", "True", "Succeeded").await;
    settles(&kubelet, "hq", &who, true).await;
    assert!(generation(&kubelet.admin("hq").await).await > before);
    let adopted: k8s_openapi::api::core::v1::PersistentVolumeClaim = world.exists("hq-registry").await;
    assert_eq!(adopted.metadata.uid, claim.metadata.uid, "the claim was kept");
}
