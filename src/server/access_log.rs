//! The access log: one line a request, when its answer has gone out or its client has hung up.
//!
//! Who hangs up before there is an answer has his request dropped in the middle (hyper does); what it began may be done all
//! the same. It is logged and counted with the status 499, which no answer has.
//!
//! An answer in pieces is logged by whoever sends the last of it: its body, or the connection that still has spans of its
//! file. `sent` is what of a span the socket took, and what of other bodies was handed to the connection.
//!
//! Of what clients send there is their method, path and agent; no query (it may carry a state of its own), no
//! credentials, no bodies. Who was authenticated is there by name; whom a wrong password names is not. The id is that of the answer's `X-Request-Id` and of an error's body.

use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::connection::{Answering, Meter};
use super::fault::chain;
use super::inbound::Rest;
use super::metrics::Flight;
use super::spans::is_placeholder;
use crate::auth::Identity;

/// An answer whose body goes out in pieces: what comes of it is known when the last who has this drops it.
#[derive(Debug, Clone, Default)]
pub struct InPieces(Arc<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    sent: AtomicU64,
    failed: OnceLock<String>,
    begun: Mutex<Option<Begun>>,
}

/// An answer whose head is known.
#[derive(Debug)]
struct Begun {
    line: Line,
    status: StatusCode,
    head: Duration,
    expected: Option<u64>,
    _answering: Option<Answering>,
}

impl InPieces {
    /// So many bytes more have gone out.
    pub fn sent(&self, bytes: u64) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It cannot be sent, for a reason of ours.
    pub fn failed(&self, error: &(dyn Error + 'static)) {
        // The first reason is the one.
        let _ = self.0.failed.set(chain(error));
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let Some(mut begun) = self.begun.get_mut().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let sent = self.sent.load(Ordering::Relaxed);
        let outcome = match self.failed.get() {
            Some(why) => Outcome::Failed(why),
            None if begun.expected.is_none_or(|expected| sent >= expected) => Outcome::Served,
            None => Outcome::InPart,
        };
        begun.line.log(begun.status, begun.head, sent, outcome);
    }
}

/// What came of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome<'a> {
    /// All of it went out.
    Served,
    /// A client that hangs up is normal: containerd opens `bytes=N-` and takes as much as it needs.
    InPart,
    /// The connection ended before the answer.
    GivenUp,
    /// The registry could not go on.
    Failed(&'a str),
}

/// A request, as it will be logged.
#[derive(Debug)]
pub struct Line {
    /// When it came.
    pub started: Instant,
    /// Its name.
    pub id: String,
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Who sent it.
    pub client: std::net::IpAddr,
    /// Who that was found to be, once that is known.
    pub identity: OnceLock<Identity>,
    /// With what.
    pub agent: Option<HeaderValue>,
    /// What came with it.
    pub body: Option<Rest>,
    /// How it is counted.
    pub flight: Flight,
    /// What is known of its answer.
    pub stage: Stage,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// It has no answer yet.
    #[default]
    Asked,
    /// The answer's head is made, and counted.
    Decided(StatusCode),
    /// It is logged.
    Logged,
}

/// The status of a request whose client did not wait for one; nginx' number.
fn given_up() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT)
}

impl Drop for Line {
    fn drop(&mut self) {
        let status = match self.stage {
            Stage::Logged => return,
            Stage::Decided(status) => status,
            Stage::Asked if std::thread::panicking() => self.decided(StatusCode::INTERNAL_SERVER_ERROR),
            Stage::Asked => self.decided(given_up()),
        };
        let outcome = if std::thread::panicking() { Outcome::Failed("it panicked") } else { Outcome::GivenUp };
        self.log(status, self.started.elapsed(), 0, outcome);
    }
}

impl Line {
    /// The answer's head is made: it is counted.
    pub fn decided(&mut self, status: StatusCode) -> StatusCode {
        self.flight.observe(&self.method, status, self.started.elapsed());
        self.stage = Stage::Decided(status);
        status
    }

    /// Logs the answer: at once where all of it is at hand, else when its last piece has been taken.
    pub fn answered(mut self, response: Response, meter: Option<&Meter>) -> Response {
        let (status, head) = (response.status(), self.started.elapsed());
        let mut response = response;
        let Some(pieces) = response.extensions_mut().remove::<InPieces>() else {
            let is_head = self.method == Method::HEAD;
            let sent = response.body().size_hint().exact().filter(|_| !is_head).unwrap_or_default();
            self.log(status, head, sent, Outcome::Served);
            return response;
        };
        let expected =
            response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let begun = Begun { line: self, status, head, expected, _answering: meter.map(Meter::answering) };
        *pieces.0.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        response.map(|body| Body::new(Logged { body, pieces }))
    }

    fn log(&mut self, status: StatusCode, head: Duration, sent: u64, outcome: Outcome<'_>) {
        let agent = self.agent.as_ref().and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let received = self.body.as_ref().map_or(0, Rest::received);
        self.flight.count(received, sent);
        self.stage = Stage::Logged;
        macro_rules! line {
            ($level:ident, $message:expr $(, $field:ident)?) => {
                tracing::$level!(
                    target: "regatta::access",
                    method = %self.method,
                    path = self.uri.path(),
                    status = status.as_u16(),
                    ms = head.as_secs_f64() * 1e3,
                    total_ms = self.started.elapsed().as_secs_f64() * 1e3,
                    received,
                    sent,
                    client = %self.client,
                    identity = self.identity.get().map(tracing::field::display),
                    agent,
                    id = self.id,
                    $($field,)?
                    $message
                )
            };
        }
        match outcome {
            Outcome::Served => line!(info, "served"),
            Outcome::InPart => line!(info, "served in part: the client had enough"),
            Outcome::GivenUp => line!(info, "the connection ended before the answer"),
            Outcome::Failed(error) => line!(error, "broke off: the registry could not go on", error),
        }
    }
}

/// A body that counts what is taken of it.
#[derive(Debug)]
struct Logged {
    body: Body,
    pieces: InPieces,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                // What stands for a file's bytes is counted when they go.
                let data = frame.data_ref().filter(|data| !is_placeholder(data));
                this.pieces.sent(data.map_or(0, Bytes::len) as u64);
            }
            Poll::Ready(Some(Err(error))) => this.pieces.failed(error),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
