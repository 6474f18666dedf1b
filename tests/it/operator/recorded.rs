//! What the operator writes of each kind in each state is what the health checks for Argo CD and Flux are tested over:
//! `e2e/health/testdata/<kind>/<state>.yaml`. With `REGATTA_RECORD` set, the files are written anew.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, PostParams};
use regatta::admin::EdgeState;
use regex::Regex;
use serde_json::{Value, json};

use super::collections::fail;
use super::edges::status;
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{external, of_kind, project, registry, secret};
use crate::support::world::World;

/// What is recorded has not changed for so long.
const QUIET: Duration = Duration::from_secs(3);

pub(super) const KINDS: [&str; 5] = ["Registry", "Project", "RoleBinding", "ReplicationPolicy", "GarbageCollection"];

/// An object of each kind as it is where all is well, named after the state that it will be in.
pub(super) fn object(kind: &str, state: &str) -> DynamicObject {
    match kind {
        "Registry" => registry(state),
        "Project" => project(state, "hq", state),
        "RoleBinding" => binding(state, &json!({ "user": { "name": "dora" } })),
        "ReplicationPolicy" => policy(state, "hq"),
        _ => of_kind(kind, state, json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" })),
    }
}

pub(super) fn binding(state: &str, subject: &Value) -> DynamicObject {
    let spec = json!({ "projectRef": { "name": "shop" }, "role": "guest", "subjects": [subject] });
    of_kind("RoleBinding", state, spec)
}

/// Each to a destination of its own, so that none is another one's.
pub(super) fn policy(state: &str, source: &str) -> DynamicObject {
    let topology =
        json!({ "fanOut": { "source": { "name": source }, "destinations": [{ "name": destination(state) }] } });
    of_kind("ReplicationPolicy", state, json!({ "topology": topology }))
}

pub(super) fn destination(state: &str) -> String {
    format!("to-{state}")
}

pub(super) fn with(mut object: DynamicObject, pointer: &str, value: Value) -> DynamicObject {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.data.pointer_mut(parent).unwrap()[key] = value;
    object
}

pub(super) fn requested(mut object: DynamicObject) -> DynamicObject {
    object.annotations_mut().insert("regatta.dev/requested-at".to_owned(), "now".to_owned());
    object
}

/// What a person must act on, of each kind.
fn stalled(kind: &str) -> DynamicObject {
    let (object, state) = (object(kind, "stalled"), "stalled");
    let robot = json!({ "robot": { "name": "ci" } });
    let elsewhere = json!({ "name": "elsewhere" });
    match kind {
        // Somebody has the name of its Secret.
        "Registry" => object,
        "RoleBinding" => binding(state, &robot),
        "ReplicationPolicy" => policy(state, "elsewhere"),
        _ => with(object, "/spec/registryRef", elsewhere),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_writes_in_each_state_is_what_health_is_tested_over() {
    let world = World::new("recorded").await;
    world.create(&registry("hq")).await;
    for name in ["ready", "converging", "stalled", "failed-run", "suspended", "deleting"].map(destination) {
        world.create(&external(&name)).await;
    }
    world.create(&external("elsewhere")).await;
    world.create(&project("shop", "hq", "shop")).await;
    world
        .api::<Secret>()
        .create(&PostParams::default(), &secret("stalled-registry-keys", &[("x", "y")]))
        .await
        .unwrap();

    nobody_has_looked(&world).await;
    let control = Control::counting();
    let mut settings = world.settings("undisturbed");
    // No registry runs that could be asked what a run did.
    settings.summary_patience = Duration::ZERO;
    let operator = world.operator_with(&control, settings).await;
    before_there_are_pods(&world).await;
    let kubelet = Kubelet::start(&world);
    with_pods(&world, &kubelet).await;
    while_the_api_server_fails(&world, &control).await;
    drop(operator);
    changed_since(&world).await;
}

async fn nobody_has_looked(world: &World) {
    for kind in KINDS {
        world.create(&object(kind, "new")).await;
        check(world, kind, "new", "new").await;
        world.delete(kind, "new").await;
    }
}

async fn before_there_are_pods(world: &World) {
    for kind in KINDS {
        let converging = object(kind, "converging");
        // A collection runs without pods, but not without a Registry.
        let missing = kind == "GarbageCollection";
        let object =
            if missing { with(converging, "/spec/registryRef", json!({ "name": "late" })) } else { converging };
        world.create(&object).await;
        world.holds(kind, "converging", "Reconciling", "True").await;
        check(world, kind, "converging", "converging").await;
        world.delete(kind, "converging").await;
    }
    world.create(&requested(object("GarbageCollection", "failed-run"))).await;
    let job = eventually("a Job is there", || async {
        let jobs = world.api::<Job>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        jobs.items.into_iter().next().ok_or_else(|| "no Job".to_owned())
    })
    .await;
    fail(world, &job.name_any()).await;
    world.holds("GarbageCollection", "failed-run", "LastRunSucceeded", "False").await;
    check(world, "GarbageCollection", "failed-run", "failed-run").await;
    // Pods of Jobs end well from here on, and this one must not.
    world.delete("GarbageCollection", "failed-run").await;
    world.collect_garbage().await;
}

async fn with_pods(world: &World, kubelet: &Kubelet) {
    for kind in KINDS {
        world.create(&object(kind, "ready")).await;
        world.create(&stalled(kind)).await;
        let mut deleting = object(kind, "deleting");
        deleting.finalizers_mut().push("example.com/held".to_owned());
        world.create(&deleting).await;
        if matches!(kind, "Registry" | "ReplicationPolicy" | "GarbageCollection") {
            world.create(&with(object(kind, "suspended"), "/spec/suspend", json!(true))).await;
            world.condition(kind, "suspended", "Ready", "True", "Suspended").await;
            check(world, kind, "suspended", "suspended").await;
        }
        world.holds(kind, "ready", "Ready", "True").await;
        check(world, kind, "ready", "ready").await;
        world.holds(kind, "stalled", "Stalled", "True").await;
        check(world, kind, "stalled", "stalled").await;
        world.holds(kind, "deleting", "Ready", "True").await;
        world.delete(kind, "deleting").await;
        check(world, kind, "deleting", "deleting").await;
        world.patch(kind, "deleting", json!({ "metadata": { "finalizers": null } })).await.expect("let go");
    }
    world.create(&object("ReplicationPolicy", "failed-run")).await;
    world.holds("ReplicationPolicy", "failed-run", "Ready", "True").await;
    let admin = kubelet.admin("hq").await;
    let edges = admin.edges(None, Duration::ZERO).await.expect("edges").edges;
    let edge =
        edges.iter().find(|edge| edge.destination.name == destination("failed-run")).expect("the edge is placed");
    let mut failing = status(&edge.id, EdgeState::Failing);
    failing.last_error = Some("the destination cannot be reached".to_owned());
    admin.put_edge_status(&failing).await.expect("taken");
    world.condition("ReplicationPolicy", "failed-run", "Synced", "False", "EdgeFailing").await;
    check(world, "ReplicationPolicy", "failed-run", "failed-run").await;
}

/// Of what asks the API server for something of its own. Projects and ReplicationPolicies do not: they are compiled from
/// what is known, and what cannot be published is a matter of the Registry's.
async fn while_the_api_server_fails(world: &World, control: &Control) {
    control.refuse(&["/deployments/retrying-registry", "/secrets/retrying", "/jobs"]);
    for kind in ["Registry", "RoleBinding", "GarbageCollection"] {
        let retrying = object(kind, "retrying");
        let object = match kind {
            "RoleBinding" => {
                binding("retrying", &json!({ "robot": { "name": "ci", "secret": { "name": "retrying" } } }))
            }
            "GarbageCollection" => requested(retrying),
            _ => retrying,
        };
        world.create(&object).await;
        world.condition(kind, "retrying", "Reconciling", "True", "Retrying").await;
        check(world, kind, "retrying", "retrying").await;
    }
}

/// Nobody has looked again.
async fn changed_since(world: &World) {
    let changes = [
        json!({ "managed": { "replicas": 2 } }),
        json!({ "public": true }),
        json!({ "role": "developer" }),
        json!({ "suspend": true }),
        json!({ "untagged": true }),
    ];
    for (kind, change) in KINDS.into_iter().zip(changes) {
        world.patch(kind, "ready", json!({ "spec": change })).await.expect("changed");
        check(world, kind, "ready", "old-generation").await;
    }
}

/// Holds an object against the file, or writes it. What an object comes to takes a while: it is compared until it has.
pub(super) async fn check(world: &World, kind: &str, name: &str, state: &str) {
    let path = file(kind, state);
    let look = async || neutral(world, kind, &world.kind(kind).get(name).await.expect("it is there"));
    if std::env::var_os("REGATTA_RECORD").is_some() {
        let found = at_rest(look).await;
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, serde_yaml::to_string(&found).unwrap()).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let recorded: Value = serde_yaml::from_str(&text).unwrap_or_default();
    let again = "as recorded; or run: REGATTA_RECORD=1 cargo test --test it operator::recorded";
    eventually(&format!("{} {again}", path.display()), || async {
        let found = look().await;
        let nobodys = conditions_of_no_generation(&found);
        assert_eq!(nobodys, Vec::<&Value>::new(), "what is said is said of a generation");
        if matters(&found) == matters(&recorded) { Ok(()) } else { Err(found) }
    })
    .await;
}

/// The conditions that the operator has written, and not of a generation that there was. What is there before it has
/// looked is the schema's.
fn conditions_of_no_generation(object: &Value) -> Vec<&Value> {
    if object["status"]["observedGeneration"] == -1 {
        return vec![];
    }
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|condition| condition["observedGeneration"].as_i64().is_none_or(|of| of < 1)).collect()
}

/// What does not change any more.
async fn at_rest(look: impl AsyncFn() -> Value) -> Value {
    let last = Mutex::new((Instant::now(), Value::Null));
    eventually("it is at rest", || async {
        let found = look().await;
        let (since, before) = &mut *last.lock().unwrap();
        if *before != found {
            (*since, *before) = (Instant::now(), found.clone());
        }
        if since.elapsed() >= QUIET { Ok(found) } else { Err(found) }
    })
    .await
}

fn file(kind: &str, state: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("e2e/health/testdata/{kind}/{state}.yaml"))
}

/// All of it; but how far the operator had come with an object that goes when it was deleted is chance.
fn matters(object: &Value) -> Value {
    let mut object = object.clone();
    if object["metadata"]["deletionTimestamp"].is_string() {
        object["status"] = Value::Null;
    }
    object
}

/// Without what differs from one recording to the next.
fn neutral(world: &World, kind: &str, object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        value["metadata"].as_object_mut().unwrap().remove(field);
    }
    value["apiVersion"] = json!("regatta.dev/v1alpha1");
    value["kind"] = json!(kind);
    // How often the document was compiled is a matter of time; the server's version, of the release.
    for (field, any) in [("accessGeneration", json!(1)), ("version", json!("1.2.3"))] {
        if value["status"][field] != Value::Null {
            value["status"][field] = any;
        }
    }
    let mut text = value.to_string().replace(&world.namespace, "fleet");
    for (pattern, neutral) in [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-01-02T03:04:05Z"),
        ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "01234567-89ab-cdef-0123-456789abcdef"),
        (r"\b[0-9a-f]{16}\b", "0123456789abcdef"),
        (r"\b[0-9a-f]{32}\b", "0123456789abcdef0123456789abcdef"),
        (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(:\d+)?\b", "10.0.0.1:5443"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, neutral).into_owned();
    }
    serde_json::from_str(&text).unwrap()
}
