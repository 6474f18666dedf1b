//! What `config/` has for people to apply is applied.

use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::e2e_support::cluster::{Cluster, Role};
use super::e2e_support::process::{in_tree, kubectl, succeed, succeed_with_input};
use super::e2e_support::stage::Stage;

/// What kustomize makes of a directory.
fn kustomize(cluster: &Cluster, directory: &str) -> String {
    succeed(kubectl(&cluster.kubeconfig).arg("kustomize").arg(in_tree(directory)))
}

/// Whether the API server takes these as they are.
fn is_taken(stage: &Stage, manifests: &str) {
    let mut apply = kubectl(&stage.cluster.kubeconfig);
    apply.args(["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"]);
    println!("{}", succeed_with_input(&mut apply, manifests));
}

/// The Secrets that the samples name.
fn secrets() -> [Value; 3] {
    let secret = |name: &str, kind: &str, data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "type": kind, "stringData": data,
        })
    };
    let users = regatta::auth::htpasswd::hash("anna", "password-of-anna").unwrap();
    let authority = rcgen::generate_simple_self_signed(["registry.example.com".to_owned()]).unwrap().cert.pem();
    [
        secret("team-users", "Opaque", json!({ "htpasswd": users })),
        secret("elsewhere-credentials", "kubernetes.io/basic-auth", json!({ "username": "to", "password": "secret" })),
        secret("elsewhere-ca", "Opaque", json!({ "ca.crt": authority })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_become_ready_together() {
    let stage = Stage::new(Role::Shared, "samples").await;
    for secret in secrets() {
        stage.apply(&secret);
    }
    // The volumes here are of 10 Gi.
    stage.apply_text(&kustomize(stage.cluster, "config/samples").replace("20Gi", "1Gi"));
    let minute = Duration::from_mins(1);
    for (plural, name) in [
        ("registries", "team"),
        ("registries", "elsewhere"),
        ("registryprojects", "shop"),
        ("registryrolebindings", "shop-developers"),
        ("replicationpolicies", "shop-elsewhere"),
        ("garbagecollections", "team"),
    ] {
        stage.condition(minute, plural, name, "Ready", "True").await;
    }
    let pull: Secret = stage.get("shop-ci").await;
    assert_eq!(pull.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sample_is_taken_as_it_is() {
    let stage = Stage::new(Role::Shared, "samples-as-they-are").await;
    let files = fs::read_dir(in_tree("config/samples")).unwrap().map(|entry| entry.unwrap().path());
    for file in
        files.filter(|file| file.extension().is_some_and(|it| it == "yaml") && !file.ends_with("kustomization.yaml"))
    {
        println!("{}", file.display());
        is_taken(&stage, &fs::read_to_string(file).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_are_taken_once_their_addresses_are_filled_in() {
    let stage = Stage::new(Role::Shared, "samples-fleet").await;
    let mut fleet = kustomize(stage.cluster, "config/samples/fleet");
    for name in ["${HQ_ADDRESS}", "${PROVINCE_ADDRESS}", "${CITY_ADDRESS}"] {
        assert!(fleet.contains(name), "{name} is not asked for any more");
        fleet = fleet.replace(name, "192.0.2.1");
    }
    is_taken(&stage, &fleet.replace("namespace: fleet", "namespace: samples-fleet"));
    for site in ["hq", "province", "city"] {
        let text = fs::read_to_string(in_tree(&format!("config/samples/one-cluster/{site}.yaml"))).unwrap();
        let values = [("${NODE_ADDRESS}", "192.0.2.1"), ("${REPLICAS}", "2"), ("${ACCESS_MODE}", "ReadWriteMany")];
        let text = values.iter().fold(text, |text, (name, value)| text.replace(name, value));
        let text = text.replace("${STORAGE_CLASS}", "shared");
        is_taken(&stage, &text.replace(&format!("namespace: {site}"), "namespace: samples-fleet"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_for_kustomize_are_taken() {
    let stage = Stage::new(Role::Shared, "samples-kustomize").await;
    is_taken(&stage, &kustomize(stage.cluster, "config/default"));
}

/// The text that config/default shows as an overlay of somebody's.
fn shown_overlay() -> String {
    let text = fs::read_to_string(in_tree("config/default/kustomization.yaml")).unwrap();
    let shown = text.lines().filter_map(|line| line.strip_prefix("#   "));
    shown.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_overlay_that_is_shown_gives_operator_and_registries_the_same_image() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(in_tree("."), directory.path().join("regatta")).unwrap();
    let overlay = directory.path().join("overlay");
    fs::create_dir(&overlay).unwrap();
    fs::write(overlay.join("kustomization.yaml"), shown_overlay()).unwrap();
    let built = succeed(kubectl(Path::new("/dev/null")).arg("kustomize").arg(&overlay));
    let objects: Vec<Value> = serde_yaml::from_multiple(&built).unwrap();
    let operator = objects.iter().find(|object| object["kind"] == "Deployment").expect("the operator");
    let container = &operator["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap();
    assert!(image.starts_with("registry.example.com/regatta:"), "{image}");
    let arguments: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for expected in ["operator", &format!("--registry-image={image}"), "--cluster-name=hq"] {
        assert!(arguments.contains(&expected), "{expected}: {arguments:?}");
    }
}
