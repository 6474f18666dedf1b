//! A registry whose store a test watches, and whose clock it turns.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::time::Hands;
use crate::registry::{Registry, layout};
use crate::store::faulty::{FaultyStore, Operation};
use crate::store::{Key, memory::MemoryStore};

/// What happens, and whether the operation goes on then.
type Event = Box<dyn FnOnce() -> bool + Send>;

/// A registry to which things happen, each once, before the operation that is awaited.
pub(crate) struct Watched {
    pub(crate) registry: Registry,
    pub(crate) hands: Arc<Hands>,
    pub(crate) memory: MemoryStore,
    pub(crate) store: FaultyStore,
    awaited: Arc<Mutex<Vec<(Operation, String, Event)>>>,
}

impl Watched {
    pub(crate) async fn open() -> Self {
        let (hands, memory) = (Arc::new(Hands::default()), MemoryStore::default());
        let awaited: Arc<Mutex<Vec<(Operation, String, Event)>>> = Arc::default();
        let waiting = Arc::clone(&awaited);
        let store = FaultyStore::new(Arc::new(memory.clone()), move |operation, key: &Key| {
            let mut waiting = waiting.lock().unwrap();
            let is_awaited = |(awaited, prefix, _): &(Operation, String, Event)| {
                *awaited == operation && key.as_str().starts_with(prefix.as_str())
            };
            let Some(index) = waiting.iter().position(is_awaited) else { return true };
            let (_, _, event) = waiting.remove(index);
            drop(waiting);
            event()
        });
        let registry = Registry::open(Arc::new(store.clone()), Arc::clone(&hands) as _).await.unwrap();
        Self { registry, hands, memory, store, awaited }
    }

    /// Something happens before the next such operation on a key that begins so.
    pub(crate) fn before(&self, operation: Operation, prefix: &Key, event: impl FnOnce() + Send + 'static) {
        let event = move || {
            event();
            true
        };
        self.awaited.lock().unwrap().push((operation, prefix.to_string(), Box::new(event)));
    }

    /// The next such operation fails.
    pub(crate) fn fail(&self, operation: Operation, prefix: &Key) {
        self.awaited.lock().unwrap().push((operation, prefix.to_string(), Box::new(|| false)));
    }

    /// The next journal record takes so long, by one of the clocks.
    pub(crate) fn freeze(&self, turn: fn(&Hands, Duration), by: Duration) {
        let hands = Arc::clone(&self.hands);
        self.before(Operation::PutNew, &layout::journal(), move || turn(&hands, by));
    }

    pub(crate) fn assert_all_happened(&self) {
        assert!(self.awaited.lock().unwrap().is_empty(), "what was awaited never came");
    }
}
