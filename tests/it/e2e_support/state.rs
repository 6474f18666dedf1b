//! The state that a scenario ends in, without what differs between two namespaces: names of the namespace, UIDs,
//! addresses, times, counters.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use regatta::admin::{AccessDocument, SignedDocument};
use regex::Regex;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::stage::{KINDS, Stage};

/// What the operator makes.
const CHILDREN: &str = "deployments,services,serviceaccounts,persistentvolumeclaims,poddisruptionbudgets,jobs";

/// What no operator decides: by the last part of a field's name.
const CHOSEN_BY_THE_CLUSTER: [&str; 4] = ["clusterIP", "clusterIPs", "volumeName", "nodePort"];

/// Everything that a scenario made, by kind and name.
pub async fn state(stage: &Stage) -> BTreeMap<String, String> {
    let found = stage.kubectl(&["get", &format!("{KINDS},{CHILDREN}"), "-o", "json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let mut made: BTreeMap<String, String> = found["items"].as_array().unwrap().iter().map(described).collect();
    secrets(stage, &mut made).await;
    for (registry, document) in documents(stage.cluster, &stage.api()).await {
        made.insert(format!("access of {registry}"), content(&document).to_string());
    }
    let ids = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    let neutral = |text: &String| ids.replace_all(&text.replace(&stage.namespace, "NAMESPACE"), "UID").into_owned();
    made.iter().map(|(name, text)| (neutral(name), neutral(text))).collect()
}

fn described(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let owners: Vec<_> = owners.map(|owner| text(&owner["name"])).collect();
    let mut spec = object["spec"].clone();
    forget(&mut spec);
    let described = json!({
        "spec": spec, "owners": owners, "labels": object["metadata"]["labels"], "conditions": conditions(object),
    });
    (format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"])), described.to_string())
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !CHOSEN_BY_THE_CLUSTER.contains(&name.as_str()));
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Of our own kinds only: those of Kubernetes' kinds are Kubernetes' business.
fn conditions(object: &Value) -> Vec<String> {
    if object["apiVersion"] != "regatta.dev/v1alpha1" {
        return Vec::new();
    }
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut conditions: Vec<_> =
        conditions.map(|it| format!("{}={} {}", it["type"], it["status"], it["reason"])).collect();
    conditions.sort();
    conditions
}

async fn secrets(stage: &Stage, made: &mut BTreeMap<String, String>) {
    for secret in stage.api::<Secret>().list(&ListParams::default()).await.unwrap() {
        let keys: Vec<_> = secret.data.iter().flat_map(BTreeMap::keys).collect();
        made.insert(format!("Secret {}", secret.name_any()), format!("{:?} {keys:?}", secret.type_));
    }
}

/// The newest access document of every registry in a namespace, by the name of its claim.
pub async fn documents(cluster: &Cluster, claims: &Api<PersistentVolumeClaim>) -> BTreeMap<String, AccessDocument> {
    let claims = claims.list(&ListParams::default()).await.map(|claims| claims.items).unwrap_or_default();
    let bound = claims.into_iter().filter(|claim| claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_some()));
    let newest = bound.filter_map(|claim| Some((claim.name_any(), newest(&cluster.data_of(&claim))?)));
    newest.collect()
}

/// Inverted numbers are names, so that the newest comes first.
fn newest(data: &Path) -> Option<AccessDocument> {
    let versions = std::fs::read_dir(data.join("regatta/v1/access")).ok()?;
    let names = versions.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.filter(|name| name.len() == 16).min()?;
    let text = std::fs::read(data.join("regatta/v1/access").join(name)).ok()?;
    serde_json::from_slice::<SignedDocument>(&text).ok()?.read_unverified().ok()
}

/// What a document grants, without how often it was written and by whom.
fn content(document: &AccessDocument) -> Value {
    let robots: Vec<_> = document.robots.iter().map(|robot| (&robot.name, robot.secret_sha256.len())).collect();
    let projects = document.projects.iter().map(|project| {
        let mut grants: Vec<_> = project.bindings.iter().map(|binding| json!(binding.grant).to_string()).collect();
        grants.sort();
        json!({ "name": project.name, "owner": project.owner.name, "public": project.public, "grants": grants })
    });
    json!({ "projects": projects.collect::<Vec<_>>(), "robots": robots })
}
