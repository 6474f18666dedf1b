//! Large blobs go from the page cache to the socket without passing through this process (sendfile(2)).
//!
//! hyper writes bytes that a body yields. The body here yields slices of one static *placeholder* instead, and queues
//! at its connection which span of which file each stands for. The connection's stream knows a placeholder by its
//! address, and sends of the span as many bytes as hyper would have written of the slice; real bytes before it go out
//! first. hyper keeps count by itself.
//!
//! What it rests on: plain HTTP/1.1 only (TLS has to see the bytes, HTTP/2 interleaves bodies); a stream that says
//! that it writes vectored, or hyper would copy the placeholder; no layer that copies bodies; files whose bytes never
//! change. Where placeholder and queue do not fit, the connection ends with an error and nothing wrong is sent. A file
//! that became shorter, or fails, ends it too: never a clean finish.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use futures::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::access_log::InPieces;
use crate::store::fs::LocalFile;

/// How long a slice may be. Never read, never written: it takes no memory.
const LONGEST: usize = 1024 * 1024;

static PLACEHOLDER: [u8; LONGEST] = [0; LONGEST];

/// How many bytes are sent in one turn, that other connections get theirs.
const TURN: usize = 512 * 1024;

/// Whether these bytes stand for others.
pub(super) fn is_placeholder(slice: &[u8]) -> bool {
    !slice.is_empty() && PLACEHOLDER.as_ptr_range().contains(&slice.as_ptr())
}

/// The spans that a connection is about to send.
#[derive(Debug, Clone, Default)]
pub struct Spans(Arc<Mutex<VecDeque<Span>>>);

#[derive(Debug)]
struct Span {
    file: LocalFile,
    at: u64,
    left: usize,
    pieces: InPieces,
}

impl Spans {
    /// A body of `length` bytes of a file from `start` on, and who is told what comes of them.
    pub fn body(&self, file: LocalFile, start: u64, length: u64, pieces: InPieces) -> Body {
        Body::new(SpanBody { spans: self.clone(), file, at: start, left: length, warming: None, pieces })
    }

    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<Span>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_empty(&self) -> bool {
        self.with(|spans| spans.is_empty())
    }
}

type Warming = BoxFuture<'static, io::Result<u64>>;

struct SpanBody {
    spans: Spans,
    file: LocalFile,
    at: u64,
    left: u64,
    /// On the way from the disk into the page cache: not the runtime's threads wait for that.
    warming: Option<Warming>,
    pieces: InPieces,
}

impl std::fmt::Debug for SpanBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpanBody").field("at", &self.at).field("left", &self.left).finish_non_exhaustive()
    }
}

impl HttpBody for SpanBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = this.left.min(LONGEST as u64);
        let (file, at) = (&this.file, this.at);
        let warming = this.warming.get_or_insert_with(|| {
            let file = file.clone();
            Box::pin(async move { file.warm(at, wanted).await })
        });
        let warm = ready!(warming.as_mut().poll(cx));
        this.warming = None;
        let length = match warm {
            Ok(warm) => usize::try_from(warm.min(wanted)).unwrap_or(LONGEST),
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        let span = Span { file: this.file.clone(), at: this.at, left: length, pieces: this.pieces.clone() };
        this.spans.with(|spans| spans.push_back(span));
        this.at += length as u64;
        this.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PLACEHOLDER[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A TCP stream that sends spans in the place of placeholders.
#[derive(Debug)]
pub struct SpanStream {
    tcp: TcpStream,
    spans: Spans,
}

impl SpanStream {
    /// Over a connection, with the queue that its requests carry.
    pub fn new(tcp: TcpStream) -> (Self, Spans) {
        let spans = Spans::default();
        (Self { tcp, spans: spans.clone() }, spans)
    }

    /// Sends of the first span as much as goes, up to what the placeholder has.
    fn poll_send(&self, cx: &mut Context<'_>, placeholder: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            let sent = self.spans.with(|spans| {
                let Some(span) = spans.front_mut().filter(|span| span.left == placeholder) else {
                    return Err(mismatch("a placeholder stands for no span"));
                };
                let wanted = span.left.min(TURN);
                let sendfile = || span.file.send_to(&self.tcp, span.at, wanted);
                match self.tcp.try_io(Interest::WRITABLE, sendfile) {
                    Ok(0) => {
                        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was");
                        span.pieces.failed(&error);
                        Err(error)
                    }
                    Err(error) => {
                        if !is_the_clients(&error) {
                            span.pieces.failed(&error);
                        }
                        Err(error)
                    }
                    Ok(sent) => {
                        span.pieces.sent(sent as u64);
                        span.at += sent as u64;
                        span.left -= sent;
                        if span.left == 0 {
                            spans.pop_front();
                        }
                        Ok(sent)
                    }
                }
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn check_none_left(&self) -> io::Result<()> {
        if self.spans.is_empty() { Ok(()) } else { Err(mismatch("a span is left without its placeholder")) }
    }
}

/// Whether it is the socket that failed, as it does when a client hangs up, and not the file: sendfile(2) has one error
/// for both.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::Interrupted
            | Kind::BrokenPipe
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
}

fn mismatch(what: &'static str) -> io::Error {
    tracing::error!(what, "a connection was ended rather than send wrong bytes; please report this");
    io::Error::other(what)
}

impl AsyncRead for SpanStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for SpanStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if is_placeholder(buf) {
            return self.poll_send(cx, buf.len());
        }
        self.check_none_left()?;
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs.iter().position(|buf| is_placeholder(buf)) {
            None => {
                self.check_none_left()?;
                Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
            }
            Some(first) if bufs[..first].iter().all(|buf| buf.is_empty()) => self.poll_send(cx, bufs[first].len()),
            Some(first) => Pin::new(&mut self.tcp).poll_write_vectored(cx, &bufs[..first]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
