//! What is true does not look otherwise because another operator looks at it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{external, of_kind, registry};
use crate::support::world::{World, find_condition};

/// Every value that a condition of an object had since this began.
struct History {
    seen: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl History {
    /// Comes back once the watch has shown the object.
    async fn of(world: &World, kind: &str, name: &str, condition: &'static str) -> Self {
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut objects = watcher(world.kind(kind), config).applied_objects().boxed();
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok(Some(object)) = objects.try_next().await {
                    let condition = find_condition(&object, condition).cloned().unwrap_or_default();
                    seen.lock().unwrap().push(condition);
                }
            }
        });
        let this = Self { seen, task };
        eventually("the watch shows the object", || async { if this.all().is_empty() { Err(()) } else { Ok(()) } })
            .await;
        this
    }

    fn all(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until an operator has asked for everything that it reconciles.
async fn has_listed(control: &Control) {
    eventually("everything has been listed", || async {
        let asked = control.lists();
        if asked.len() >= 8 { Ok(()) } else { Err(asked) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_stalled_since_it_was_so_first() {
    let world = World::new("unreadable-since").await;
    let bad =
        |name: &str| of_kind("Project", name, json!({ "registryRef": { "name": "hq" }, "name": name, "public": true }));
    let corrupting = || {
        let control = Control::counting();
        control.corrupt("\"public\":true", "\"public\":1234");
        control
    };
    world.create(&registry("hq")).await;
    world.create(&bad("first")).await;
    let operator = world.operator_with(&corrupting(), world.settings("undisturbed")).await;
    world.stalled("Project", "first", "Unreadable").await;
    drop(operator);
    let before = world.kind("Project").get("first").await.expect("it is there");
    let since = find_condition(&before, "Stalled").expect("stalled")["lastTransitionTime"].clone();
    // Times of conditions are whole seconds.
    let said: jiff::Timestamp = serde_json::from_value(since.clone()).expect("a time");
    eventually("the second is over", || async {
        let now = jiff::Timestamp::now().as_second();
        if now > said.as_second() { Ok(()) } else { Err(now) }
    })
    .await;

    let control = corrupting();
    let _second = world.operator_with(&control, world.settings("undisturbed")).await;
    has_listed(&control).await;
    // Who comes later is looked at later.
    for name in ["later", "latest"] {
        world.create(&bad(name)).await;
        world.stalled("Project", name, "Unreadable").await;
    }
    let after = world.kind("Project").get("first").await.expect("it is there");
    assert_eq!(find_condition(&after, "Stalled").expect("stalled")["lastTransitionTime"], since);
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stalled_for_something_missing_stays_so() {
    let world = World::new("still-stalled").await;
    world.create(&of_kind("Project", "p", json!({ "registryRef": { "name": "absent" }, "name": "app" }))).await;
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "ReferenceNotFound", "message": "as another operator said it",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let status = json!({
        "apiVersion": "regatta.dev/v1alpha1", "kind": "Project", "metadata": { "name": "p" },
        "status": { "observedGeneration": 1, "conditions": [condition("Ready", "False"), condition("Stalled", "True")] },
    });
    let params = PatchParams::apply("regatta").force();
    world.kind("Project").patch_status("p", &params, &Patch::Apply(status)).await.expect("a status");
    let _operator = world.operator().await;
    let object = eventually("the operator has looked", || async {
        let object = world.kind("Project").get("p").await.map_err(|error| json!(error.to_string()))?;
        let said = find_condition(&object, "Ready").expect("a condition")["message"].clone();
        if said == "as another operator said it" { Err(said) } else { Ok(object) }
    })
    .await;
    let stalled = find_condition(&object, "Stalled");
    assert_eq!(stalled.map(|found| found["lastTransitionTime"].clone()), Some(json!("2026-01-01T00:00:00Z")));
    assert!(find_condition(&object, "Reconciling").is_none(), "{}", object.data["status"]);
    // And it is over when it is there.
    world.create(&external("absent")).await;
    world.stalled("Project", "p", "RegistryNotManaged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_stays_ready_until_its_registry_says_otherwise() {
    let world = World::new("still-ready").await;
    let kubelet = Kubelet::start(&world);
    world.create(&registry("hq")).await;
    world.create(&external("far")).await;
    let topology = json!({ "fanOut": { "source": { "name": "hq" }, "destinations": [{ "name": "far" }] } });
    world.create(&of_kind("ReplicationPolicy", "out", json!({ "topology": topology }))).await;
    let operator = world.operator().await;
    world.ready("ReplicationPolicy", "out").await;
    drop(operator);
    let history = History::of(&world, "ReplicationPolicy", "out", "Ready").await;
    let _second = world.operator().await;
    // Something that only an operator that speaks to the registry can bring about.
    let request = json!({ "metadata": { "annotations": { "regatta.dev/requested-at": "now" } } });
    world.patch("ReplicationPolicy", "out", request).await.expect("annotated");
    let admin = kubelet.admin("hq").await;
    eventually("the request is placed", || async {
        let found = admin.edges(None, Duration::ZERO).await.map_err(|error| error.to_string())?;
        let placed = found.edges.iter().any(|edge| edge.requested_at.as_deref() == Some("now"));
        if placed { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let unready: Vec<Value> = history.all().into_iter().filter(|seen| seen["status"] != "True").collect();
    assert_eq!(unready, Vec::<Value>::new());
}
