//! Collections beside whoever may have the lease of the only writer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::commands::sole::quick;
use crate::gc::tests::settled;
use crate::registry::tests::time::Hands;
use crate::registry::tests::{push_blob, repository};
use crate::store::faulty::{FaultyStore, Operation};
use crate::store::memory::MemoryStore;
use crate::store::{Key, Store};

const ALL: Options = Options { untagged: true, grace_millis: 0, window_millis: 0 };
/// Three looks that are not answered last until what was seen before is too old: who looks for the fourth time is blind.
const BLIND: u64 = 4;
/// So often that the pause has lasted.
const LONG_BLIND: u64 = 8;
const BLOBS: [&[u8]; 5] = [b"one", b"two", b"three", b"four", b"five"];

/// What becomes of a store with the first thing that is purged from it.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It answers nothing any more.
    Silent,
    /// It answers nothing but looks at the lease.
    SilentButForTheLease,
    /// It fails at once whatever it is asked.
    Failing,
}

/// What the store does, and what it was asked for since.
struct Faults {
    fault: Fault,
    armed: AtomicBool,
    present: AtomicBool,
    looks: watch::Sender<u64>,
    others: Mutex<Vec<(Operation, String)>>,
}

impl Faults {
    fn is_present(&self) -> bool {
        self.present.load(Ordering::SeqCst)
    }

    fn note(&self, operation: Operation, key: &Key) {
        if operation == Operation::Delete && self.armed.swap(false, Ordering::SeqCst) {
            self.present.store(true, Ordering::SeqCst);
        }
        if !self.is_present() {
            return;
        }
        if is_lease(key) {
            self.looks.send_modify(|looks| *looks += 1);
        } else if operation.changes() || *self.looks.borrow() >= BLIND {
            self.others.lock().unwrap().push((operation, key.to_string()));
        }
    }

    fn hangs(&self, key: &Key) -> bool {
        let spared = match self.fault {
            Fault::Failing => return false,
            Fault::Silent => false,
            Fault::SilentButForTheLease => is_lease(key),
        };
        self.is_present() && !spared
    }

    /// What was to change since it began, and all that was asked for in the pause, but for the lease. The first one is the
    /// thing that began it.
    fn other_requests(&self) -> Vec<(Operation, String)> {
        self.others.lock().unwrap().clone()
    }

    /// Waits until the lease was looked for so often since it began.
    async fn looked(&self, looks: u64) {
        self.looks.subscribe().wait_for(|so_far| *so_far >= looks).await.unwrap();
    }
}

fn is_lease(key: &Key) -> bool {
    key.as_str().starts_with(layout::sole().as_str())
}

/// A store with blobs that nothing needs, and who collects them.
struct World {
    memory: Store,
    store: FaultyStore,
    hands: Arc<Hands>,
    faults: Arc<Faults>,
    open: Open,
    stop: CancellationToken,
}

impl World {
    async fn with(fault: Fault) -> Self {
        let memory: Store = Arc::new(MemoryStore::default());
        let faults = Arc::new(Faults {
            fault,
            armed: AtomicBool::default(),
            present: AtomicBool::default(),
            looks: watch::Sender::default(),
            others: Mutex::default(),
        });
        let (asked, hung) = (Arc::clone(&faults), Arc::clone(&faults));
        let store = FaultyStore::new(Arc::clone(&memory), move |operation, key| {
            asked.note(operation, key);
            !(asked.is_present() && matches!(asked.fault, Fault::Failing))
        });
        let store = store.hanging(move |_, key| hung.hangs(key));
        let (shared, hands) = (Arc::new(store.clone()) as Store, Arc::new(Hands::default()));
        let registry = Registry::open(Arc::clone(&shared), Arc::clone(&hands) as _).await.unwrap();
        for blob in BLOBS {
            push_blob(&registry, &repository("a"), blob).await;
        }
        settled(&registry).await;
        faults.armed.store(true, Ordering::SeqCst);
        let apart = Apart::Sharer(quick(&shared), Instant::now());
        let open = Open { name: "the bucket".to_owned(), registry, apart };
        Self { memory, store, hands, faults, open, stop: CancellationToken::new() }
    }

    /// Collects while something happens; what was seen last of the lease, too.
    async fn collect_while(&self, happens: impl AsyncFnOnce()) -> (Outcome, Result<(), Error>, Seen) {
        let mut turn = self.open.apart.turn();
        let collects = self.open.collect(&ALL, false, &self.stop, &mut turn);
        let ((outcome, result), ()) = tokio::join!(collects, happens());
        (outcome, result, turn.seen)
    }

    fn pass(&self, time: Duration) {
        self.store.advance(time);
        self.hands.turn_wall(time);
    }

    fn ends_fault(&self) {
        self.faults.present.store(false, Ordering::SeqCst);
    }
}

/// It ended with an error, which a Job tells of as a failed run.
#[tokio::test]
async fn a_collection_pauses_while_the_lease_cannot_be_seen_and_goes_on_then() {
    // Also where the pause outlasts the hold.
    for passes in [0, 3] {
        let world = World::with(Fault::Silent).await;
        let (outcome, result, _) = world
            .collect_while(async || {
                world.faults.looked(LONG_BLIND).await;
                world.pass(Duration::from_mins(passes));
                let asked = world.faults.other_requests();
                assert!(matches!(asked.as_slice(), [(Operation::Delete, _)]), "it only looks for the lease: {asked:?}");
                world.ends_fault();
            })
            .await;
        result.unwrap();
        let all = BLOBS.len() as u64;
        assert_eq!(outcome.purged, Counts { manifests: 0, links: all, blobs: all });
        assert_eq!(outcome.bytes_freed, BLOBS.iter().map(|blob| blob.len() as u64).sum::<u64>());
        let (again, result, _) = world.collect_while(async || {}).await;
        result.unwrap();
        assert_eq!((again.scanned, again.purged), (Counts::default(), Counts::default()), "nothing was left");
    }
}

/// A bucket that refuses, as one does that is started anew, ended it at its first request.
#[tokio::test]
async fn a_collection_pauses_while_all_that_it_asks_for_fails() {
    let world = World::with(Fault::Failing).await;
    let (outcome, result, _) = world
        .collect_while(async || {
            world.faults.looked(LONG_BLIND).await;
            world.ends_fault();
        })
        .await;
    result.unwrap();
    let all = BLOBS.len() as u64;
    assert_eq!(outcome.purged, Counts { manifests: 0, links: all, blobs: all });
    assert_eq!(outcome.scanned.blobs, all, "as it found them at first");
}

/// It began anew for ever, and held the registry read-only meanwhile.
#[tokio::test]
async fn a_collection_that_is_blind_again_and_again_ends() {
    let world = World::with(Fault::Silent).await;
    let again_and_again = async {
        loop {
            let looks = *world.faults.looks.borrow();
            world.faults.looked(looks + LONG_BLIND).await;
            world.ends_fault();
            world.faults.armed.store(true, Ordering::SeqCst);
            while !world.faults.is_present() {
                tokio::task::yield_now().await;
            }
        }
    };
    let (_, result, _) = tokio::select! {
        collected = world.collect_while(async || {}) => collected,
        () = again_and_again => unreachable!(),
    };
    assert!(matches!(&result, Err(Error::Paused { why, .. }) if why.contains("5 pauses")), "{result:?}");
}

#[tokio::test]
async fn who_stops_a_collection_that_pauses_is_told_and_nothing_is_written() {
    let world = World::with(Fault::Silent).await;
    let (outcome, result, seen) = world
        .collect_while(async || {
            world.faults.looked(LONG_BLIND).await;
            world.stop.cancel();
        })
        .await;
    assert!(matches!(result, Err(Error::Paused { .. })), "{result:?}");
    assert_eq!(seen, Seen::Blind, "so that the summary is not kept in the store");
    assert_eq!(outcome.condemned.blobs, BLOBS.len() as u64, "what it did it tells");
    assert_eq!(world.faults.other_requests().len(), 1, "not its hold either: {:?}", world.faults.other_requests());
}

#[tokio::test]
async fn a_collection_ends_where_another_has_the_lease_after_the_pause() {
    let world = World::with(Fault::Silent).await;
    let another = quick(&world.memory);
    let (_, result, seen) = world
        .collect_while(async || {
            world.faults.looked(LONG_BLIND).await;
            assert!(another.take(true).await.unwrap());
            world.ends_fault();
        })
        .await;
    assert!(matches!(result, Err(Error::Lost(_))), "{result:?}");
    assert_eq!(seen, Seen::Anothers);
    assert_eq!(world.faults.other_requests().len(), 1, "{:?}", world.faults.other_requests());
}

#[tokio::test]
async fn a_collection_ends_soon_where_another_takes_the_lease_whatever_the_store_does() {
    let world = World::with(Fault::SilentButForTheLease).await;
    let another = quick(&world.memory);
    let (_, result, seen) = world
        .collect_while(async || {
            world.faults.looked(1).await;
            assert!(another.take(true).await.unwrap());
        })
        .await;
    assert!(matches!(result, Err(Error::Lost(_))), "{result:?}");
    assert_eq!(seen, Seen::Anothers);
    let asked = world.faults.other_requests();
    assert_eq!(asked.iter().filter(|(operation, _)| operation.changes()).count(), 1, "{asked:?}");
}
