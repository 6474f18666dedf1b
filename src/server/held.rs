//! What is held of answers over HTTP/2 for clients that do not take them.
//!
//! HTTP/1 asks a body for more when its socket has taken what there was. HTTP/2 asks for as many bodies at once as there
//! are streams, as long as the client's window is open: who opens it wide and reads nothing would have every one of them
//! in memory. Each piece of a body is therefore counted from when it is read until it is written, for its connection and
//! for the process; over a bound no body of the connection is asked for more.
//!
//! A connection that holds nothing may always hold one piece. So nobody is kept waiting by what others hold, and a
//! connection that waits has a piece of its own, whose end wakes it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::connection::Answering;

/// How many bytes are held for one connection before its bodies wait.
const CONNECTION: usize = 512 * 1024;

/// And for all of this process.
const PROCESS: usize = 64 * 1024 * 1024;

/// What this process holds.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// What is held for one connection.
#[derive(Debug)]
pub struct Holding {
    bytes: AtomicUsize,
    all: &'static AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl Default for Holding {
    fn default() -> Self {
        Self { bytes: AtomicUsize::new(0), all: &ALL, waiting: Mutex::default() }
    }
}

impl Holding {
    fn has_room(&self) -> bool {
        match self.bytes.load(Ordering::SeqCst) {
            0 => true,
            held => held < CONNECTION && self.all.load(Ordering::SeqCst) < PROCESS,
        }
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
        // What was written meanwhile has woken nobody.
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn hold(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
        self.all.fetch_add(bytes.len(), Ordering::SeqCst);
        Bytes::from_owner(Piece { bytes, holding: Arc::clone(self) })
    }

    fn written(&self, bytes: usize) {
        self.all.fetch_sub(bytes, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Bytes that are counted until they are dropped, which is when they are written or the connection ends.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    holding: Arc<Holding>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.holding.written(self.bytes.len());
    }
}

/// A body of which no more is asked for than there is room.
#[derive(Debug)]
pub struct Limited {
    body: Body,
    holding: Arc<Holding>,
    /// The stream is open as long as this is.
    _answering: Answering,
}

impl Limited {
    /// Counts at its connection.
    pub const fn new(body: Body, holding: Arc<Holding>, answering: Answering) -> Self {
        Self { body, holding, _answering: answering }
    }
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        ready!(self.holding.poll_room(cx));
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|data| self.holding.hold(data)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::super::connection::Meter;
    use super::*;

    const PIECE: usize = 64 * 1024;

    fn holding(all: &'static AtomicUsize) -> Arc<Holding> {
        Arc::new(Holding { all, ..Holding::default() })
    }

    fn endless(holding: &Arc<Holding>) -> Limited {
        let pieces = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![7; PIECE])));
        Limited::new(Body::from_stream(pieces), Arc::clone(holding), Meter::default().answering())
    }

    /// Takes of all bodies in turn, and drops nothing, until none yields more.
    fn take_all(bodies: &mut [Limited]) -> Vec<Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut held = Vec::new();
        loop {
            let before = held.len();
            for body in &mut *bodies {
                if let Poll::Ready(Some(Ok(frame))) = Pin::new(body).poll_frame(&mut cx) {
                    held.extend(frame.into_data().ok());
                }
            }
            if held.len() == before {
                return held;
            }
        }
    }

    #[test]
    fn a_connection_that_takes_nothing_holds_so_much_whatever_it_asks_for() {
        static HERE: AtomicUsize = AtomicUsize::new(0);
        let holding = holding(&HERE);
        let mut bodies: Vec<_> = (0..100).map(|_| endless(&holding)).collect();
        let held = take_all(&mut bodies);
        assert_eq!(held.len() * PIECE, CONNECTION);
        assert_eq!(HERE.load(Ordering::SeqCst), CONNECTION);
        drop((held, bodies));
        assert_eq!(HERE.load(Ordering::SeqCst), 0, "a connection that ends holds nothing");
    }

    #[test]
    fn the_process_holds_so_much_and_a_piece_more_for_each_connection() {
        static HERE: AtomicUsize = AtomicUsize::new(0);
        const CONNECTIONS: usize = 1_000;
        let holdings: Vec<_> = (0..CONNECTIONS).map(|_| holding(&HERE)).collect();
        let held: Vec<_> = holdings.iter().map(|holding| take_all(&mut [endless(holding), endless(holding)])).collect();
        assert!(held.iter().all(|held| !held.is_empty()), "nobody waits for what others hold");
        assert!(HERE.load(Ordering::SeqCst) <= PROCESS + CONNECTIONS * PIECE);
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_something_was_written() {
        static HERE: AtomicUsize = AtomicUsize::new(0);
        let holding = holding(&HERE);
        let mut bodies = [endless(&holding)];
        let mut held = take_all(&mut bodies);
        let [mut body] = bodies;
        let next = tokio::spawn(async move { body.frame().await.is_some() });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        held.pop();
        assert!(next.await.unwrap());
    }
}
