//! A store in a bucket of an object store: S3, Google Cloud Storage, Azure Blob Storage, Swift, OSS, COS, OBS.
//!
//! - a key is created with `If-None-Match: *` or what the service has in its place. Where the service says that the key
//!   exists, the value is read and compared: the same value is one's own earlier try, whose answer was lost;
//! - an answer that did not come leaves open whether the write landed: nothing is created again without comparing;
//! - a temporary is an object of its own, written in parts where it is large, and published by a copy on the server's side
//!   that is as conditional as a creation, or else by sending its bytes once more;
//! - what the service can really do is *probed* (see `probe`); one that does not refuse a second creator is served by one
//!   process only, in which creators take turns.
//!
//! Requests are signed when they are sent and hold for a quarter of an hour at most, so that nothing that was delayed on
//! the way lands much later than it was decided.

mod compose;
mod copy;
mod exchange;
mod failures;
mod keystone;
mod late;
mod list;
mod listing;
mod probe;
mod read;
mod room;
mod segments;
mod services;
mod shared_access;
mod transport;
mod write;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::options::WriteOptions;
use opendal::{Capability, ErrorKind, HttpTransporter, OperationContext, Operator};
use tokio::sync::{Mutex, MutexGuard};

use super::config::{Secrets, Service};
use super::{
    Abilities, Answer, Backend, Capacity, Child, Durability, Exclusive, Key, Listing, Meta, Object, Piece, Published,
    PutNew, StoreError, Writer,
};
use exchange::Exchange;
use failures::{failed, found, is_refusal, text};
use probe::Findings;
pub(super) use read::Remote;
use shared_access::SharedAccess;
pub use transport::Requests;
use transport::{Observed, Seen};

/// How often a creation that met another in progress (409) is tried.
const ROUNDS: u32 = 6;

/// Creators that take turns are told apart by this many locks.
const LOCKS: usize = 64;

/// How long a URL holds that a client is sent to.
const REDIRECT: Duration = Duration::from_mins(10);

/// How much is borne before an operation fails.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long one request, or one part of a body, may take.
    pub request: Duration,
    /// How many times a request is sent again.
    pub retries: usize,
    /// The pause before the first of these; the next ones double.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request: Duration::from_mins(1),
            retries: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// A bucket as a store.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    operator: Operator,
    /// Sends each request once: for what must not be sent again.
    once: Operator,
    /// Whether the service copies what it was given a key for.
    copies: bool,
    /// For messages: the service and the bucket.
    name: String,
    scratch: Key,
    seen: Arc<Seen>,
    patience: Patience,
    redirects: Redirects,
    room: room::Room,
    findings: ArcSwap<Findings>,
    turns: [Mutex<()>; LOCKS],
}

/// How clients are sent to the service for the bytes of blobs.
enum Redirects {
    /// They are not.
    None,
    /// By a URL that the library signs.
    Signed,
    /// By one that is signed here.
    SharedAccess(SharedAccess),
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.inner.name).finish()
    }
}

impl Bucket {
    /// Opens a bucket and probes it. `scratch` is the directory (a key) for what the probe writes; `client` decides whose
    /// certificates are believed.
    pub async fn open(
        service: &Service,
        secrets: &Secrets,
        client: reqwest::Client,
        scratch: Key,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let name = format!("{} bucket {}", service.name(), service.bucket());
        let opened = services::open(service, secrets, &client);
        let (operator, keystone) =
            opened.map_err(|error| StoreError::Unsuitable { path: name.clone(), why: text(&error) })?;
        let seen = Arc::new(Seen::default());
        let exchange =
            Exchange::new(service, secrets).map_err(|why| StoreError::Unsuitable { path: name.clone(), why })?;
        let is_swift = matches!(service, Service::Swift(_));
        let transport = Observed::new(client, Arc::clone(&seen), keystone, exchange, is_swift);
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(transport));
        let redirects = redirects(service, secrets)
            .map_err(|why| StoreError::Unsuitable { path: name.clone(), why: why.to_owned() })?;
        // Azure copies nothing that it would need a customer's key for.
        let copies = !(matches!(service, Service::Azure(_)) && service.customer_key().is_some());
        let operator = operator.with_context(context);
        let bucket = Self::over(operator, copies, name, scratch, patience, redirects, seen);
        bucket.probe().await?;
        bucket.require_redirects().await?;
        Ok(bucket)
    }

    fn over(
        operator: Operator,
        copies: bool,
        name: String,
        scratch: Key,
        patience: Patience,
        redirects: Redirects,
        seen: Arc<Seen>,
    ) -> Self {
        let Patience { request, retries, first_pause, longest_pause } = patience;
        let once = operator.layer(TimeoutLayer::new().with_timeout(request).with_io_timeout(request));
        let retry = RetryLayer::new()
            .with_jitter()
            .with_max_times(retries)
            .with_min_delay(first_pause)
            .with_max_delay(longest_pause)
            .with_notify(|event: opendal::layers::RetryEvent<'_>| {
                let error = text(event.err);
                tracing::debug!(operation = %event.op, error, "a request to the bucket is sent again");
                super::trouble::note(error);
            });
        let findings = ArcSwap::from_pointee(Findings::expected(&once.info(), copies));
        let inner = Inner {
            operator: once.clone().layer(retry),
            once,
            copies,
            name,
            scratch,
            seen,
            patience,
            redirects,
            room: room::Room::default(),
            findings,
            turns: std::array::from_fn(|_| Mutex::new(())),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many requests went out since the bucket was opened.
    pub fn requests(&self) -> Requests {
        self.inner.seen.requests()
    }

    /// Whether the service is known to refuse to create what exists, whatever was found of this bucket.
    pub fn is_to_be_exclusive(&self) -> bool {
        Findings::expected(&self.inner.once.info(), self.inner.copies).creates
    }

    fn capability(&self) -> Capability {
        self.inner.operator.info().capability()
    }

    /// The turn of a creator of this key, where the service does not say itself who is first.
    async fn turn(&self, key: &Key) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        self.inner.turns[index].lock().await
    }

    /// The pause before try `round` of something that this file tries again itself.
    async fn pause(&self, round: u32) {
        let Patience { first_pause, longest_pause, .. } = self.inner.patience;
        tokio::time::sleep(first_pause.saturating_mul(1 << round.min(16)).min(longest_pause)).await;
    }

    async fn create(&self, key: &Key, value: &Bytes) -> Result<PutNew, StoreError> {
        if !self.inner.findings.load().creates {
            return self.create_in_turn(key, value).await;
        }
        let options = || WriteOptions { if_not_exists: true, ..WriteOptions::default() };
        let mut round = 0;
        loop {
            let written = self.inner.operator.write_options(key.as_str(), value.clone(), options()).await;
            let Err(error) = written else { return Ok(PutNew::Created) };
            let refused = is_refusal(&error);
            match self.stored(key).await? {
                // Also when the answer was lost, or was an error: what is there decides, not what was said.
                Some(stored) if stored == *value => return Ok(PutNew::Created),
                Some(stored) => return Ok(PutNew::Exists(stored)),
                // It was there and is gone: deleted between the two calls. Nobody reuses the names of what is deleted.
                None if refused => return Ok(PutNew::Exists(Bytes::new())),
                None if error.kind() == ErrorKind::Conflict && round < ROUNDS => {}
                None => return Err(failed("creating", key, error)),
            }
            self.pause(round).await;
            round += 1;
        }
    }

    async fn create_in_turn(&self, key: &Key, value: &Bytes) -> Result<PutNew, StoreError> {
        let _turn = self.turn(key).await;
        match self.stored(key).await? {
            Some(stored) if stored == *value => return Ok(PutNew::Created),
            Some(stored) => return Ok(PutNew::Exists(stored)),
            None => {}
        }
        let written = self.inner.operator.write(key.as_str(), value.clone()).await;
        written.map(|_| PutNew::Created).map_err(|error| failed("creating", key, error))
    }

    async fn stored(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let read = found(self.inner.operator.read(key.as_str()).await);
        Ok(read.map_err(|error| failed("reading", key, error))?.map(|buffer| buffer.to_bytes()))
    }

    async fn meta(&self, key: &Key) -> Result<Option<Meta>, StoreError> {
        Ok(self.stat(key).await?.map(|meta| to_meta(&meta)))
    }

    async fn stat(&self, key: &Key) -> Result<Option<opendal::Metadata>, StoreError> {
        let stat = found(self.inner.operator.stat(key.as_str()).await);
        let meta = stat.map_err(|error| failed("looking at", key, error))?;
        Ok(meta.filter(|meta| !meta.is_dir()))
    }

    /// The services answer a deletion of nothing like one of something.
    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        if self.meta(key).await?.is_none() {
            return Ok(false);
        }
        let deleted = self.inner.operator.delete(key.as_str()).await;
        deleted.map(|()| true).map_err(|error| failed("deleting", key, error))
    }

    /// By the date of any answer: a look at a key that nobody makes costs least.
    async fn time(&self) -> Result<SystemTime, StoreError> {
        let asked = Instant::now();
        let key = self.inner.scratch.join("clock");
        let meta = self.meta(&key).await?;
        if let Some(now) = self.inner.seen.now(asked) {
            return Ok(now);
        }
        // One that does not date its answers dates its objects.
        if meta.is_some() {
            self.remove(&key).await?;
        }
        let written = self.inner.operator.write(key.as_str(), Bytes::new()).await;
        written.map_err(|error| failed("writing", &key, error))?;
        let written = self.meta(&key).await?;
        self.remove(&key).await?;
        written
            .map(|meta| meta.modified)
            .ok_or_else(|| StoreError::io("reading the clock of", &key, io::ErrorKind::NotFound.into()))
    }

    /// Where clients are to be sent to the service, that can be done with the credentials that there are: they are not to
    /// find out otherwise one by one.
    async fn require_redirects(&self) -> Result<(), StoreError> {
        let Inner { redirects, name, scratch, .. } = &*self.inner;
        if matches!(redirects, Redirects::None) {
            return Ok(());
        }
        let why = match self.presigned(&scratch.join("redirect")).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => "it needs headers of its own".to_owned(),
            Err(error) => chain(&error),
        };
        let why = format!("with these credentials no URL can be signed ({why}): take others, or leave `redirect` out");
        Err(StoreError::Unsuitable { path: name.clone(), why })
    }

    async fn presigned(&self, key: &Key) -> Result<Option<String>, StoreError> {
        let signed = match &self.inner.redirects {
            Redirects::None => return Ok(None),
            Redirects::SharedAccess(access) => return Ok(access.url(key, REDIRECT)),
            Redirects::Signed => self.inner.operator.presign_read(key.as_str(), REDIRECT).await,
        };
        let signed = signed.map_err(|error| failed("signing a URL of", key, error))?;
        // A client that is sent there sends no headers of ours. The host's name, which some sign, is in the URL; a date that
        // COS's has beside it is not signed.
        let ours = |name: &http::HeaderName| *name != http::header::HOST && *name != http::header::DATE;
        let needs_none = !signed.header().keys().any(ours);
        Ok(needs_none.then(|| signed.uri().to_string()))
    }
}

/// Azure's library hands on the signature that it was given, which lets whoever has it do what the registry may.
fn redirects(service: &Service, secrets: &Secrets) -> Result<Redirects, &'static str> {
    match service {
        _ if !service.redirect() => Ok(Redirects::None),
        _ if service.customer_key().is_some() => Err(
            "`redirect` would send clients to objects that nobody can read without the key of `encryption.customer`, which \
            they do not have: leave one of the two out",
        ),
        Service::Azure(azure) => match &secrets.account_key {
            Some(key) => {
                Ok(Redirects::SharedAccess(SharedAccess::new(azure, &services::azure_endpoint(azure), key.clone())))
            }
            None => Err(
                "`azure.redirect` needs the account's key (`accountKey`), which URLs of one blob are signed with; the \
                registry's own `sasToken` is not handed to clients: give the key, or leave `redirect` out",
            ),
        },
        Service::S3(_) | Service::Gcs(_) | Service::Swift(_) | Service::Oss(_) | Service::Cos(_) | Service::Obs(_) => {
            Ok(Redirects::Signed)
        }
    }
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn to_meta(meta: &opendal::Metadata) -> Meta {
    // A service that dates nothing has no young objects.
    let modified = meta.last_modified().map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
    Meta { size: meta.content_length(), modified }
}

impl Backend for Bucket {
    fn put_new<'a>(&'a self, key: &'a Key, value: Bytes, _: Durability) -> Answer<'a, PutNew> {
        Box::pin(async move { self.create(key, &value).await })
    }

    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Bytes>> {
        Box::pin(self.stored(key))
    }

    fn open<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        Box::pin(self.open_object(key))
    }

    fn open_in_part<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Object>> {
        Box::pin(self.look_at_object(key))
    }

    fn head<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Meta>> {
        Box::pin(self.meta(key))
    }

    fn children<'a>(&'a self, directory: &'a Key, after: Option<&'a str>, limit: usize) -> Answer<'a, Vec<Child>> {
        Box::pin(self.list(directory, after, limit))
    }

    fn below<'a>(
        &'a self,
        directory: &'a Key,
        after: Option<&'a str>,
        limit: usize,
    ) -> Option<Answer<'a, Vec<String>>> {
        Some(Box::pin(self.list_below(directory, after, limit)))
    }

    fn listing(&self, directory: &Key, after: Option<&str>, deep: bool) -> Option<Box<dyn Listing>> {
        Some(Box::new(self.open_listing(directory, after, deep)?))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, bool> {
        Box::pin(self.remove(key))
    }

    fn temporary<'a>(&'a self, key: &'a Key) -> Answer<'a, Box<dyn Writer>> {
        Box::pin(async move { Ok(Box::new(self.writer(key).await?) as Box<dyn Writer>) })
    }

    fn compose<'a>(&'a self, pieces: &'a [Piece], whole: &'a Key) -> Option<Answer<'a, ()>> {
        self.can_compose(pieces).then(|| Box::pin(self.put_together(pieces, whole)) as Answer<'a, ()>)
    }

    fn publish<'a>(&'a self, temporary: &'a Key, key: &'a Key, _: Durability) -> Answer<'a, Published> {
        Box::pin(self.copy_new(temporary, key))
    }

    fn rename<'a>(&'a self, from: &'a Key, to: &'a Key) -> Answer<'a, bool> {
        Box::pin(self.move_new(from, to))
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        Box::pin(self.time())
    }

    fn capacity(&self) -> Answer<'_, Option<Capacity>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn abilities(&self) -> Abilities {
        let findings = self.inner.findings.load();
        let exclusive = if findings.creates { Exclusive::Yes } else { Exclusive::No(findings.why.clone()) };
        let least_chunk = self.capability().write_multi_min_size.and_then(|size| u64::try_from(size).ok());
        let redirects = !matches!(self.inner.redirects, Redirects::None);
        Abilities { exclusive, least_chunk, redirects, seen_is_durable: true }
    }

    fn redirect<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<String>> {
        Box::pin(self.presigned(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, suite};

    async fn in_memory() -> Bucket {
        let operator = Operator::new(opendal::services::Memory::default()).unwrap();
        let scratch = Key::of("tmp".into());
        let bucket = Bucket::over(
            operator,
            true,
            "memory".into(),
            scratch,
            Patience::default(),
            Redirects::None,
            Arc::default(),
        );
        bucket.probe().await.unwrap();
        bucket
    }

    #[tokio::test]
    async fn the_librarys_memory_passes_the_suite() {
        let bucket = in_memory().await;
        assert_eq!(bucket.abilities().exclusive, Exclusive::Yes);
        suite::run(&(Arc::new(bucket) as Store)).await;
    }

    #[tokio::test]
    async fn creators_that_take_turns_pass_the_suite() {
        let bucket = in_memory().await;
        bucket.inner.findings.store(Arc::new(Findings::nothing("the test says so")));
        assert_eq!(bucket.abilities().exclusive, Exclusive::No("the test says so".into()));
        suite::run(&(Arc::new(bucket) as Store)).await;
    }

    #[tokio::test]
    async fn the_probe_leaves_nothing_behind() {
        let bucket = in_memory().await;
        assert_eq!(bucket.children(&Key::of("tmp".into()), None, 10).await.unwrap(), []);
    }
}
