//! A server on a recorded disk, what its clients did and were told, and what is left of that after every power cut.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use regatta::registry::journal::Cursor;
use tempfile::TempDir;

use crate::survival_acts::{Act, wrongs};
use crate::survival_cuts::combinations;
use crate::survival_disk::{Disk, Tree};
use crate::survival_fuse::{Faults, Volume};
use crate::survival_ledger::{Ledger, State, Thing};
use crate::survival_seed::{Random, short_or_long};
use crate::survival_server::{Ask as _, Node};

/// Mounts, or says why not. Whoever has no FUSE and knows it may go without these tests: `REGATTA_WITHOUT_FUSE=1`.
pub fn mount() -> Option<Volume> {
    let error = match Volume::mount() {
        Ok(volume) => return Some(volume),
        Err(error) => error,
    };
    assert!(
        std::env::var("REGATTA_WITHOUT_FUSE").is_ok_and(|value| value == "1"),
        "FUSE cannot be mounted ({error}): this test needs /dev/fuse, and Debian's package fuse3 for who is not root; \
         REGATTA_WITHOUT_FUSE=1 goes without it"
    );
    eprintln!("SKIPPED, AND NOTHING WAS TESTED: there is no FUSE here ({error})");
    None
}

/// A recorded disk, what its clients did, and what they were told.
#[derive(Clone)]
pub struct Scene {
    volume: Arc<Volume>,
    ledger: Arc<Mutex<Ledger>>,
    acts: Arc<Mutex<Vec<Act<'static>>>>,
    /// Cursors of the journal from before the trace, and from after it.
    cursors: Arc<Mutex<(Option<Cursor>, Option<Cursor>)>>,
}

/// What a power cut left, and what must be true of it.
struct Outcome {
    tree: Tree,
    allowed: BTreeMap<Thing, BTreeSet<State>>,
    /// What was answered in the trace.
    changed: Vec<Thing>,
    /// Cursors that readers of the journal had.
    cursors: Vec<Cursor>,
}

impl Scene {
    pub fn new() -> Option<Self> {
        Some(Self { volume: Arc::new(mount()?), ledger: Arc::default(), acts: Arc::default(), cursors: Arc::default() })
    }

    pub fn path(&self) -> &Path {
        self.volume.path()
    }

    /// The disk fails like this from now on.
    pub fn fail(&self, faults: Faults) {
        self.volume.fail(faults);
    }

    /// What was done so far is on disk, is promised, and is not done again.
    pub async fn settle(&self, node: &Node) {
        let cursor = node.settled().await;
        self.cursors.lock().unwrap().0 = Some(cursor);
        self.volume.with_disk(Disk::settle);
        self.acts.lock().unwrap().clear();
    }

    /// Waits for what comes after the answers: records that settle others.
    pub async fn finish(&self, node: &Node) {
        let cursor = node.settled().await;
        self.cursors.lock().unwrap().1 = Some(cursor);
    }

    /// Has a client ask for this, and be told that it is done.
    pub async fn act(&self, node: &Node, act: &Act<'static>) {
        let begun = self.begin(act);
        let status = act.send(node).await.unwrap();
        assert!(status.is_success(), "{act:?}: {status}");
        self.record(|ledger| ledger.answered(begun));
    }

    /// A client begins to ask for this.
    pub fn begin(&self, act: &Act<'static>) -> usize {
        self.acts.lock().unwrap().push(*act);
        self.record(|ledger| ledger.begin(act.changes()))
    }

    /// The moment on the disk is the one in the ledger: nothing comes between.
    fn record(&self, event: impl FnOnce(&mut Ledger) -> usize) -> usize {
        let mut ledger = self.ledger.lock().unwrap();
        let event = event(&mut ledger);
        self.volume.with_disk(|disk| disk.mark(event));
        event
    }

    /// What is wrong after any power cut since everything was settled; of each moment, `each` possibilities are tried
    /// where there are more.
    pub async fn losses(&self, name: &str, each: usize) -> Vec<String> {
        let start = Instant::now();
        let mut random = Random::announced(name);
        let outcomes = outcomes(self, each, &mut random);
        let acts = self.acts.lock().unwrap().clone();
        let mut wrong = Vec::new();
        for outcome in &outcomes {
            wrong.extend(examine(outcome, &acts).await);
        }
        println!("{name}: {} outcomes in {:?}", outcomes.len(), start.elapsed());
        wrong
    }

    /// Fails with what is wrong.
    pub async fn check(&self, name: &str) {
        let wrong = self.losses(name, short_or_long(64, 4096)).await;
        assert!(wrong.is_empty(), "{name}: {} wrongs, the first: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }
}

/// The tree as a directory; in memory, so that its syncs cost nothing.
fn materialise(tree: &Tree) -> TempDir {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    for (path, content) in tree {
        let path = directory.path().join(path);
        match content {
            None => std::fs::create_dir(path).unwrap(),
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
        }
    }
    directory
}

/// What a trace could have left, each once, with what is then promised.
fn outcomes(scene: &Scene, each: usize, random: &mut Random) -> Vec<Outcome> {
    let cuts = scene.volume.with_disk(|disk| disk.cut());
    let ledger = scene.ledger.lock().unwrap();
    let (since, until) = scene.cursors.lock().unwrap().clone();
    let moments = cuts.moments();
    let end = moments.last().copied().unwrap_or_default();
    // Events from before the trace have all happened.
    let first = cuts.marks(end).first().copied().unwrap_or(usize::MAX);
    let mut seen = HashSet::new();
    let mut outcomes = Vec::new();
    for moment in moments {
        let marks: BTreeSet<usize> = cuts.marks(moment).into_iter().collect();
        let allowed = ledger.allowed(|event| event < first || marks.contains(&event));
        for fates in combinations(&cuts, moment, each, random) {
            let tree = cuts.tree(moment, &fates);
            let mut hasher = DefaultHasher::new();
            (&tree, &marks).hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                let cursors = since.iter().chain(until.iter().filter(|_| moment == end)).cloned().collect();
                let changed = ledger.answers(&marks);
                outcomes.push(Outcome { tree, allowed: allowed.clone(), changed, cursors });
            }
        }
    }
    outcomes
}

/// Starts a server on what is left, and looks whether what was promised is there, whether everything that reads the
/// store in the background can, and whether the acts can be done again and hold then.
async fn examine(outcome: &Outcome, acts: &[Act<'static>]) -> Vec<String> {
    let directory = materialise(&outcome.tree);
    let node = Node::start(directory.path()).await;
    let mut wrong = wrongs(&node, &outcome.allowed).await;
    wrong.extend(untold(&node, outcome).await);
    wrong.extend(unusable_uploads(&node, &outcome.tree, acts).await);
    if let Err(error) = node.registry.sweep().await {
        wrong.push(format!("leftovers cannot be swept: {error}"));
    }
    let mut after = Ledger::default();
    for act in acts {
        let status = act.send(&node).await.unwrap();
        // What is to be deleted may be gone already.
        if !(status.is_success() || (act.is_delete() && status == StatusCode::NOT_FOUND)) {
            wrong.push(format!("{act:?}, once more, is answered {status}"));
        }
        let begun = after.begin(act.changes());
        after.answered(begun);
    }
    wrong.extend(wrongs(&node, &after.now()).await);
    wrong
}

/// The journal can be read from every cursor that was handed out; nobody is told that a backup was put back; and
/// whatever was answered is named.
async fn untold(node: &Node, outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, cursor) in outcome.cursors.iter().enumerate() {
        let read = match node.journal(Some(cursor)).await {
            Ok(read) => read,
            Err(error) => {
                wrong.push(format!("the journal cannot be read: {error}"));
                continue;
            }
        };
        if read.ahead || read.compare {
            wrong.push(format!("a cursor from before the power cut is taken for one of another history: {read:?}"));
        }
        let named: BTreeSet<Thing> =
            read.changes.iter().chain(&read.unsettled).map(|seen| Thing::from(&seen.register)).collect();
        let is_told = |thing: &&Thing| thing.is_register() && !matches!(thing, Thing::Blob(..));
        let must = outcome.changed.iter().filter(|thing| number == 0 && is_told(thing));
        let silent: Vec<_> = must.filter(|thing| !named.contains(thing)).collect();
        if !silent.is_empty() {
            wrong.push(format!("{silent:?} changed, and the journal names {named:?}"));
        }
    }
    wrong
}

/// Uploads of which the power cut left something can be asked for and closed, or are not there: never a failure.
async fn unusable_uploads(node: &Node, tree: &Tree, acts: &[Act<'static>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in tree.keys() {
        let Ok(id) = path.strip_prefix("regatta/v1/uploads") else { continue };
        for (repository, bytes) in acts.iter().filter_map(Act::upload).filter(|_| id.components().count() == 1) {
            let place = format!("/v2/{repository}/blobs/uploads/{}", id.display());
            let close = format!("{place}?digest={}", regatta::oci::Digest::sha256(bytes));
            for (method, path) in [(Method::GET, &place), (Method::PUT, &close)] {
                let status = node.ask(method.clone(), path, "text/plain", Bytes::new()).await.unwrap().status;
                if status.is_server_error() {
                    wrong.push(format!("{method} of an upload that the power cut broke is answered {status}"));
                }
            }
        }
    }
    wrong
}
