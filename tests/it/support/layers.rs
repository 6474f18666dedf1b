//! What stands between an operator and the API server: it can end the operator after its n-th change, hold back lists
//! of a kind, or let it hear nothing any more.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::{Body as HttpBody, Frame};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::sync::watch;
use tower::{BoxError, Layer, Service};

/// What is done to an operator's requests.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    changes: AtomicUsize,
    log: Mutex<Vec<String>>,
    lists: Mutex<BTreeSet<String>>,
    end_after: usize,
    ended: watch::Sender<bool>,
    held_list: Mutex<Option<String>>,
    deaf: AtomicBool,
    corrupted: Mutex<Vec<(String, String)>>,
    refused: Mutex<Vec<String>>,
}

impl Control {
    /// Nothing is done, only counted.
    pub fn counting() -> Self {
        Self::ending_after(usize::MAX)
    }

    /// The operator ends once the n-th change was answered by the API server, and does not learn of the answer.
    pub fn ending_after(end_after: usize) -> Self {
        let inner = Inner {
            changes: AtomicUsize::new(0),
            log: Mutex::default(),
            lists: Mutex::default(),
            end_after,
            ended: watch::Sender::new(false),
            held_list: Mutex::default(),
            deaf: AtomicBool::new(false),
            corrupted: Mutex::default(),
            refused: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Holds back every list whose path ends like this.
    pub fn hold_list(&self, plural: &str) {
        *self.inner.held_list.lock().unwrap() = Some(format!("/{plural}"));
    }

    /// Lets lists through again.
    pub fn release_lists(&self) {
        *self.inner.held_list.lock().unwrap() = None;
    }

    /// What the operator reads has `to` in the place of `from`, which is as long.
    pub fn corrupt(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        self.inner.corrupted.lock().unwrap().push((from.to_owned(), to.to_owned()));
    }

    /// From now on requests whose path ends like one of these come to nothing.
    pub fn refuse(&self, ends: &[&str]) {
        self.inner.refused.lock().unwrap().extend(ends.iter().map(|end| (*end).to_owned()));
    }

    /// Lets every request through again.
    pub fn relent(&self) {
        self.inner.refused.lock().unwrap().clear();
    }

    fn is_refused(&self, path: &str, query: &str) -> bool {
        let refused = self.inner.refused.lock().unwrap();
        !query.contains("watch=true") && refused.iter().any(|end| path.ends_with(end))
    }

    fn corrupted(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let corrupted = self.inner.corrupted.lock().unwrap();
        if corrupted.is_empty() {
            return frame;
        }
        frame.map_data(|data| match std::str::from_utf8(&data) {
            Ok(text) => Bytes::from(corrupted.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))),
            Err(_) => data,
        })
    }

    /// From now on no event of any watch gets through.
    pub fn deafen(&self) {
        self.inner.deaf.store(true, Ordering::SeqCst);
    }

    /// How many changes were asked for.
    pub fn changes(&self) -> usize {
        self.inner.changes.load(Ordering::SeqCst)
    }

    /// The changes that were asked for.
    pub fn log(&self) -> Vec<String> {
        self.inner.log.lock().unwrap().clone()
    }

    /// The resources that were listed.
    pub fn lists(&self) -> BTreeSet<String> {
        self.inner.lists.lock().unwrap().clone()
    }

    /// Comes back when the operator is to end.
    pub async fn ended(&self) {
        let mut ended = self.inner.ended.subscribe();
        ended.wait_for(|ended| *ended).await.expect("the control is there");
    }

    /// A client with this in between.
    pub fn client(&self, config: Config) -> Client {
        ClientBuilder::try_from(config).expect("a client").with_layer(self).build()
    }

    fn is_held(&self, path: &str, query: &str) -> bool {
        let held = self.inner.held_list.lock().unwrap();
        !query.contains("watch=true") && held.as_ref().is_some_and(|held| path.ends_with(held.as_str()))
    }
}

impl<S> Layer<S> for Control {
    type Service = Controlled<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Controlled { control: self.clone(), inner }
    }
}

/// A service under control.
#[derive(Clone)]
pub struct Controlled<S> {
    control: Control,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Controlled<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Hearing<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let control = self.control.clone();
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        // The Lease and Events are no part of any scenario: when they are written is a matter of time.
        let counted = request.method() != Method::GET
            && !path.contains("/leases/")
            && !path.ends_with("/leases")
            && !path.contains("/events");
        let name = format!("{} {path}", request.method());
        if control.is_refused(&path, &query) {
            return Box::pin(std::future::ready(Err("the connection was closed".into())));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            while control.is_held(&path, &query) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            if *control.inner.ended.borrow() {
                return std::future::pending().await;
            }
            let response = answer.await?;
            if query.contains("limit=") || query.contains("sendInitialEvents") {
                control.inner.lists.lock().unwrap().insert(path.clone());
            }
            if counted {
                control.inner.log.lock().unwrap().push(format!("{} {name}", response.status().as_u16()));
                if control.inner.changes.fetch_add(1, Ordering::SeqCst) + 1 >= control.inner.end_after {
                    control.inner.ended.send_replace(true);
                    return std::future::pending().await;
                }
            }
            let watched = query.contains("watch=true");
            Ok(response.map(|body| Hearing { body, control, watched }))
        })
    }
}

/// A body that may fall silent.
pub struct Hearing<B> {
    body: B,
    control: Control,
    watched: bool,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Hearing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.watched && self.control.inner.deaf.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        let this = &mut *self;
        Pin::new(&mut this.body).poll_frame(context).map_ok(|frame| this.control.corrupted(frame))
    }
}
