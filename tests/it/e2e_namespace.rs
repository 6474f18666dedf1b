//! A namespace with everything in it: all its pods are admitted at the strictest level, and it goes when it is told to.

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

use super::e2e_support::client::random;
use super::e2e_support::cluster::{RESTRICTED, Role, SYSTEM};
use super::e2e_support::process::kubectl;
use super::e2e_support::stage::{Stage, collection, guests, project, registry, replication};
use super::e2e_support::waiting::{when, within};

/// How soon a namespace goes.
const GOES: Duration = Duration::from_mins(1);

/// All five kinds, all of them at work: two registries, one replicating to the other, and a collection that ran.
async fn everything(name: &str, port: u16) -> Stage {
    let stage = Stage::new(Role::Shared, name).await;
    stage.apply(&registry(&stage, "hub", port, &json!({})));
    stage.apply(&registry(&stage, "leaf", port + 1, &json!({ "replicas": 1 })));
    for object in [project("hub"), guests(), replication("hub", "leaf"), collection("hub")] {
        stage.apply(&object);
    }
    stage.serving_at("hub", port).await;
    stage.serving_at("leaf", port + 1).await;
    let layer: Bytes = random(100_000);
    stage.remote(port, "admin").push_image("shop/demo", "v1", &[layer]).await.unwrap();
    stage.condition(Duration::from_mins(1), "replicationpolicies", "follow", "Synced", "True").await;
    let run = stage.collect(Duration::from_mins(1), "tidy", "now").await;
    assert_eq!(run["succeeded"], true, "{run}");
    stage
}

async fn goes(stage: &Stage) {
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces.delete(&stage.namespace, &DeleteParams::default()).await.unwrap();
    within(GOES, &format!("the namespace {} is gone", stage.namespace), async || {
        match namespaces.get_opt(&stage.namespace).await {
            Ok(None) => Ok(()),
            Ok(Some(found)) => Err(serde_json::to_string(&found.status).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_everything_in_it_goes() {
    let stage = everything("goes", 30600).await;
    goes(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_also_when_its_pods_went_first() {
    let stage = everything("goes-without-pods", 30602).await;
    stage.kubectl(&["delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false"]);
    goes(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_admitted_where_the_restricted_level_is_enforced() {
    let stage = everything("restricted", 30604).await;
    refuses_what_is_not_restricted(&stage);
    for component in ["registry", "replicator", "collector"] {
        let pods = stage.pods(&format!("app.kubernetes.io/component={component}")).await;
        assert!(!pods.is_empty(), "no pod of a {component} is there");
        println!("{component}: {:?}", pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
    }
    nothing_was_refused(&stage).await;
    the_operator_is_there_too(&stage).await;
}

/// Else the rest would show nothing.
fn refuses_what_is_not_restricted(stage: &Stage) {
    let mut command = kubectl(&stage.cluster.kubeconfig);
    command.args(["--namespace", &stage.namespace, "run", "lax", "--image=any.invalid/any", "--dry-run=server"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("violates PodSecurity"), "{said}");
}

async fn nothing_was_refused(stage: &Stage) {
    let events = stage.api::<Event>().list(&ListParams::default()).await.unwrap().items;
    let refused = events.iter().filter(|event| event.reason.as_deref() == Some("FailedCreate"));
    let refused: Vec<_> = refused.filter_map(|event| event.message.clone()).collect();
    assert_eq!(refused, Vec::<String>::new());
}

async fn the_operator_is_there_too(stage: &Stage) {
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let labels = namespaces.get(SYSTEM).await.unwrap();
    assert_eq!(labels.labels().get(RESTRICTED[0].0).map(String::as_str), Some(RESTRICTED[0].1));
    within(Duration::from_mins(1), "two pods of the operator are ready", async || {
        let pods: Api<Pod> = Api::namespaced(stage.client.clone(), SYSTEM);
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        when(pods.iter().filter(|pod| is_ready(pod)).count() == 2, format!("{} pods", pods.len()))
    })
    .await;
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
