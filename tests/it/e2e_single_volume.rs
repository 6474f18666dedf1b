//! A registry on a volume that only one node can write (ReadWriteOnce).

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::e2e_support::client::random;
use super::e2e_support::cluster::Role;
use super::e2e_support::stage::{Stage, collection, registry};

const PORT: u16 = 30610;
const LAYER: usize = 3_000_000;

fn single() -> Value {
    json!({ "replicas": 1, "storage": { "claimTemplate": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "single",
        "resources": { "requests": { "storage": "1Gi" } },
    } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_one_node_has_one_replica_that_is_replaced_and_a_collection_beside_it() {
    let stage = Stage::new(Role::Shared, "single").await;
    stage.apply(&registry(&stage, "team", PORT, &single()));
    stage.apply(&collection("team"));
    stage.serving_at("team", PORT).await;
    is_replaced_and_never_doubled(&stage).await;

    push_and_delete(&stage).await;
    let run = stage.collect(Duration::from_mins(1), "tidy", "once").await;
    println!("the run: {run}");
    assert_eq!(run["succeeded"], true, "{run}");
    assert!(run["bytesFreed"].as_u64() >= Some(LAYER as u64), "{run}");
    ran_beside_the_registry(&stage).await;
}

async fn is_replaced_and_never_doubled(stage: &Stage) {
    let deployment: Deployment = stage.get("team-registry").await;
    let spec = deployment.spec.unwrap();
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(spec.strategy.unwrap().type_.as_deref(), Some("Recreate"));
    let budget = stage.api::<PodDisruptionBudget>().get_opt("team-registry").await.unwrap();
    assert_eq!(budget, None, "a disruption budget would hold up every drain of the only node");
}

/// Leaves a layer that nothing reaches.
async fn push_and_delete(stage: &Stage) {
    let admin = stage.remote(PORT, "admin");
    let digest = admin.push_image("shop/demo", "v1", &[random(LAYER)]).await.unwrap();
    let path = format!("/v2/shop/demo/manifests/{digest}");
    let answer = admin.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

async fn ran_beside_the_registry(stage: &Stage) {
    let collectors = stage.pods("app.kubernetes.io/component=collector").await;
    let registries = stage.registry_pods("team").await;
    assert_eq!((collectors.len(), registries.len()), (1, 1));
    let node = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.clone();
    assert_eq!(node(&collectors[0]), node(&registries[0]));
    let affinity = collectors[0].spec.as_ref().unwrap().affinity.as_ref().and_then(|it| it.pod_affinity.as_ref());
    let terms = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    assert_eq!(terms.expect("it is bound to the registry's node")[0].topology_key, "kubernetes.io/hostname");
}
