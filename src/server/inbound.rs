//! Bodies of requests: how slowly they may come, and what becomes of one that nobody wants.
//!
//! A body is polled only by whoever wants it, after rights are decided: a client that waits for `100 Continue` learns of
//! a refusal before it sends anything. One that sends at once is answered after its body was read within bounds: a
//! socket that is closed with bytes unread resets the connection, and the answer is lost with it.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use super::limits::{Limits, Rate};

/// What a body that comes too slowly ends with.
pub const TOO_SLOW: io::ErrorKind = io::ErrorKind::TimedOut;

/// Why a body broke off, as the error of an input; one that came too slowly is told by its kind.
pub fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    let error = error.into();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(found) = cause {
        if found.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == TOO_SLOW) {
            return io::Error::new(TOO_SLOW, error);
        }
        cause = found.source();
    }
    io::Error::other(error)
}

/// The rest of a body that a handler has.
#[derive(Debug, Clone)]
pub struct Rest {
    inner: Arc<Mutex<Inner>>,
    waits_for_continue: bool,
}

/// Hands a body on, and keeps an eye on it; `None` where there is none.
pub fn watch(headers: &HeaderMap, body: Body, limits: &Limits) -> (Body, Option<Rest>) {
    if body.is_end_stream() {
        return (body, None);
    }
    let inner =
        Inner { body, pace: Pace::new(limits.least), ended: false, was_polled: false, received: 0, alarm: None };
    let inner = Arc::new(Mutex::new(inner));
    let expects =
        headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let rest = Rest { inner: Arc::clone(&inner), waits_for_continue: expects };
    (Body::new(Watched(inner)), Some(rest))
}

impl Rest {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes came.
    pub fn received(&self) -> u64 {
        self.inner().received
    }

    /// Reads what nobody wants, within bounds; whether the body has come to its end then.
    pub async fn drain(&self, limits: &Limits) -> bool {
        let (ended, was_polled, start) = {
            let inner = self.inner();
            (inner.ended, inner.was_polled, inner.received)
        };
        if ended || (self.waits_for_continue && !was_polled) {
            return ended;
        }
        let mut body = Watched(Arc::clone(&self.inner));
        let drained = async {
            while let Some(Ok(_)) = body.frame().await {
                if self.received() - start > limits.drained_bytes {
                    break;
                }
            }
        };
        // Whether there was enough time is seen by how far it came.
        let _ = tokio::time::timeout(limits.drained_for, drained).await;
        self.inner().ended
    }
}

#[derive(Debug)]
struct Inner {
    body: Body,
    pace: Pace,
    ended: bool,
    was_polled: bool,
    received: u64,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Inner {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.was_polled = true;
        self.pace.goes_on(Instant::now);
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(Ok(frame)) = &frame {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    self.received += bytes;
                    self.pace.received += bytes;
                }
                self.ended = frame.is_none() || self.body.is_end_stream();
                Poll::Ready(frame)
            }
            Poll::Pending => self.wait(cx),
        }
    }

    /// Waits for the client, who has so much time for so many bytes.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            let Some(left) = self.pace.left() else {
                let error = io::Error::new(TOO_SLOW, "the body comes too slowly");
                return Poll::Ready(Some(Err(axum::Error::new(error))));
            };
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if alarm.as_mut().poll(cx).is_pending() {
                self.pace.waits(Instant::now());
                return Poll::Pending;
            }
            // It was set when more of the time was left than is gone by waiting: the server's own time does not count.
            self.alarm = None;
            self.pace.rang();
        }
    }
}

/// How long a client was waited for, and what came of it.
#[derive(Debug)]
struct Pace {
    least: Rate,
    waited: Duration,
    received: u64,
    since: Option<Instant>,
}

impl Pace {
    fn new(least: Rate) -> Self {
        Self { least, waited: Duration::ZERO, received: 0, since: None }
    }

    fn waits(&mut self, now: Instant) {
        self.since = Some(now);
    }

    fn goes_on(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now().saturating_duration_since(since);
        }
    }

    fn rang(&mut self) {
        self.goes_on(Instant::now);
    }

    /// How much longer the client may be waited for; `None` where it was too slow. A new window begins when enough came.
    fn left(&mut self) -> Option<Duration> {
        let left = self.least.within.saturating_sub(self.waited);
        if !left.is_zero() {
            return Some(left);
        }
        if self.received < self.least.bytes {
            return None;
        }
        (self.waited, self.received) = (Duration::ZERO, 0);
        Some(self.least.within)
    }
}

struct Watched(Arc<Mutex<Inner>>);

impl Watched {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.inner().poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Rate = Rate { bytes: 100, within: Duration::from_secs(10) };

    fn waited(pace: &mut Pace, seconds: u64) {
        let now = Instant::now();
        pace.waits(now);
        pace.goes_on(|| now + Duration::from_secs(seconds));
    }

    #[test]
    fn only_time_spent_waiting_for_the_client_counts() {
        let mut pace = Pace::new(LEAST);
        waited(&mut pace, 9);
        assert_eq!(pace.left(), Some(Duration::from_secs(1)));
        waited(&mut pace, 1);
        assert_eq!(pace.left(), None);
        pace.received = 100;
        assert_eq!(pace.left(), Some(LEAST.within), "a new window");
        assert_eq!(pace.received, 0);
    }
}
