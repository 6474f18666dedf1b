//! The HTTP client below a bucket: counts what goes out, and reads the service's clock from what comes back.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Request, Response, StatusCode, header};
use opendal::raw::Operation;
use opendal::{Buffer, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::exchange::{self, Before, Exchange};
use super::keystone::Keystone;
use super::late::Late;
use super::segments::Segments;

tokio::task_local! {
    /// How many pages of a listing came, while one is read: entries of two pages are not in one order.
    pub(super) static PAGES: Cell<u64>;
}

/// Requests that went to a bucket since it was opened, retries among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// Pages of listings.
    pub list: u64,
    /// Objects read, whole or in part.
    pub read: u64,
    /// Looks at an object's size and age.
    pub head: u64,
    /// Objects and parts written, and multipart uploads begun and completed.
    pub write: u64,
    /// Copies on the server's side.
    pub copy: u64,
    /// Objects deleted.
    pub delete: u64,
    /// Anything else: credentials.
    pub other: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { list, read, head, write, copy, delete, other } = self;
        list + read + head + write + copy + delete + other
    }

    /// Those since an earlier count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            list: self.list - earlier.list,
            read: self.read - earlier.read,
            head: self.head - earlier.head,
            write: self.write - earlier.write,
            copy: self.copy - earlier.copy,
            delete: self.delete - earlier.delete,
            other: self.other - earlier.other,
        }
    }
}

/// What is known from the requests so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    list: AtomicU64,
    read: AtomicU64,
    head: AtomicU64,
    write: AtomicU64,
    copy: AtomicU64,
    delete: AtomicU64,
    other: AtomicU64,
    /// The service's time, and when it said so.
    date: Mutex<Option<(SystemTime, Instant)>>,
}

impl Seen {
    pub(super) fn requests(&self) -> Requests {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Requests {
            list: get(&self.list),
            read: get(&self.read),
            head: get(&self.head),
            write: get(&self.write),
            copy: get(&self.copy),
            delete: get(&self.delete),
            other: get(&self.other),
        }
    }

    fn count<T>(&self, request: &Request<T>) {
        let count = match request.extensions().get::<Operation>() {
            Some(Operation::List) => &self.list,
            Some(Operation::Read) => &self.read,
            Some(Operation::Stat) => &self.head,
            Some(Operation::Write | Operation::CreateDir) => &self.write,
            Some(Operation::Copy | Operation::Compose | Operation::Rename | Operation::Restore) => &self.copy,
            Some(Operation::Delete) => &self.delete,
            Some(_) | None => match *request.method() {
                Method::GET => &self.read,
                Method::HEAD => &self.head,
                Method::PUT => &self.write,
                Method::DELETE => &self.delete,
                _ => &self.other,
            },
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The service's time now, if it said what time it is since `since`.
    pub(super) fn now(&self, since: Instant) -> Option<SystemTime> {
        let date = *self.date.lock().unwrap_or_else(PoisonError::into_inner);
        let (date, at) = date.filter(|(_, at)| *at >= since)?;
        // A date is cut to the second: half of one is the best guess.
        Some(date + Duration::from_millis(500) + at.elapsed())
    }

    fn note_date<T>(&self, response: &Response<T>) {
        let text = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let date = text.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        if let Some(date) = date {
            *self.date.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((SystemTime::from(date.timestamp()), Instant::now()));
        }
    }
}

/// The transport of one bucket.
pub(super) struct Observed {
    inner: ReqwestTransport,
    seen: Arc<Seen>,
    keystone: Option<Keystone>,
    exchange: Exchange,
    /// Swift's only.
    segments: Option<Segments>,
}

impl Observed {
    pub(super) fn new(
        client: reqwest::Client,
        seen: Arc<Seen>,
        keystone: Option<Keystone>,
        exchange: Exchange,
        is_swift: bool,
    ) -> Self {
        let segments = is_swift.then(Segments::default);
        Self { inner: ReqwestTransport::new(client), seen, keystone, exchange, segments }
    }
}

impl HttpTransport for Observed {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if exchange::is_for_credentials(&request) {
            return self.identify(request).await;
        }
        let Some(keystone) = &self.keystone else { return self.send(request).await };
        keystone.authorise(&mut request).await?;
        let again = request.clone();
        let response = self.send(request).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        keystone.forget().await;
        let mut request = again;
        keystone.authorise(&mut request).await?;
        self.send(request).await
    }
}

impl Observed {
    /// Asks for credentials, unless they are known.
    async fn identify(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let before = self.exchange.before(&mut request).await?;
        let send = async {
            self.seen.count(&request);
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let answer = self.inner.fetch(request).await;
            exchange::tell(&method, &uri, &answer);
            answer
        };
        match before {
            Before::Plain => send.await,
            Before::Asking(asking) => asking.answered(send.await?).await,
            Before::Known(answer) => Ok(answer),
        }
    }

    async fn send(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        self.seen.count(&request);
        let lists = matches!(request.extensions().get::<Operation>(), Some(Operation::List));
        let asked = self.segments.as_ref().map(|segments| segments.before(&mut request)).transpose()?;
        let late = Late::of(&request);
        let mut response = self.inner.fetch(request).await?;
        if let Some(late) = late {
            response = late.settle(response).await?;
        }
        if let (Some(segments), Some(asked)) = (&self.segments, asked) {
            segments.after(asked, &response);
        }
        self.seen.note_date(&response);
        if response.status() == StatusCode::UNAUTHORIZED {
            self.exchange.forget().await;
        }
        if lists && response.status().is_success() {
            let _ = PAGES.try_with(|pages| pages.set(pages.get() + 1));
        }
        Ok(response)
    }
}
