//! The operator is upgraded by Helm from the chart of an older release, whose definitions lack a field, while clients
//! pull: none of them notices, nothing of the fleet is made anew, and the field works afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::e2e_support::client::random;
use super::e2e_support::cluster::{Cluster, Role, SYSTEM};
use super::e2e_support::process::{in_tree, kubectl, succeed};
use super::e2e_support::puller::{REPOSITORY, pull_meanwhile};
use super::e2e_support::stage::{Stage, guests, project, registry};
use super::e2e_support::waiting::{when, within};

const PORT: u16 = 30640;
/// What the newer release's image is called.
const NEW_IMAGE: &str = "localhost/regatta:newer";
/// What the older release did not have: whether everybody may pull from a Project.
const FIELD: &str = "public";
/// The operator's pods are rolled, and after them the registry's, which drain for 10 s each.
const UPGRADED: Duration = Duration::from_mins(2);

const PROJECTS: &str = "registryprojects.regatta.dev";
const SCHEMA_VERSION: &str = "regatta.dev/schema-version";

#[tokio::test(flavor = "multi_thread")]
async fn who_pulls_while_the_operator_is_upgraded_by_helm_sees_no_error_and_a_new_field_works() {
    let older = older_chart();
    let chart = older.path().to_path_buf();
    tokio::task::spawn_blocking(move || install_the_older(&chart)).await.unwrap();
    let stage = Stage::new(Role::Upgraded, "upgrade").await;
    for object in [registry(&stage, "team", PORT, &json!({})), project("team"), guests()] {
        stage.apply(&object);
    }
    stage.serving_at("team", PORT).await;
    stage.condition(Duration::from_mins(1), "registryrolebindings", "guests", "Ready", "True").await;
    stage.remote(PORT, "admin").push_image(REPOSITORY, "v1", &[random(1_000_000), random(1_000)]).await.unwrap();
    make_public(&stage);
    assert_eq!(
        stage.object("registryprojects", "shop").await["spec"][FIELD],
        Value::Null,
        "the older release knows it"
    );
    assert_eq!(anonymous_pull(&stage).await.unwrap(), 401);
    let before = uids(&stage);

    let seen = pull_meanwhile(&stage, PORT, async || upgrade(&stage).await).await;
    seen.without_error();

    assert_eq!(uids(&stage), before, "something was made anew");
    make_public(&stage);
    within(Duration::from_secs(30), "everybody may pull from the Project", async || {
        let status = anonymous_pull(&stage).await.map_err(|error| error.to_string())?;
        when(status == 200, status)
    })
    .await;
}

/// The tree's chart as an older release would have been: without the field, and with a version of its own.
fn older_chart() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(&in_tree("charts/regatta"), directory.path());
    let path = directory.path().join("files/crds/registryprojects.yaml");
    let mut definition: Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let fields = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = definition.pointer_mut(fields).and_then(Value::as_object_mut).unwrap();
    assert!(fields.remove(FIELD).is_some(), "the definition has no {FIELD}: choose another field for this test");
    // JSON is YAML.
    fs::write(&path, definition.to_string()).unwrap();
    let path = directory.path().join("Chart.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let version = text.lines().find(|line| line.starts_with("version:")).unwrap();
    fs::write(&path, text.replace(version, "version: 0.0.1")).unwrap();
    directory
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry: PathBuf = entry.unwrap().path();
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

/// The older release is this one's operator over definitions that lack the field. That they are of an older schema is
/// written to them only once it runs: it looks at the start, and would not be content with them.
fn install_the_older(chart: &Path) {
    let cluster = Role::Upgraded.cluster();
    cluster.load_renamed(NEW_IMAGE);
    cluster.install_operator(chart, &[]);
    let annotation = format!("{SCHEMA_VERSION}=0");
    succeed(kubectl(&cluster.kubeconfig).args(["annotate", "--overwrite", "crd", PROJECTS, &annotation]));
}

/// Until operator and registry run the newer image only, over the newer definitions.
async fn upgrade(stage: &Stage) {
    let cluster = stage.cluster;
    let (repository, tag) = NEW_IMAGE.split_once(':').unwrap();
    let values = [format!("image.repository={repository}"), format!("image.tag={tag}")];
    let install = move || {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        cluster.install_operator(&in_tree("charts/regatta"), &values);
    };
    tokio::task::spawn_blocking(install).await.unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    let definition = definitions.get(PROJECTS).await.unwrap();
    assert_ne!(definition.metadata.annotations.unwrap()[SCHEMA_VERSION], "0", "the definitions are the older ones");
    within(UPGRADED, "operator and registry run the newer image, and no other", async || {
        let operators: Api<Pod> = Api::namespaced(stage.client.clone(), SYSTEM);
        let mut pods = stage.registry_pods("team").await;
        pods.extend(operators.list(&ListParams::default()).await.unwrap().items);
        let images: Vec<_> = pods.iter().map(image).collect();
        when(images == [Some(NEW_IMAGE); 4], format!("{images:?}"))
    })
    .await;
    stage.serving("team").await;
}

fn image(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.containers.first()?.image.as_deref()
}

fn make_public(stage: &Stage) {
    // Not validated: an older release's definition has the field pruned, with a warning, as for any client of before.
    let patch = json!({ "spec": { FIELD: true } }).to_string();
    stage.kubectl(&["patch", "registryproject", "shop", "--type=merge", "--patch", &patch]);
}

async fn anonymous_pull(stage: &Stage) -> Result<u16, reqwest::Error> {
    let Cluster { address, .. } = stage.cluster;
    let base = format!("http://{address}:{PORT}");
    let token = reqwest::get(format!("{base}/token?service=any&scope=repository:{REPOSITORY}:pull")).await?;
    let token: Value = token.json().await.unwrap_or_default();
    let url = format!("{base}/v2/{REPOSITORY}/manifests/v1");
    let request = reqwest::Client::new().get(url).bearer_auth(token["token"].as_str().unwrap_or_default());
    Ok(request.send().await?.status().as_u16())
}

/// Of what a person would miss: the objects of the fleet, and what holds or serves their data.
fn uids(stage: &Stage) -> Vec<String> {
    let kinds = "registries.regatta.dev,registryprojects.regatta.dev,registryrolebindings.regatta.dev,\
                 deployments,services,persistentvolumeclaims,secrets";
    let found = stage.kubectl(&[
        "get",
        kinds,
        "-o",
        "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}",
    ]);
    found.lines().map(str::to_owned).collect()
}
