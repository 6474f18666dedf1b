//! What requests cost: of the disk, in syncs and in requests of the kernel's, and of a store, in calls. Cheaper is welcome;
//! dearer is to be a decision. What they cost in a bucket is counted with the buckets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::http::{Method, StatusCode};
use regatta::oci::Digest;
use regatta::registry::sweep;
use regatta::server::documents::POLL;
use regatta::store::faulty::{FaultyStore, Operation};
use regatta::store::memory::MemoryStore;
use regatta::store::{Key, Store};

use crate::program::eventually;
use crate::registry_support::{Fixture, OCI_MANIFEST, document, image};
use crate::survival_acts::Act;
use crate::survival_fuse::{Counts, Volume};
use crate::survival_scene::mount;
use crate::survival_server::{Ask as _, Node};

const REPOSITORY: &str = "team/app";

fn layer(number: usize) -> Vec<u8> {
    format!("layer {number}").into_bytes()
}

async fn push(node: &Node, bytes: &[u8]) {
    assert_eq!(Act::Blob(REPOSITORY, bytes).send(node).await, Some(StatusCode::CREATED));
}

/// Puts an image of ten layers that are there.
async fn put(node: &Node, tag: &str, config: &[u8]) {
    let layers: Vec<Digest> = (0..10).map(|number| Digest::sha256(&layer(number))).collect();
    let text = image(&Digest::sha256(config), &layers.iter().collect::<Vec<_>>()).to_string();
    let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
    let answer = node.ask(Method::PUT, &path, OCI_MANIFEST, text.into()).await.unwrap();
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
}

async fn get(node: &Node, path: &str) {
    assert_eq!(node.get(path).await.unwrap().status, StatusCode::OK);
}

/// A repository with an image in it, and layers for another.
async fn fill(node: &Node) {
    for number in 0..10 {
        push(node, &layer(number)).await;
    }
    push(node, b"{}").await;
    push(node, b"{ }").await;
    put(node, "v1", b"{}").await;
    node.settled().await;
}

async fn cost(volume: &Volume, node: &Node, request: impl Future<Output = ()>) -> Counts {
    volume.counts();
    request.await;
    let counts = volume.counts();
    node.settled().await;
    counts
}

fn check(what: &str, cost: Counts, budget: Counts) {
    println!("{what}: {cost:?}");
    let pairs = [
        (cost.looks, budget.looks),
        (cost.reads, budget.reads),
        (cost.grows, budget.grows),
        (cost.changes, budget.changes),
        (cost.syncs, budget.syncs),
    ];
    assert!(pairs.iter().all(|(cost, budget)| cost <= budget), "{what}: {cost:?}, and may cost {budget:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_push_and_a_pull_cost_of_the_disk() {
    let Some(volume) = mount() else { return };
    let node = Node::unwatched(volume.path(), |store| store).await;
    fill(&node).await;
    node.look().await;
    let pushed = cost(&volume, &node, push(&node, b"one more layer")).await;
    let put = cost(&volume, &node, put(&node, "v2", b"{ }")).await;
    let tag = format!("/v2/{REPOSITORY}/manifests/v1");
    let blob = format!("/v2/{REPOSITORY}/blobs/{}", Digest::sha256(&layer(3)));
    // Another process: nothing is remembered.
    let other = Node::unwatched(volume.path(), |store| store).await;
    let by_tag = cost(&volume, &other, get(&other, &tag)).await;
    let again = cost(&volume, &other, get(&other, &tag)).await;
    let of_blob = cost(&volume, &other, get(&other, &blob)).await;
    check("a layer pushed", pushed, Counts { looks: 450, reads: 10, grows: 26, changes: 8, syncs: 10 });
    check("a manifest of ten layers put", put, Counts { looks: 1800, reads: 115, grows: 26, changes: 8, syncs: 13 });
    check("a pull by tag", by_tag, Counts { looks: 30, reads: 4, grows: 0, changes: 0, syncs: 0 });
    check("a pull by tag once more", again, Counts { looks: 8, reads: 0, grows: 0, changes: 0, syncs: 0 });
    check("a pull of a blob", of_blob, Counts { looks: 35, reads: 4, grows: 0, changes: 0, syncs: 0 });
}

/// Calls of a store, by kind.
type Calls = BTreeMap<String, usize>;

#[derive(Clone, Default)]
struct Counted(Arc<Mutex<Calls>>);

impl Counted {
    fn over(&self, store: Store) -> Store {
        let calls = Arc::clone(&self.0);
        Arc::new(FaultyStore::new(store, move |operation: Operation, _: &Key| {
            *calls.lock().unwrap().entry(format!("{operation:?}")).or_default() += 1;
            true
        }))
    }

    async fn of(&self, work: impl Future<Output = ()>) -> Calls {
        self.0.lock().unwrap().clear();
        work.await;
        self.0.lock().unwrap().clone()
    }
}

fn check_calls(what: &str, calls: &Calls, budget: &[(&str, usize)]) {
    println!("{what}: {calls:?}");
    for (call, times) in calls {
        let budget = budget.iter().find(|(name, _)| name == call).map_or(0, |(_, budget)| *budget);
        assert!(*times <= budget, "{what}: {call} is called {times} times, and may be {budget} times: {calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pull_costs_of_a_store() {
    let root = tempfile::tempdir().unwrap();
    fill(&Node::start(root.path()).await).await;
    let counted = Counted::default();
    let node = Node::unwatched(root.path(), |store| counted.over(store)).await;
    let tag = format!("/v2/{REPOSITORY}/manifests/v1");
    let blob = format!("/v2/{REPOSITORY}/blobs/{}", Digest::sha256(&layer(3)));
    for (what, path) in [("a pull by tag", &tag), ("a pull of a blob", &blob)] {
        let first = counted.of(get(&node, path)).await;
        // The register's newest version, and what it names.
        check_calls(what, &first, &[("Children", 1), ("Read", 1), ("Open", 1)]);
        let again = counted.of(get(&node, path)).await;
        check_calls(&format!("{what}, again"), &again, &[("Head", 1)]);
    }
}

/// What two probes cost that come after a look: of a pod that has an access document, as the operator's do.
async fn probes_of_a_pod() -> Calls {
    let counted = Counted::default();
    let fixture = Fixture::unwatched_over(counted.over(Arc::new(MemoryStore::default()))).await;
    fixture.server.poll_documents().await.unwrap();
    counted
        .of(async {
            for _ in 0..2 {
                fixture.server.readiness().await.unwrap();
            }
        })
        .await
}

/// A pod whose looks do not come through looks itself when it is asked: it would un-revoke otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_has_not_looked_lately_looks_when_it_is_probed() {
    let fixture = Fixture::start_bare().await;
    fixture.put_access(&document(1, 1)).await.unwrap();
    let behind = fixture.unwatched_replica().await;
    behind.server.readiness().await.unwrap();
    fixture.put_access(&document(2, 1)).await.unwrap();
    eventually("the probe looks", async || {
        behind.server.readiness().await.map_err(str::to_owned)?;
        match behind.server.gate().generation {
            2 => Ok(()),
            older => Err(older.to_string()),
        }
    })
    .await;
}

/// A process that nobody asks for anything, by how often each is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_day_on_which_nothing_happens_costs_of_a_store() {
    let root = tempfile::tempdir().unwrap();
    let counted = Counted::default();
    let node = Node::unwatched(root.path(), |store| counted.over(store)).await;
    let look = counted.of(async { node.server.poll_documents().await.unwrap() }).await;
    check_calls("a look at the store, every other second", &look, &[("Children", 1), ("Read", 1)]);
    let clock = counted.of(async { node.server.check_clock().await.unwrap() }).await;
    check_calls("a look at the store's clock, each minute", &clock, &[]);
    let swept = async {
        node.registry.sweep().await.unwrap();
    };
    let swept = counted.of(swept).await;
    check_calls("a sweep, each hour", &swept, &[("Children", 4), ("Read", 1)]);
    let probed = probes_of_a_pod().await;
    check_calls("probes between two looks", &probed, &[]);
    let listings = |calls: &Calls| calls.get("Children").copied().unwrap_or_default();
    let looks = 24 * 3600 / usize::try_from(POLL.as_secs()).unwrap();
    let sweeps = 24 * 3600 / usize::try_from(sweep::EVERY.as_secs()).unwrap();
    // Every other second a probe, as the operator's pods have it.
    let a_day = looks * (listings(&look) + listings(&probed)) + sweeps * listings(&swept);
    println!("{a_day} listings a day");
    assert!(a_day <= 43_300);
}
