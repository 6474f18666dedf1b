//! The operator ended after its n-th change, for every n: its successor brings everything to the state that an
//! undisturbed one reaches, and no access generation goes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DeleteParams};
use regex::Regex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{external, of_kind, project, registry, resource, robot};
use crate::support::world::{Operator, World};

/// An operator that has something left to do looks again within a second or two, as long as nothing fails.
const QUIET: Duration = Duration::from_secs(5);

const FIVE: [&str; 5] = ["Registry", "Project", "RoleBinding", "ReplicationPolicy", "GarbageCollection"];

/// A bit of everything.
pub(super) async fn scenario(world: &World) {
    world.create(&registry("hq")).await;
    world.create(&external("far")).await;
    world.create(&project("p", "hq", "app")).await;
    world.create(&robot("r", "p")).await;
    let topology = json!({ "fanOut": { "source": { "name": "hq" }, "destinations": [{ "name": "far" }] } });
    world.create(&of_kind("ReplicationPolicy", "out", json!({ "topology": topology }))).await;
    let mut collection =
        of_kind("GarbageCollection", "gc", json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" }));
    collection.metadata.annotations = Some(BTreeMap::from([("regatta.dev/requested-at".to_owned(), "now".to_owned())]));
    world.create(&collection).await;
}

fn looked_at() -> Vec<ApiResource> {
    let mut all: Vec<ApiResource> = FIVE.iter().map(|kind| resource(kind)).collect();
    all.extend([
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<Job>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
    ]);
    all
}

/// Whether everything that is asked for is done.
fn is_settled(state: &[Value]) -> bool {
    let of_five = |object: &&Value| FIVE.iter().any(|kind| object["kind"] == *kind);
    let ready = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"))
    };
    let collected = state.iter().any(|object| object["status"]["lastRun"]["bytesFreed"] == 42);
    state.iter().filter(of_five).all(ready) && collected
}

/// What does not differ from run to run.
fn comparable(world: &World, objects: &[Value]) -> Vec<Value> {
    let mut names: BTreeMap<String, String> = BTreeMap::from([(world.namespace.clone(), "<namespace>".to_owned())]);
    for object in objects {
        let name =
            format!("<uid of {} {}>", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        names.insert(object["metadata"]["uid"].as_str().unwrap().to_owned(), name);
    }
    let hashes = Regex::new("[0-9a-f]{16,64}").unwrap();
    let times = Regex::new(r"\d{4}-\d\d-\d\dT[0-9:.]+Z").unwrap();
    let mut all: Vec<Value> = objects
        .iter()
        .filter(|object| object["kind"] != "ServiceAccount" || object["metadata"]["name"] != "default")
        .map(|object| {
            let mut text = reduced(object.clone()).to_string();
            for (from, to) in &names {
                text = text.replace(from, to);
            }
            let text = hashes.replace_all(&text, "<hash>");
            serde_json::from_str(&times.replace_all(&text, "<time>")).expect("JSON")
        })
        .collect();
    all.sort_by_key(ToString::to_string);
    all
}

fn reduced(mut object: Value) -> Value {
    let meta = object["metadata"].as_object_mut().expect("metadata");
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        meta.remove(field);
    }
    match object["kind"].as_str().expect("a kind") {
        "Secret" => {
            let keys: Vec<String> = object["data"].as_object().expect("data").keys().cloned().collect();
            object["data"] = json!(keys);
        }
        "Service" => object["spec"]["clusterIP"] = json!(object["spec"]["clusterIPs"].take().is_array()),
        "Deployment" | "PersistentVolumeClaim" | "PodDisruptionBudget" | "Job" => object["status"] = Value::Null,
        _ => {}
    }
    if object["kind"] == "Deployment" {
        object["metadata"]["annotations"] = Value::Null;
    }
    if object["status"]["accessGeneration"].is_number() {
        object["status"]["accessGeneration"] = json!("<number>");
    }
    object
}

pub(super) async fn settled(world: &World, what: &str, wanted: Option<&Vec<Value>>) -> Vec<Value> {
    eventually(what, || async {
        let objects = world.everything(&looked_at()).await;
        let state = comparable(world, &objects);
        match wanted {
            Some(wanted) if *wanted == state => Ok(state),
            None if is_settled(&objects) => Ok(state),
            Some(wanted) => {
                let differs = state.iter().find(|object| !wanted.contains(object)).cloned();
                let lacks = wanted.iter().find(|object| !state.contains(object)).cloned();
                Err(json!({ "differs": differs, "lacks": lacks }))
            }
            None => Err(json!(objects.iter().map(|object| &object["status"]["conditions"]).collect::<Vec<_>>())),
        }
    })
    .await
}

/// Looks at the generations of a registry's documents as long as it lives, and remembers each that was less than one
/// seen before.
struct Generations {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    looks: usize,
    /// Of access and of edges.
    greatest: (u64, u64),
    went_back: Vec<String>,
}

impl Generations {
    fn watch(kubelet: &Arc<Kubelet>) -> Self {
        let (kubelet, seen) = (Arc::clone(kubelet), Arc::<Mutex<Seen>>::default());
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    if kubelet.is_running("hq")
                        && let Some(now) = generations(&kubelet).await
                    {
                        seen.lock().unwrap().note(now);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        Self { seen, task }
    }

    fn check(&self) {
        assert!(!self.task.is_finished(), "nobody has looked to the end");
        let seen = self.seen.lock().unwrap();
        assert!(seen.looks > 0 && seen.greatest.0 > 0, "nothing was seen: {seen:?}");
        assert!(seen.went_back.is_empty(), "{seen:?}");
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn note(&mut self, now: (u64, u64)) {
        self.looks += 1;
        if now.0 < self.greatest.0 || now.1 < self.greatest.1 {
            self.went_back.push(format!("{now:?} after {:?}", self.greatest));
        }
        self.greatest = (self.greatest.0.max(now.0), self.greatest.1.max(now.1));
    }
}

/// Of access and of edges, as the store has them; none where the registry does not answer.
async fn generations(kubelet: &Kubelet) -> Option<(u64, u64)> {
    let client = kubelet.client("hq").await.ok()?;
    let access = client.access().await.ok()?.stored_generation;
    let edges = client.edges(None, Duration::ZERO).await.ok()?.generation;
    Some((access, edges))
}

/// Comes back once the operator was ended. How many changes lead to the settled state is a matter of time: what is said
/// of two things may be one write or two. Where fewer have sufficed, a child is taken away, which takes one to bring
/// back.
async fn really_ended(world: &World, operator: &mut Operator, control: &Control, n: usize) {
    let disturb = async {
        loop {
            settled(world, "settled with fewer changes", None).await;
            println!("settled after {} changes, of which {n} were wanted", control.changes());
            let service = world.api::<Service>().get("hq-registry").await.expect("a Service");
            world.api::<Service>().delete("hq-registry", &DeleteParams::default()).await.expect("deleted");
            eventually("the Service is made again", || async {
                let found = world.api::<Service>().get_opt("hq-registry").await.map_err(|error| error.to_string())?;
                let other = found.is_some_and(|found| found.metadata.uid != service.metadata.uid);
                if other { Ok(()) } else { Err("not yet".to_owned()) }
            })
            .await;
        }
    };
    let ended = tokio::time::timeout(2 * crate::support::DEADLINE, async {
        tokio::select! {
            ended = operator.ended() => ended,
            () = disturb => unreachable!("it goes on for ever"),
        }
    });
    let ended = ended.await.unwrap_or_else(|_| panic!("change {n} never came: {:#?}", control.log()));
    ended.expect("ended by the test, and not by itself");
    assert!(control.changes() >= n, "ended after {} changes instead of {n}", control.changes());
}

/// Ends an operator after its n-th change, and sees to what its successor brings everything.
async fn ended_after(n: usize, wanted: &Vec<Value>) {
    let world = World::new("ended").await;
    let kubelet = Arc::new(Kubelet::start(&world));
    let generations = Generations::watch(&kubelet);
    scenario(&world).await;
    let control = Control::ending_after(n);
    let mut first = world.operator_with(&control, world.settings("first")).await;
    really_ended(&world, &mut first, &control, n).await;
    let _second = world.operator_with(&Control::counting(), world.settings("first")).await;
    let last = control.log().get(n - 1).cloned().unwrap_or_default();
    settled(&world, &format!("as if undisturbed, though ended after change {n} ({last})"), Some(wanted)).await;
    generations.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_ended_after_any_change_leaves_nothing_that_its_successor_does_not_complete() {
    let world = World::new("undisturbed").await;
    let kubelet = Kubelet::start(&world);
    scenario(&world).await;
    let control = Control::counting();
    let operator = world.operator_with(&control, world.settings("undisturbed")).await;
    settled(&world, "undisturbed", None).await;
    // What is settled first may still be followed by a write of the same: take the state when nothing moves.
    let last = Mutex::new((Instant::now(), None));
    let wanted = eventually("nothing moves", || async {
        let now = (control.changes(), comparable(&world, &world.everything(&looked_at()).await));
        let (since, before) = &mut *last.lock().unwrap();
        if before.as_ref() != Some(&now) {
            (*since, *before) = (Instant::now(), Some(now.clone()));
        }
        if since.elapsed() >= QUIET { Ok(now.1) } else { Err(now.0) }
    })
    .await;
    let changes = control.changes();
    println!("{changes} changes: {:#?}", control.log());
    drop(operator);
    drop(kubelet);
    futures::stream::iter(1..=changes)
        .map(|n| {
            let wanted = &wanted;
            async move { ended_after(n, wanted).await }
        })
        .buffer_unordered(4)
        .collect::<Vec<()>>()
        .await;
}
