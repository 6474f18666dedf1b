//! NFS, as an NFS client behaves that shows late what others did, loses answers and forgets handles (docs/explanation/storage.md,
//! "Which filesystems").

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use fuser::Errno;
use regatta::oci::Digest;

use crate::survival_acts::{Act, wrongs};
use crate::survival_fuse::Faults;
use crate::survival_history::History;
use crate::survival_late::{Late, Told};
use crate::survival_ledger::{Ledger, Thing};
use crate::survival_scene::mount;
use crate::survival_seed::{Random, short_or_long};
use crate::survival_server::{Ask as _, Node};

const REPOSITORY: &str = "team/app";
const LAYER: &[u8] = b"the layer that all manifests name";
const TAGS: [&str; 3] = ["one", "two", "three"];
const MANIFEST: Act<'static> = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: LAYER, note: "1" };

/// How late what another replica did may be seen.
const BOUND: Duration = Duration::from_millis(400);

async fn replicas(root: &std::path::Path, random: &mut Random) -> (Vec<Node>, Vec<Told>) {
    let (mut nodes, mut tolds) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let random = random.fork();
        let mut told = None;
        let late = |store| {
            let (late, its) = Late::new(store, BOUND, random.clone());
            told = Some(its);
            Arc::new(late) as regatta::store::Store
        };
        nodes.push(Node::start_with(root, late).await);
        tolds.extend(told);
    }
    (nodes, tolds)
}

async fn client(nodes: Vec<Node>, history: Arc<History>, number: usize, requests: usize, mut random: Random) {
    for request in 0..requests {
        let (node, tag) = (&nodes[random.below(nodes.len())], TAGS[random.below(TAGS.len())]);
        let new = format!("{number}-{request}");
        match random.below(6) {
            0 | 1 => {
                history.act(node, &Act::Manifest { repository: REPOSITORY, tag, blob: LAYER, note: &new }).await;
            }
            2 => {
                history.act(node, &Act::DeleteTag { repository: REPOSITORY, tag }).await;
            }
            _ => history.get(node, &Thing::Tag(REPOSITORY.into(), tag.into())).await,
        }
    }
}

/// Every tag has one history, and readers see a moment of it that is no older than the bound: writes are decided on what is
/// there, whatever was remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_others_are_seen_late_each_tag_has_one_history_all_the_same() {
    let mut random = Random::announced("late");
    for _ in 0..short_or_long(2, 30) {
        let root = tempfile::tempdir().unwrap();
        let (nodes, tolds) = replicas(root.path(), &mut random).await;
        for node in &nodes {
            assert_eq!(Act::Blob(REPOSITORY, LAYER).send(node).await, Some(StatusCode::CREATED));
        }
        let history = Arc::new(History::late(BOUND));
        let clients =
            (0..6).map(|number| tokio::spawn(client(nodes.clone(), Arc::clone(&history), number, 50, random.fork())));
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        history.check();
        let told: u64 = tolds.iter().map(Told::times).sum();
        println!("{told} times something was told from memory");
        assert!(told > 100);
    }
}

/// That the test above can fail: readers are late, by what it allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_late_is_found_out() {
    let root = tempfile::tempdir().unwrap();
    let (nodes, _) = replicas(root.path(), &mut Random::announced("found out")).await;
    let history = History::default();
    assert_eq!(Act::Blob(REPOSITORY, LAYER).send(&nodes[0]).await, Some(StatusCode::CREATED));
    let tag = Thing::Tag(REPOSITORY.into(), "latest".into());
    let mut late = 0;
    for round in 0..50 {
        history.get(&nodes[1], &tag).await;
        let note = round.to_string();
        let act = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: LAYER, note: &note };
        history.act(&nodes[0], &act).await;
        let seen = nodes[1].get(&tag.path()).await.unwrap();
        late += usize::from(seen.body != nodes[0].get(&tag.path()).await.unwrap().body);
        history.get(&nodes[1], &tag).await;
    }
    assert!(late > 0);
    assert!(!history.is_linearizable());
}

/// A writer who finds his number taken reads what is there, though his listing does not show it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_does_not_wait_until_he_sees_who_was_first() {
    let root = tempfile::tempdir().unwrap();
    let long = Duration::from_hours(1);
    let late = |store| Arc::new(Late::new(store, long, Random::new(1)).0) as regatta::store::Store;
    let (one, other) = (Node::start_with(root.path(), late).await, Node::start_with(root.path(), late).await);
    assert_eq!(Act::Blob(REPOSITORY, LAYER).send(&one).await, Some(StatusCode::CREATED));
    assert_eq!(Act::Blob(REPOSITORY, LAYER).send(&other).await, Some(StatusCode::CREATED));
    for note in ["1", "2", "3", "4", "5"] {
        for node in [&one, &other] {
            let act = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: LAYER, note };
            let sent = tokio::time::timeout(Duration::from_secs(20), act.send(node)).await;
            assert_eq!(sent.expect("an answer"), Some(StatusCode::CREATED), "{note}");
        }
    }
}

/// Retransmission: the first try made the link, the second one is told that it exists, or that something is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_made_is_ones_own_whatever_is_answered() {
    for error in [Errno::EEXIST, Errno::EIO, Errno::ESTALE] {
        let Some(volume) = mount() else { return };
        let node = Node::start(volume.path()).await;
        volume.fail(Faults { link_answers: Some(error), ..Faults::default() });
        let mut ledger = Ledger::default();
        for act in [Act::Blob(REPOSITORY, LAYER), MANIFEST, Act::DeleteTag { repository: REPOSITORY, tag: "latest" }] {
            let begun = ledger.begin(act.changes());
            let status = act.send(&node).await;
            assert!(status.is_some_and(|status| status.is_success()), "{error:?}: {act:?}: {status:?}");
            ledger.answered(begun);
        }
        let wrong = wrongs(&node, &ledger.now()).await;
        assert!(wrong.is_empty(), "{error:?}: {wrong:#?}");
        let repositories = volume.path().join("regatta/v1/repositories");
        let versions = versions_below(&repositories, "latest!");
        assert_eq!(versions, 2, "{error:?}: the tag was set once and deleted once");
    }
}

/// How many versions the register has whose directory ends so.
fn versions_below(directory: &std::path::Path, name: &str) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => versions_below(&path, name),
            path if path.parent().is_some_and(|parent| parent.ends_with(name)) => {
                usize::from(entry.file_name().len() == 16)
            }
            _ => 0,
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_handle_is_tried_again_with_a_fresh_one() {
    let Some(volume) = mount() else { return };
    let node = Node::unwatched(volume.path(), |store| store).await;
    let large = vec![7; 100_000];
    for act in [Act::Blob(REPOSITORY, LAYER), Act::Blob(REPOSITORY, &large), MANIFEST] {
        assert_eq!(act.send(&node).await, Some(StatusCode::CREATED));
    }
    let stale = |times| volume.fail(Faults { stale: times, ..Faults::default() });
    let paths = [
        Thing::Tag(REPOSITORY.into(), "latest".into()).path(),
        Thing::Blob(REPOSITORY.into(), Digest::sha256(LAYER)).path(),
        Thing::Blob(REPOSITORY.into(), Digest::sha256(&large)).path(),
        format!("/v2/{REPOSITORY}/tags/list"),
        "/v2/_catalog".to_owned(),
    ];
    // Another process, so that nothing is remembered; the handles that it has go stale at once.
    for path in &paths {
        let expected = node.get(path).await.unwrap();
        for times in 1..5 {
            let other = Node::unwatched(volume.path(), |store| store).await;
            stale(times);
            let answer = other.get(path).await.unwrap();
            assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected.body), "{path}, {times} times");
            assert_eq!(volume.stale_left(), 0, "{path} asks for less");
        }
    }
    for times in 1..5 {
        node.look().await;
        stale(times);
        let new = times.to_string();
        let act = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: LAYER, note: &new };
        assert_eq!(act.send(&node).await, Some(StatusCode::CREATED), "{times} times");
    }
}
