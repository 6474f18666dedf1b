//! A Registry's image is changed while clients pull: none of them notices more than a refused connection, which real
//! clients try once more.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::e2e_support::client::random;
use super::e2e_support::cluster::Role;
use super::e2e_support::puller::{REPOSITORY, pull_meanwhile};
use super::e2e_support::stage::{Stage, guests, project, registry};
use super::e2e_support::waiting::{when, within};

const PORT: u16 = 30620;
/// The very same image under another name: what is rolled is all the same to Kubernetes.
const NEW_IMAGE: &str = "localhost/regatta:renamed";
/// Old pods drain for 10 s, one after the other.
const ROLLS: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn who_pulls_while_the_image_changes_sees_no_error() {
    let stage = Stage::new(Role::Shared, "image-change").await;
    for object in [registry(&stage, "team", PORT, &json!({})), project("team"), guests()] {
        stage.apply(&object);
    }
    let renamed = tokio::task::spawn_blocking(|| Role::Shared.cluster().load_renamed(NEW_IMAGE)).await;
    renamed.unwrap();
    stage.serving_at("team", PORT).await;
    stage.condition(Duration::from_mins(1), "registryrolebindings", "guests", "Ready", "True").await;
    let layers = [random(1_000_000), random(300_000), random(1_000)];
    stage.remote(PORT, "admin").push_image(REPOSITORY, "v1", &layers).await.unwrap();

    let seen = pull_meanwhile(&stage, PORT, async || change_image(&stage).await).await;
    seen.without_error();
}

/// Until every pod runs the new image and the old ones are gone.
async fn change_image(stage: &Stage) {
    let patch = json!({ "spec": { "managed": { "image": NEW_IMAGE } } }).to_string();
    stage.kubectl(&["patch", "registry", "team", "--type=merge", "--patch", &patch]);
    within(ROLLS, "two pods run the new image, and no other", async || {
        let pods = stage.registry_pods("team").await;
        let images: Vec<_> = pods.iter().filter_map(image).collect();
        when(images == [NEW_IMAGE, NEW_IMAGE], format!("{images:?}"))
    })
    .await;
    stage.serving("team").await;
}

fn image(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.containers.first()?.image.as_deref()
}
