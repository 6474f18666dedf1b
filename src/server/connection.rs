//! What requests need to know of their connection, and the end of connections whose reader takes nothing.
//!
//! There is no total time-out: a large layer over a slow line takes hours. A reader that takes less than the least
//! rate for a whole window, while an answer waits for it, is ended: it would hold a file, memory and a connection for
//! as long as it likes. What counts is what the socket took, over all requests of the connection.
//!
//! Of heads that are large and not at their end there are only so many at a time: each is held until it is complete, and
//! anybody may begin one.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::limits::Rate;
use super::spans::Spans;

/// A head that is larger than this needs room, in bytes.
const LARGE_HEAD: usize = 16 * 1024;

/// How many of these there may be in this process.
static LARGE_HEADS: Semaphore = Semaphore::const_new(256);

/// Of one connection; every request on it carries it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Who is at the other end of the wire: a client, or a proxy.
    pub peer: SocketAddr,
    /// Where files can go by way of the kernel.
    pub spans: Option<Spans>,
    /// What goes over it.
    pub meter: Meter,
}

/// Counts what a connection takes.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    /// Answers that are on their way in pieces.
    answers: AtomicUsize,
    /// The socket took nothing when it was asked last.
    is_full: AtomicBool,
    /// Requests whose head is complete, and whose answer has not begun.
    handled: AtomicUsize,
    /// What came since no request is handled: a head, as far as it is there.
    head: AtomicUsize,
    room: Mutex<Option<SemaphorePermit<'static>>>,
}

/// A request that is being handled, until this is dropped.
#[derive(Debug)]
pub struct Handling(Meter);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.0.handled.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer on its way, until it is dropped.
#[derive(Debug)]
pub struct Answering(Meter);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    /// An answer begins that will go in pieces.
    pub fn answering(&self) -> Answering {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// A request's head is complete.
    pub fn handling(&self) -> Handling {
        let Counts { handled, head, room, .. } = &*self.0;
        handled.fetch_add(1, Ordering::Relaxed);
        if head.swap(0, Ordering::Relaxed) > LARGE_HEAD {
            *room.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Handling(self.clone())
    }

    /// Bytes came; whether there is room for the head that they may belong to.
    fn came(&self, bytes: usize, heads: &'static Semaphore) -> bool {
        let Counts { handled, head, room, .. } = &*self.0;
        if handled.load(Ordering::Relaxed) > 0 || head.fetch_add(bytes, Ordering::Relaxed) + bytes <= LARGE_HEAD {
            return true;
        }
        let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
        if room.is_none() {
            *room = heads.try_acquire().ok();
        }
        room.is_some()
    }

    fn look(&self) -> Look {
        let Counts { written, answers, is_full, handled: _, head: _, room: _ } = &*self.0;
        Look {
            written: written.load(Ordering::Relaxed),
            is_waiting: answers.load(Ordering::Relaxed) > 0 || is_full.load(Ordering::Relaxed),
        }
    }

    /// Returns when the other end took too little while something waited for it, throughout a window.
    pub async fn too_slow(&self, least: Rate) {
        let mut before = self.look();
        loop {
            tokio::time::sleep(least.within).await;
            let now = self.look();
            if before.took_too_little(&now, least) {
                return;
            }
            before = now;
        }
    }
}

/// A connection at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    written: u64,
    is_waiting: bool,
}

impl Look {
    /// One that began to wait within the window has not waited throughout it.
    const fn took_too_little(&self, later: &Self, least: Rate) -> bool {
        self.is_waiting && later.is_waiting && later.written - self.written < least.bytes
    }
}

/// A stream that counts what is written to it. Buffers pass through it as they are.
#[derive(Debug)]
pub struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S> Metered<S> {
    /// Counts in this meter.
    pub fn new(stream: S, meter: Meter) -> Self {
        Self { stream, meter }
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let counts = &self.meter.0;
        if let Poll::Ready(Ok(bytes)) = &written {
            counts.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        counts.is_full.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() && !self.meter.came(buf.filled().len() - before, &LARGE_HEADS) {
            return Poll::Ready(Err(io::Error::other("too many large heads at once")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_reader_that_takes_too_little_of_a_waiting_answer_is_too_slow() {
        let least = Rate { bytes: 1_000, within: Duration::from_mins(1) };
        let look = |written, is_waiting| Look { written, is_waiting };
        let check = |before: Look, after: Look, expected| {
            assert_eq!(before.took_too_little(&after, least), expected, "{before:?} {after:?}");
        };
        check(look(5, true), look(1_004, true), true);
        check(look(5, true), look(1_005, true), false);
        check(look(5, false), look(5, false), false);
        check(look(5, false), look(5, true), false);
        check(look(5, true), look(5, false), false);
    }

    #[test]
    fn of_large_heads_that_are_not_complete_there_are_only_so_many() {
        static HEADS: Semaphore = Semaphore::const_new(1);
        let (one, other) = (Meter::default(), Meter::default());
        assert!(one.came(LARGE_HEAD, &HEADS) && other.came(LARGE_HEAD, &HEADS), "small ones need no room");
        assert!(one.came(1, &HEADS) && one.came(100, &HEADS));
        assert!(!other.came(1, &HEADS));
        let handling = one.handling();
        assert!(other.came(1, &HEADS), "a complete one needs none");
        assert!(one.came(100 * LARGE_HEAD, &HEADS), "its body is no head");
        drop(handling);
        assert!(one.came(LARGE_HEAD, &HEADS) && !one.came(1, &HEADS), "the next one is");
        drop(other);
        assert!(one.came(1, &HEADS), "a connection that ends gives its room back");
    }

    #[test]
    fn an_answer_waits_until_it_is_dropped() {
        let meter = Meter::default();
        let answering = meter.answering();
        assert!(meter.look().is_waiting);
        drop(answering);
        assert!(!meter.look().is_waiting);
    }
}
