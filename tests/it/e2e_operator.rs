//! The leading operator is killed three times while a scenario is applied. What comes of it is what comes of the same
//! scenario when nobody is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::e2e_support::cluster::{Role, SYSTEM};
use super::e2e_support::process::kill_pod;
use super::e2e_support::stage::{Stage, collection, guests, object, project, replication};
use super::e2e_support::state::{documents, state};
use super::e2e_support::waiting::within;

/// How soon, after the last kill, everything is as it would have been.
const RECOVERS: Duration = Duration::from_mins(1);
/// How soon a standby leads: the Lease runs out after 15 s, and is looked at every other second.
const TAKEN_OVER: Duration = Duration::from_secs(20);

/// The scenario, in three parts; a kill follows each.
fn scenario() -> [Vec<Value>; 3] {
    let robot = json!({ "robot": { "name": "ci", "secret": { "name": "ci-push" } } });
    let subjects = json!([{ "user": { "name": "dora" } }, robot]);
    let developers = json!({ "projectRef": { "name": "shop" }, "role": "developer", "subjects": subjects });
    let tools = json!({ "registryRef": { "name": "hub" }, "name": "tools", "public": true });
    let keepers = json!({ "projectRef": { "name": "tools" }, "role": "maintainer", "subjects": [{ "user": { "name": "dora" } }] });
    [
        vec![inner_registry("hub", 2), project("hub"), guests()],
        vec![inner_registry("leaf", 1), object("RoleBinding", "developers", &developers), collection("hub")],
        vec![
            object("Project", "tools", &tools),
            object("RoleBinding", "keepers", &keepers),
            replication("hub", "leaf"),
        ],
    ]
}

/// Reached from inside only, so that two of them can be in one cluster.
fn inner_registry(name: &str, replicas: i32) -> Value {
    let managed = json!({
        "replicas": replicas,
        "storage": { "claimTemplate": {
            "accessModes": ["ReadWriteMany"], "resources": { "requests": { "storage": "1Gi" } },
        } },
        "auth": { "htpasswdSecretRef": { "name": "users" }, "admins": ["admin"] },
    });
    object("Registry", name, &json!({ "managed": managed }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_three_times_reaches_the_undisturbed_state() {
    let calm = Stage::new(Role::Unruly, "operator-calm").await;
    for object in scenario().iter().flatten() {
        calm.apply(object);
    }
    settled(&calm).await;
    let undisturbed = state(&calm).await;

    let stormy = Stage::new(Role::Unruly, "operator-stormy").await;
    let (stop, generations) = watch_generations(&stormy);
    let (mut moments, mut killed) = (Moments::seeded(), Vec::new());
    for part in scenario() {
        let leader = leader(&stormy, &mut killed).await;
        for object in &part {
            stormy.apply(object);
        }
        moments.next().await;
        kill_pod(&leader);
    }
    within(RECOVERS, "everything is as it is when nobody is killed", async || {
        let differs = differences(&undisturbed, &state(&stormy).await);
        if differs.is_empty() { Ok(()) } else { Err(differs.join("\n")) }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(generations.await.unwrap(), Vec::<String>::new(), "a generation went back");
}

async fn settled(stage: &Stage) {
    stage.serving("hub").await;
    stage.serving("leaf").await;
    for (plural, name) in [
        ("registryprojects", "shop"),
        ("registryprojects", "tools"),
        ("registryrolebindings", "guests"),
        ("registryrolebindings", "developers"),
        ("registryrolebindings", "keepers"),
        ("garbagecollections", "tidy"),
        ("replicationpolicies", "follow"),
    ] {
        stage.condition(RECOVERS, plural, name, "Ready", "True").await;
    }
    stage.condition(RECOVERS, "replicationpolicies", "follow", "Synced", "True").await;
}

/// What one has and the other has not, a line each.
fn differences(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let lacking = wanted.iter().filter(|(name, text)| found.get(*name) != Some(text));
    let lacking = lacking.map(|(name, text)| format!("{name}: {:?} instead of {text}", found.get(name)));
    let surplus = found.keys().filter(|name| !wanted.contains_key(*name)).map(|name| format!("{name} is too much"));
    lacking.chain(surplus).collect()
}

/// Moments in the first three seconds of the operator's work, by a seed that is printed: REGATTA_SEED has them again.
struct Moments(u64);

impl Moments {
    fn seeded() -> Self {
        let given = std::env::var("REGATTA_SEED").ok().map(|seed| seed.parse().expect("REGATTA_SEED is a number"));
        let seed = given.unwrap_or_else(|| getrandom::u64().unwrap());
        println!("REGATTA_SEED={seed}");
        Self(seed)
    }

    async fn next(&mut self) {
        // Knuth's MMIX generator; its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis((self.0 >> 33) % 3000);
        println!("killed after {moment:?}");
        tokio::time::sleep(moment).await;
    }
}

/// The UID of the pod that leads, once it is not one that was killed: a pod that begins anew has another identity.
async fn leader(stage: &Stage, killed: &mut Vec<String>) -> String {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), SYSTEM);
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), SYSTEM);
    let holder = within(TAKEN_OVER, "an operator leads", async || {
        let found = holder(&leases).await;
        found.filter(|holder| !killed.contains(holder)).ok_or(format!("killed were {killed:?}"))
    });
    let holder = holder.await;
    println!("{holder} leads");
    let pod = pods.get(holder.rsplit_once('_').unwrap().0).await.unwrap();
    killed.push(holder);
    pod.uid().unwrap()
}

async fn holder(leases: &Api<Lease>) -> Option<String> {
    let lease = leases.list(&ListParams::default()).await.ok()?.items.pop()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

/// Looks at every access document all the time; gives what went back.
fn watch_generations(stage: &Stage) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Vec<String>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, cluster, claims) = (Arc::clone(&stop), stage.cluster, stage.api());
    let watching = tokio::spawn(async move {
        let (mut greatest, mut back) = (BTreeMap::<String, (u64, u64)>::new(), Vec::new());
        while !stopped.load(Ordering::Relaxed) {
            for (registry, document) in documents(cluster, &claims).await {
                let (now, before) =
                    ((document.generation, document.term), greatest.entry(registry.clone()).or_default());
                if now.0 < before.0 || now.1 < before.1 {
                    back.push(format!("{registry}: {now:?} after {before:?}"));
                }
                *before = now.max(*before);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("generations and terms: {greatest:?}");
        back
    });
    (stop, watching)
}
