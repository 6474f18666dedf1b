//! Children: what they are, whose they are, and that they come back.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{of_kind, project, registry, secret};
use crate::support::world::World;

fn kinds_of_children() -> Vec<ApiResource> {
    vec![
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
    ]
}

/// A Registry with every option that has a child or a part of one.
fn full() -> DynamicObject {
    of_kind(
        "Registry",
        "full",
        json!({
            "managed": {
                "replicas": 2,
                "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "1Gi" } },
                "storage": { "claimTemplate": {
                    "accessModes": ["ReadWriteMany"],
                    "storageClassName": "shared",
                    "resources": { "requests": { "storage": "1Gi" } },
                    "volumeName": "disk-7",
                } },
                "expose": { "service": { "type": "NodePort", "nodePort": 30555 }, "externalURL": "https://10.0.0.1:30555" },
                "tls": { "secretRef": { "name": "certificate" } },
                "auth": {
                    "htpasswdSecretRef": { "name": "users" },
                    "admins": ["ada"],
                    "replicators": [{ "secretRef": { "name": "province" } }],
                },
            },
            "deletionPolicy": "Delete",
        }),
    )
}

/// What differs from run to run.
fn redacted(mut object: Value) -> Value {
    let meta = object["metadata"].as_object_mut().expect("metadata");
    for field in
        ["uid", "resourceVersion", "creationTimestamp", "managedFields", "namespace", "generation", "annotations"]
    {
        meta.remove(field);
    }
    object["status"] = Value::Null;
    let text = object.to_string();
    let uid = object["metadata"]["labels"]["regatta.dev/registry-uid"].as_str().unwrap_or("-").to_owned();
    let mut object: Value = serde_json::from_str(&text.replace(&uid, "<uid>")).expect("JSON");
    if object["kind"] == "Secret" {
        let keys: Vec<String> = object["data"].as_object().expect("data").keys().cloned().collect();
        object["data"] = json!(keys);
    }
    if object["kind"] == "Service" {
        object["spec"]["clusterIP"] = Value::Null;
        object["spec"]["clusterIPs"] = Value::Null;
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_every_option_has_these_children() {
    let world = World::new("children").await;
    world.create(&full()).await;
    let _operator = world.operator().await;
    world.exists::<Deployment>("full-registry").await;
    let all = world.everything(&kinds_of_children()).await;
    let all: Vec<Value> = all.into_iter().map(redacted).collect();
    let text = serde_json::to_string_pretty(&all).expect("JSON").replace(&world.namespace, "<namespace>");
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_do_not_look_like_anybody_elses() {
    let world = World::new("labels").await;
    let mut object = registry("hq");
    object.metadata.labels = Some([("app.kubernetes.io/instance".to_owned(), "argo-app".to_owned())].into());
    object.metadata.annotations = Some([("argocd.argoproj.io/tracking-id".to_owned(), "argo-app".to_owned())].into());
    world.create(&object).await;
    let _operator = world.operator().await;
    world.exists::<Deployment>("hq-registry").await;
    for child in world.everything(&kinds_of_children()).await {
        assert!(!child.to_string().contains("argo"), "{child}");
        assert!(!child["metadata"]["labels"].to_string().contains("app.kubernetes.io/instance"), "{child}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_somebody_prunes_come_back() {
    let world = World::new("prune").await;
    world.create(&registry("hq")).await;
    let _operator = world.operator().await;
    world.exists::<Deployment>("hq-registry").await;
    let selector = ListParams::default().labels("app.kubernetes.io/managed-by=regatta");
    let before = world.exists::<Deployment>("hq-registry").await.uid();
    world.api::<Service>().delete("hq-registry", &DeleteParams::default()).await.expect("a Service");
    world.api::<ServiceAccount>().delete_collection(&DeleteParams::default(), &selector).await.expect("accounts");
    world.api::<Secret>().delete_collection(&DeleteParams::default(), &selector).await.expect("Secrets");
    world.api::<Deployment>().delete_collection(&DeleteParams::background(), &selector).await.expect("Deployments");
    crate::support::eventually("the Deployment is made again", || async {
        let found = world.api::<Deployment>().get_opt("hq-registry").await.map_err(|error| error.to_string())?;
        found.filter(|found| found.uid() != before).ok_or_else(|| "absent".to_owned())
    })
    .await;
    world.exists::<Service>("hq-registry").await;
    world.exists::<ServiceAccount>("hq-registry").await;
    world.exists::<Secret>("hq-registry-keys").await;
    world.exists::<Secret>("hq-registry-replicator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_childs_name_that_somebody_else_has_is_a_conflict_and_left_alone() {
    let world = World::new("conflict").await;
    world
        .api::<Secret>()
        .create(&PostParams::default(), &secret("a-registry-keys", &[("x", "y")]))
        .await
        .expect("made");
    let object = |name: &str| json!({ "metadata": { "name": name } });
    let account: ServiceAccount = serde_json::from_value(object("b-registry")).expect("JSON");
    world.api().create(&PostParams::default(), &account).await.expect("made");
    let mut service = object("c-registry");
    service["spec"] = json!({ "ports": [{ "port": 80 }] });
    let service: Service = serde_json::from_value(service).expect("JSON");
    world.api().create(&PostParams::default(), &service).await.expect("made");
    let mut claim = object("d-registry");
    claim["spec"] = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("JSON");
    world.api().create(&PostParams::default(), &claim).await.expect("made");
    let _operator = world.operator().await;
    let mut said = vec![];
    for name in ["a", "b", "c", "d"] {
        world.create(&registry(name)).await;
        said.push(world.stalled("Registry", name, "NameConflict").await);
    }
    insta::assert_snapshot!(said.join("\n"));
    let untouched: Secret = world.api().get("a-registry-keys").await.expect("it is there");
    assert_eq!(untouched.data.expect("data").len(), 1);
    assert!(untouched.metadata.owner_references.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_another_cluster_is_delegated_and_its_secrets_are_not_looked_up() {
    let world = World::new("delegated").await;
    let mut spec = full().data["spec"].clone();
    spec["homeCluster"] = json!("elsewhere");
    spec["external"] = json!({ "url": "https://10.0.0.1:30555", "credentialsSecretRef": { "name": "absent" } });
    world.create(&of_kind("Registry", "full", spec)).await;
    let _operator = world.operator().await;
    world.condition("Registry", "full", "Ready", "True", "Delegated").await;
    assert_eq!(world.everything(&kinds_of_children()).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_is_stalled_and_disturbs_no_other() {
    let world = World::new("unreadable").await;
    let _kubelet = Kubelet::start(&world);
    let control = Control::counting();
    // Such as an object has it that was written under a schema of tomorrow.
    control.corrupt("\"public\":true", "\"public\":1234");
    let _operator = world.operator_with(&control, world.settings("undisturbed")).await;
    world.create(&registry("hq")).await;
    let spec = json!({ "registryRef": { "name": "hq" }, "name": "bad", "public": true });
    world.create(&of_kind("Project", "bad", spec)).await;
    world.create(&project("good", "hq", "good")).await;
    world.ready("Project", "good").await;
    let message = world.stalled("Project", "bad", "Unreadable").await;
    assert!(message.contains("cannot be read") && message.contains("boolean"), "{message}");
    world.delete("Project", "bad").await;
    world.create(&project("another", "hq", "another")).await;
    world.ready("Project", "another").await;
}
