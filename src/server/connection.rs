//! What requests need to know of their connection, and the end of connections whose reader takes nothing.
//!
//! There is no total time-out: a large layer over a slow line takes hours. A reader that takes less than the least
//! rate for a whole window, while an answer waits for it, is ended: it would hold a file, memory and a connection for
//! as long as it likes. What counts is what the socket took, over all requests of the connection.
//!
//! Of heads that are large and not at their end there are only so many at a time: each is held until it is complete, and
//! anybody may begin one.
//!
//! Whoever asks nothing is ended too: a connection without a whole head of a request soon after it was accepted or after
//! the head began, one on which no request is open much later. Over HTTP/2 bytes alone say nothing: only requests count.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::limits::{Patience, Rate};
use super::linger::Linger;
use super::spans::Spans;

/// A head that has as much as this and is not complete needs room for more, in bytes. What one read brings is not held
/// against it: a whole head and the beginning of its body come like that.
const LARGE_HEAD: usize = 9 * 1024;

/// How often connections are looked at, whether they have been idle for too long.
const LOOK: Duration = Duration::from_secs(5);

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

#[derive(Debug)]
struct Counts {
    /// When the connection was accepted; moments are milliseconds since then.
    born: Instant,
    /// Whether there was a request, and what it was spoken in.
    has_asked: AtomicBool,
    is_http2: AtomicBool,
    /// A body was answered and not read to its end.
    is_unread: AtomicBool,
    /// The moment when the last request or answer came to its end.
    quiet: AtomicU64,
    /// The moment when what is in `head` began to come.
    begun: AtomicU64,
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

impl Default for Counts {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            has_asked: AtomicBool::default(),
            is_http2: AtomicBool::default(),
            is_unread: AtomicBool::default(),
            quiet: AtomicU64::default(),
            begun: AtomicU64::default(),
            written: AtomicU64::default(),
            answers: AtomicUsize::default(),
            is_full: AtomicBool::default(),
            handled: AtomicUsize::default(),
            head: AtomicUsize::default(),
            room: Mutex::default(),
        }
    }
}

impl Counts {
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// As it is at this moment, as far as time is concerned.
    fn quietness(&self) -> Quietness {
        Quietness {
            is_busy: self.handled.load(Ordering::Relaxed) > 0
                || self.answers.load(Ordering::Relaxed) > 0
                || self.is_full.load(Ordering::Relaxed),
            has_asked: self.has_asked.load(Ordering::Relaxed),
            head: (self.head.load(Ordering::Relaxed) > 0 && !self.is_http2.load(Ordering::Relaxed))
                .then(|| self.begun.load(Ordering::Relaxed)),
            quiet: self.quiet.load(Ordering::Relaxed),
        }
    }
}

/// What is known of a connection between its requests. Moments are milliseconds since it was accepted.
#[derive(Debug, Clone, Copy)]
struct Quietness {
    /// A request is handled, or an answer is on its way.
    is_busy: bool,
    has_asked: bool,
    /// When a head began that is not complete.
    head: Option<u64>,
    /// When the last request came to its end.
    quiet: u64,
}

impl Quietness {
    /// The moment at which it is to end; none while it is busy.
    fn ends(&self, patience: &Patience, is_pressed: bool) -> Option<u64> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let idle = if is_pressed { patience.pressed } else { patience.idle };
        match (self.is_busy, self.has_asked, self.head) {
            (true, _, _) => None,
            (false, false, _) => Some(millis(patience.head)),
            // What came while another request was handled waited for that.
            (false, true, Some(begun)) => Some(begun.max(self.quiet).saturating_add(millis(patience.head))),
            (false, true, None) => Some(self.quiet.saturating_add(millis(idle))),
        }
    }
}

/// A request that is being handled, until this is dropped.
#[derive(Debug)]
pub struct Handling(Meter);

impl Drop for Handling {
    fn drop(&mut self) {
        let counts = &self.0.0;
        counts.quiet.store(counts.now(), Ordering::Relaxed);
        counts.handled.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer on its way, until it is dropped.
#[derive(Debug)]
pub struct Answering(Meter);

impl Drop for Answering {
    fn drop(&mut self) {
        let counts = &self.0.0;
        counts.quiet.store(counts.now(), Ordering::Relaxed);
        counts.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    /// An answer begins that will go in pieces.
    pub fn answering(&self) -> Answering {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// A body is answered that was not read to its end: the connection ends with that answer.
    pub fn leaves_unread(&self) {
        self.0.is_unread.store(true, Ordering::Relaxed);
    }

    /// Whether a request is handled, or an answer on its way.
    pub fn is_busy(&self) -> bool {
        self.0.quietness().is_busy
    }

    /// Whether the client may be sending still when the connection is ended from this side: the rest of a body, or of a
    /// head that was refused.
    fn is_unread(&self) -> bool {
        let Counts { is_unread, head, is_http2, .. } = &*self.0;
        let in_head = head.load(Ordering::Relaxed) > 0 && !is_http2.load(Ordering::Relaxed);
        is_unread.load(Ordering::Relaxed) || in_head
    }

    /// A request's head is complete.
    pub fn handling(&self, is_http2: bool) -> Handling {
        let Counts { handled, head, room, has_asked, .. } = &*self.0;
        handled.fetch_add(1, Ordering::Relaxed);
        has_asked.store(true, Ordering::Relaxed);
        self.0.is_http2.store(is_http2, Ordering::Relaxed);
        if head.swap(0, Ordering::Relaxed) > LARGE_HEAD {
            *room.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Handling(self.clone())
    }

    /// Bytes came; whether there is room for the head that they may belong to.
    fn came(&self, bytes: usize, heads: &'static Semaphore) -> bool {
        let counts = &*self.0;
        let Counts { handled, answers, head, room, is_http2, .. } = counts;
        // Who takes an answer over HTTP/2 says meanwhile how much more he takes.
        let is_answered = is_http2.load(Ordering::Relaxed) && answers.load(Ordering::Relaxed) > 0;
        if bytes == 0 || handled.load(Ordering::Relaxed) > 0 || is_answered {
            return true;
        }
        let before = head.fetch_add(bytes, Ordering::Relaxed);
        if before == 0 {
            counts.begun.store(counts.now(), Ordering::Relaxed);
        }
        if before < LARGE_HEAD {
            return true;
        }
        let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
        if room.is_none() {
            *room = heads.try_acquire().ok();
        }
        room.is_some()
    }

    fn look(&self) -> Look {
        let Counts { written, answers, is_full, .. } = &*self.0;
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

    /// Returns when no request came for too long, which is sooner where no more connections have room; whether there
    /// was one before.
    pub async fn idle(&self, patience: Patience, room: &Semaphore) -> bool {
        loop {
            let quietness = self.0.quietness();
            let left = quietness
                .ends(&patience, room.available_permits() == 0)
                .map(|end| Duration::from_millis(end.saturating_sub(self.0.now())));
            match left {
                Some(Duration::ZERO) => return quietness.has_asked && quietness.head.is_none(),
                Some(left) => tokio::time::sleep(left.min(LOOK)).await,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Returns when nothing has been asked or answered for so long.
    pub async fn stays_quiet(&self, time: Duration) {
        let patience = Patience { head: time, idle: time, pressed: time };
        loop {
            // From now on at the earliest.
            tokio::time::sleep(time).await;
            let end = self.0.quietness().ends(&patience, false);
            if end.is_some_and(|end| end <= self.0.now()) {
                return;
            }
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
    linger: Option<Linger>,
}

impl<S> Metered<S> {
    /// Counts in this meter.
    pub fn new(stream: S, meter: Meter) -> Self {
        Self { stream, meter, linger: None }
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<S> {
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

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, meter, linger } = self.get_mut();
        if linger.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            if !meter.is_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        linger.get_or_insert_default().poll(stream, cx).map(Ok)
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
        // What hyper-util reads to tell the version, and what hyper reads first: a head with much of its body.
        let first = Meter::default();
        assert!(first.came(24, &HEADS) && first.came(400 * 1024, &HEADS) && HEADS.available_permits() == 1);
        assert!(one.came(1, &HEADS) && one.came(100, &HEADS));
        assert!(!other.came(1, &HEADS));
        let handling = one.handling(false);
        assert!(other.came(1, &HEADS), "a complete one needs none");
        assert!(one.came(100 * LARGE_HEAD, &HEADS), "its body is no head");
        drop(handling);
        assert!(one.came(LARGE_HEAD, &HEADS) && !one.came(1, &HEADS), "the next one is");
        drop(other);
        assert!(one.came(1, &HEADS), "a connection that ends gives its room back");
    }

    /// Downloads over HTTP/2 took the room of heads, by the frames that say how much more is taken.
    #[test]
    fn who_takes_an_answer_over_http_2_needs_no_room_for_heads() {
        static HEADS: Semaphore = Semaphore::const_new(0);
        let meter = Meter::default();
        let handling = meter.handling(true);
        let answering = meter.answering();
        drop(handling);
        for _ in 0..1_000 {
            assert!(meter.came(1_000, &HEADS));
        }
        drop(answering);
        assert!(meter.came(LARGE_HEAD, &HEADS) && !meter.came(1, &HEADS));
    }

    #[test]
    fn a_connection_ends_by_what_it_has_asked_and_begun() {
        let seconds = Duration::from_secs;
        let patience = Patience { head: seconds(15), idle: seconds(120), pressed: seconds(5) };
        let check = |what, is_busy, has_asked, head: Option<u64>, expected: [Option<u64>; 2]| {
            let quietness = Quietness { is_busy, has_asked, head, quiet: 100_000 };
            assert_eq!([false, true].map(|pressed| quietness.ends(&patience, pressed)), expected, "{what}");
        };
        check("nothing came", false, false, None, [Some(15_000), Some(15_000)]);
        check("half a head came", false, false, Some(14_000), [Some(15_000), Some(15_000)]);
        check("between requests", false, true, None, [Some(220_000), Some(105_000)]);
        check("half of the next head came", false, true, Some(150_000), [Some(165_000), Some(165_000)]);
        check("it came while another was handled", false, true, Some(10), [Some(115_000), Some(115_000)]);
        check("a request is handled", true, true, None, [None, None]);
    }

    #[test]
    fn over_http_2_only_requests_count() {
        static HEADS: Semaphore = Semaphore::const_new(1);
        let meter = Meter::default();
        drop(meter.handling(true));
        assert!(meter.came(17, &HEADS), "a ping");
        assert_eq!(meter.0.quietness().head, None);
        drop(meter.handling(false));
        assert!(meter.came(17, &HEADS));
        assert!(meter.0.quietness().head.is_some());
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
