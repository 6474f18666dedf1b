//! The process is killed at any moment, under load: what it had acknowledged is there when it is started again, nothing
//! half-written is served, and what it left behind is swept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use regatta::clock::TimeSource;
use regatta::registry::layout;
use regatta::store::fs::FsStore;
use tokio::sync::Notify;

use crate::replicate_support::Registry;
use crate::survival_acts::{Act, wrongs};
use crate::survival_ledger::{Ledger, State, Thing};
use crate::survival_process::Remote;
use crate::survival_seed::{Random, short_or_long};

const SHARED: &str = "load/shared";
const SHARED_BLOB: &[u8] = b"a layer that everybody mounts";
const TAGS: usize = 3;

/// What all clients of a round know together.
#[derive(Clone)]
struct Load {
    remote: Remote,
    ledger: Arc<Mutex<Ledger>>,
    answers: Arc<AtomicUsize>,
    /// Rung at the answer at which the process is to be killed.
    enough: Arc<Notify>,
    kill_at: usize,
}

impl Load {
    /// Asks for this; false where no answer came.
    async fn act(&self, act: Act<'_>) -> bool {
        let begun = self.ledger.lock().unwrap().begin(act.changes());
        let Some(status) = act.send(&self.remote).await else { return false };
        assert!(status.is_success(), "{status}");
        self.ledger.lock().unwrap().answered(begun);
        if self.answers.fetch_add(1, Ordering::Relaxed) + 1 == self.kill_at {
            self.enough.notify_one();
        }
        true
    }
}

/// Pushes, moves and deletes in a repository of its own, until no answer comes.
async fn client(load: Load, repository: String, mut random: Random) {
    let mut tags: BTreeMap<String, (Vec<u8>, String)> = BTreeMap::new();
    for number in 0.. {
        let tag = format!("t{}", random.below(TAGS));
        let length = 1 + random.below(200_000);
        let blob = random.bytes(length);
        let note = number.to_string();
        let push = [Act::Blob(&repository, &blob), Act::Pieces(&repository, &blob)][random.below(2)];
        if !load.act(push).await {
            return;
        }
        let goes_on = match random.below(6) {
            0 => load.act(Act::DeleteBlob(&repository, &blob)).await,
            1 => load.act(Act::Mount { from: SHARED, to: &repository, bytes: SHARED_BLOB }).await,
            2 if tags.contains_key(&tag) => {
                tags.remove(&tag);
                load.act(Act::DeleteTag { repository: &repository, tag: &tag }).await
            }
            3 if tags.contains_key(&tag) => {
                let (blob, note) = tags.remove(&tag).unwrap();
                load.act(Act::DeleteManifest { repository: &repository, blob: &blob, note: &note, tags: &[&tag] }).await
            }
            _ => {
                let act = Act::Manifest { repository: &repository, tag: &tag, blob: &blob, note: &note };
                let done = load.act(act).await;
                tags.insert(tag, (blob, note));
                done
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// What is wrong with these things, by what the ledger says of them.
async fn check(remote: &Remote, ledger: &Ledger, only: impl Fn(&Thing) -> bool) {
    let mut allowed: BTreeMap<Thing, BTreeSet<State>> = ledger.now();
    allowed.retain(|thing, _| only(thing));
    let wrong = wrongs(remote, &allowed).await;
    assert!(wrong.is_empty(), "{} wrongs, the first: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_sigkill() {
    let mut random = Random::announced("sigkill");
    let mut registry = Registry::start().await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut load = Load {
        remote: Remote::new(&registry.url),
        ledger: Arc::clone(&ledger),
        answers: Arc::default(),
        enough: Arc::default(),
        kill_at: 0,
    };
    assert!(load.act(Act::Blob(SHARED, SHARED_BLOB)).await);
    for round in 0..short_or_long(6, 200) {
        load.answers = Arc::default();
        load.kill_at = 1 + random.below(80);
        let clients = [0, 1, 2, 3]
            .map(|number| tokio::spawn(client(load.clone(), format!("load/round{round}-{number}"), random.fork())));
        load.enough.notified().await;
        registry.stop();
        for client in clients {
            client.await.unwrap();
        }
        registry = registry.restart().await;
        let ledger = ledger.lock().unwrap().clone();
        check(&load.remote, &ledger, |thing| thing.repository().contains(&format!("round{round}-"))).await;
    }
    let ledger = ledger.lock().unwrap().clone();
    check(&load.remote, &ledger, |_| true).await;
    registry.stop();
    leftovers_are_swept(registry.root()).await;
    let registry = registry.restart().await;
    check(&Remote::new(&registry.url), &ledger, |_| true).await;
}

#[derive(Debug)]
struct Later(Duration);

impl TimeSource for Later {
    fn now_millis(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + self.0;
        u64::try_from(now.as_millis()).unwrap()
    }
}

/// Nine days later nothing is left of what was going on.
async fn leftovers_are_swept(root: &Path) {
    let late = Duration::from_hours(9 * 24);
    for place in ["regatta/v1/tmp", "regatta/v1/uploads"] {
        age(&root.join(place), late);
    }
    let store = FsStore::open(root, layout::temporaries()).unwrap();
    let registry = regatta::registry::Registry::open(Arc::new(store), Arc::new(Later(late))).await.unwrap();
    println!("{:?}", registry.sweep().await.unwrap());
    for place in ["regatta/v1/tmp", "regatta/v1/uploads", "regatta/v1/journal"] {
        let left = files(&root.join(place));
        assert!(left.is_empty(), "{left:?}");
    }
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn age(directory: &Path, by: Duration) {
    for path in files(directory) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }
}
