//! The access log: one line a request, when its answer has gone out or its client has hung up.
//!
//! Of what clients send there is their method, path and agent; no query (it may carry a state of its own), no
//! credentials, no bodies. The id is that of the answer's `X-Request-Id` and of an error's body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::connection::{Answering, Meter};
use super::inbound::Rest;
use super::metrics::Flight;

/// Marks an answer whose body goes out in pieces: what comes of it is known later.
#[derive(Debug, Clone, Copy)]
pub struct InPieces;

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
    /// With what.
    pub agent: Option<HeaderValue>,
    /// What came with it.
    pub body: Option<Rest>,
    /// How it is counted.
    pub flight: Flight,
}

impl Line {
    /// Logs the answer: at once where all of it is at hand, else when its last piece has been taken.
    pub fn answered(self, response: Response, meter: Option<&Meter>) -> Response {
        let (status, head) = (response.status(), self.started.elapsed());
        if response.extensions().get::<InPieces>().is_none() {
            let is_head = self.method == Method::HEAD;
            let sent = response.body().size_hint().exact().filter(|_| !is_head).unwrap_or_default();
            self.log(status, head, sent, true);
            return response;
        }
        let expected =
            response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let answering = meter.map(Meter::answering);
        response.map(|body| {
            Body::new(Logged { body, line: Some(self), status, head, sent: 0, expected, _answering: answering })
        })
    }

    /// A client that hangs up is normal: containerd opens `bytes=N-` and takes as much as it needs.
    fn log(&self, status: StatusCode, head: Duration, sent: u64, complete: bool) {
        let agent = self.agent.as_ref().and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let received = self.body.as_ref().map_or(0, Rest::received);
        self.flight.count(received, sent);
        tracing::info!(
            target: "regatta::access",
            method = %self.method,
            path = self.uri.path(),
            status = status.as_u16(),
            ms = head.as_secs_f64() * 1e3,
            total_ms = self.started.elapsed().as_secs_f64() * 1e3,
            received,
            sent,
            client = %self.client,
            agent,
            id = self.id,
            "{}", if complete { "served" } else { "served in part: the client had enough" }
        );
    }
}

/// A body that says how much of it was taken when it is dropped.
#[derive(Debug)]
struct Logged {
    body: Body,
    line: Option<Line>,
    status: StatusCode,
    head: Duration,
    sent: u64,
    expected: Option<u64>,
    _answering: Option<Answering>,
}

impl Drop for Logged {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let complete = self.expected.is_none_or(|expected| self.sent >= expected);
            line.log(self.status, self.head, self.sent, complete);
        }
    }
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => this.sent += frame.data_ref().map_or(0, Bytes::len) as u64,
            Poll::Ready(Some(Err(error))) => {
                let id = this.line.as_ref().map(|line| line.id.as_str()).unwrap_or_default();
                tracing::error!(%error, id, "an answer broke off: its bytes could not be read");
            }
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
