//! A store that counts and times what is asked of it: how often, how long it took, what failed, how many bytes.
//!
//! Objects pass through as they are, so that what is sent by sendfile or from memory still is; what is streamed out of
//! them is not counted here. A call costs two looks at the clock and some additions.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{
    Abilities, Answer, Backend, Capacity, Child, Durability, Key, Listing, Meta, Object, Operation, Piece, Published,
    PutNew, Store, StoreError, Writer, Writes,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

/// From a look-up in memory to a bucket that is asked again and again.
const BUCKETS: [f64; 11] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What was counted. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Figures {
    /// By operation; looked up once, so that counting is an addition and no search.
    each: Arc<[OfOperation]>,
    read: Counter,
    written: Counter,
    operations: Family<Outcome, Counter>,
    seconds: Family<Of, Histogram>,
    bytes: Family<Direction, Counter>,
}

#[derive(Debug, Clone)]
struct OfOperation {
    ok: Counter,
    full: Counter,
    error: Counter,
    seconds: Histogram,
}

impl Default for Figures {
    fn default() -> Self {
        let operations = Family::<Outcome, Counter>::default();
        let seconds = Family::<Of, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let bytes = Family::<Direction, Counter>::default();
        let each = Operation::ALL.map(|operation| {
            let operation = operation.as_str();
            let counter = |outcome| operations.get_or_create_owned(&Outcome { operation, outcome });
            let seconds = seconds.get_or_create_owned(&Of { operation });
            OfOperation { ok: counter("ok"), full: counter("full"), error: counter("error"), seconds }
        });
        let direction = |direction| bytes.get_or_create_owned(&Direction { direction });
        let (read, written) = (direction("read"), direction("written"));
        Self { each: Arc::new(each), read, written, operations, seconds, bytes }
    }
}

impl Figures {
    /// Makes them part of a registry of metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "store_operations",
            "What was asked of the volume or bucket, by operation and outcome",
            self.operations.clone(),
        );
        registry.register("store_operation_duration_seconds", "Seconds until it was done", self.seconds.clone());
        registry.register(
            "store_bytes",
            "Bytes of values that were read whole, and of all that was written",
            self.bytes.clone(),
        );
    }

    fn observe<T>(&self, operation: Operation, elapsed: Duration, answer: &Result<T, StoreError>) {
        // They are in the order of `ALL`, which is that of the variants.
        let Some(of) = self.each.get(operation as usize) else { return };
        of.seconds.observe(elapsed.as_secs_f64());
        match answer {
            Ok(_) => of.ok.inc(),
            Err(StoreError::Full { .. }) => of.full.inc(),
            Err(
                StoreError::ReadOnly { .. }
                | StoreError::Busy { .. }
                | StoreError::Silent { .. }
                | StoreError::Io { .. }
                | StoreError::Unsuitable { .. },
            ) => of.error.inc(),
        };
    }
}

/// Another store, counted.
#[derive(Debug, Clone)]
pub struct MeteredStore {
    inner: Store,
    figures: Figures,
}

impl MeteredStore {
    /// Counts what is asked of `inner`.
    pub fn new(inner: Store, figures: Figures) -> Self {
        Self { inner, figures }
    }

    fn timed<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        ask: impl FnOnce(&'a Store) -> Answer<'a, T>,
    ) -> Answer<'a, T> {
        self.timed_and(operation, ask, |_| ())
    }

    /// Backends may do all of their work before there is a future to wait for: that counts too.
    fn timed_and<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        ask: impl FnOnce(&'a Store) -> Answer<'a, T>,
        look: impl FnOnce(&T) + Send + 'a,
    ) -> Answer<'a, T> {
        let began = Instant::now();
        let work = ask(&self.inner);
        Box::pin(async move {
            let answer = work.await;
            self.figures.observe(operation, began.elapsed(), &answer);
            answer.inspect(look)
        })
    }

    fn count_read(&self, found: Option<&Bytes>) {
        self.figures.read.inc_by(found.map_or(0, Bytes::len) as u64);
    }
}

impl Backend for MeteredStore {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, durability: Durability) -> Answer<'a, PutNew> {
        self.figures.written.inc_by(value.len() as u64);
        self.timed(Operation::PutNew, |inner| inner.put_new(key, value, durability))
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.timed_and(Operation::Read, |inner| inner.read(key), |found| self.count_read(found.as_ref()))
    }

    fn read_through<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        self.timed_and(Operation::Read, |inner| inner.read_through(key), |found| self.count_read(found.as_ref()))
    }

    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.timed(Operation::Open, |inner| inner.open(key))
    }

    fn open_in_part<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        self.timed(Operation::Open, |inner| inner.open_in_part(key))
    }

    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        self.timed(Operation::Head, |inner| inner.head(key))
    }

    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        self.timed(Operation::Children, |inner| inner.children(directory, after, limit))
    }

    fn below<'a>(
        &'a self,
        directory: &'a Key,
        after: Option<&'a str>,
        limit: usize,
    ) -> Option<Answer<'a, Vec<String>>> {
        let listed = self.inner.below(directory, after, limit)?;
        Some(self.timed(Operation::Children, |_| listed))
    }

    fn listing(&self, directory: &Key, after: Option<&str>, deep: bool) -> Option<Box<dyn Listing>> {
        let inner = self.inner.listing(directory, after, deep)?;
        Some(Box::new(MeteredListing { inner, figures: self.figures.clone() }))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.timed(Operation::Delete, |inner| inner.delete(key))
    }

    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        let work = self.timed(Operation::Temporary, |inner| inner.temporary(key));
        let figures = self.figures.clone();
        Box::pin(async move {
            let inner = work.await?;
            Ok(Box::new(MeteredWriter { inner, figures }) as Box<dyn Writer>)
        })
    }

    fn compose<'a>(&'a self, pieces: &'a [Piece], whole: &'a Key) -> Option<Answer<'a, ()>> {
        let composed = self.inner.compose(pieces, whole)?;
        Some(self.timed(Operation::Compose, |_| composed))
    }

    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, durability: Durability) -> Answer<'a, Published> {
        self.timed(Operation::Publish, |inner| inner.publish(temporary, key, durability))
    }

    fn replace<'a>(&'a self, temporary: &'a Key, key: &'a Key) -> Answer<'a, bool> {
        self.timed(Operation::Replace, |inner| inner.replace(temporary, key))
    }

    fn make_durable<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        self.timed(Operation::MakeDurable, |inner| inner.make_durable(key))
    }

    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        self.timed(Operation::Rename, |inner| inner.rename(from, to))
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        self.timed(Operation::Now, |inner| inner.now())
    }

    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        self.timed(Operation::Capacity, |inner| inner.capacity())
    }

    fn writes(&self) -> Writes {
        self.inner.writes()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn staleness(&self) -> Option<Duration> {
        self.inner.staleness()
    }

    fn redirect<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<String>> {
        self.timed(Operation::Redirect, |inner| inner.redirect(key))
    }
}

/// A listing, counted by its pages.
struct MeteredListing {
    inner: Box<dyn Listing>,
    figures: Figures,
}

impl Listing for MeteredListing {
    fn next(&mut self, limit: usize) -> Answer<'_, Vec<Child>> {
        let began = Instant::now();
        let work = self.inner.next(limit);
        let figures = &self.figures;
        Box::pin(async move {
            let answer = work.await;
            figures.observe(Operation::Children, began.elapsed(), &answer);
            answer
        })
    }
}

/// The writer of a temporary object, counted.
struct MeteredWriter {
    inner: Box<dyn Writer>,
    figures: Figures,
}

impl Writer for MeteredWriter {
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        self.figures.written.inc_by(bytes.len() as u64);
        let began = Instant::now();
        let work = self.inner.write(bytes);
        let figures = &self.figures;
        Box::pin(async move {
            let answer = work.await;
            figures.observe(Operation::Write, began.elapsed(), &answer);
            answer
        })
    }

    fn gives_way(&mut self) -> Answer<'_, ()> {
        self.inner.gives_way()
    }

    fn finish(self: Box<Self>, durability: Durability) -> Answer<'static, u64> {
        let Self { inner, figures } = *self;
        let began = Instant::now();
        let work = inner.finish(durability);
        Box::pin(async move {
            let answer = work.await;
            figures.observe(Operation::Finish, began.elapsed(), &answer);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faulty::FaultyStore;
    use crate::store::memory::MemoryStore;
    use crate::store::suite;

    fn text(figures: &Figures) -> String {
        let mut registry = Registry::default();
        figures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[tokio::test]
    async fn it_passes_the_suite_of_every_backend() {
        let store: Store = Arc::new(MeteredStore::new(Arc::new(MemoryStore::default()), Figures::default()));
        suite::run(&store).await;
    }

    #[test]
    fn nothing_that_a_backend_can_say_is_kept_back() {
        let port = include_str!("../store.rs");
        let port = port.split("pub trait Backend").nth(1).and_then(|rest| rest.split("\n}\n").next()).unwrap();
        let methods: Vec<&str> =
            port.lines().filter_map(|line| line.strip_prefix("    fn ")?.split(['<', '(']).next()).collect();
        assert!(methods.len() > 12, "{methods:?}");
        for method in methods {
            let passed_on = include_str!("metered.rs").contains(&format!("inner.{method}("));
            assert!(passed_on, "{method} is the default's");
        }
    }

    #[test]
    fn figures_are_found_by_their_operation() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place, "{}", operation.as_str());
        }
    }

    #[tokio::test]
    async fn what_is_asked_is_counted_with_its_outcome_and_its_bytes() {
        let figures = Figures::default();
        let faulty = FaultyStore::new(Arc::new(MemoryStore::default()), |operation, _| operation != Operation::Delete);
        let store = MeteredStore::new(Arc::new(faulty), figures.clone());
        let key: Key = Key::new("a/b").unwrap();
        let value = Bytes::from_static(b"12345");
        store.put_new(&key, value.clone(), Durability::Durable).await.unwrap();
        store.put_new(&key, value, Durability::Durable).await.unwrap();
        store.read(&key).await.unwrap();
        store.delete(&key).await.unwrap_err();
        let temporary: Key = Key::new("t/1").unwrap();
        let mut writer = store.temporary(&temporary).await.unwrap();
        writer.write(Bytes::from_static(b"123")).await.unwrap();
        writer.finish(Durability::Volatile).await.unwrap();
        let text = text(&figures);
        for line in [
            "store_operations_total{operation=\"put_new\",outcome=\"ok\"} 2",
            "store_operations_total{operation=\"delete\",outcome=\"error\"} 1",
            "store_operations_total{operation=\"delete\",outcome=\"ok\"} 0",
            "store_operations_total{operation=\"write\",outcome=\"ok\"} 1",
            "store_operations_total{operation=\"finish\",outcome=\"ok\"} 1",
            "store_operation_duration_seconds_count{operation=\"put_new\"} 2",
            "store_bytes_total{direction=\"read\"} 5",
            "store_bytes_total{direction=\"written\"} 13",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in:\n{text}");
        }
    }
}
