//! Turns at hashing passwords: bcrypt takes a processor for 50 ms, and everybody may ask for it without a right.
//!
//! It has threads of its own, as many as there are processors: those that wait for a volume which hangs are others.
//! Addresses take turns, whatever each asks for, so that who guesses hundreds of passwords at once delays nobody elsewhere
//! by more than a turn. Behind one address (a proxy that is not trusted) it is first come, first served.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::{StatusCode, header};
use tokio::sync::oneshot;

use super::Fault;
use crate::oci::ErrorCode;

/// How long a request waits for its hash.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does slow work for a client when it is its turn; 429 where there are too many before. Work whose request has gone
/// meanwhile is left out.
pub async fn hash<T: Send + 'static>(client: IpAddr, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    static HASHERS: OnceLock<Hashers> = OnceLock::new();
    let threads = || std::thread::available_parallelism().map_or(2, usize::from);
    HASHERS.get_or_init(|| Hashers::start(threads())).hash(client, PATIENCE, work).await
}

type Work = Box<dyn FnOnce() + Send>;

/// The threads, and what waits for them.
#[derive(Debug, Default)]
struct Hashers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue<Work>>,
    more: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Hashers {
    fn start(threads: usize) -> Self {
        let hashers = Self::default();
        for number in 0..threads {
            let shared = Arc::clone(&hashers.shared);
            let started = std::thread::Builder::new().name(format!("hash-{number}")).spawn(move || shared.run());
            if let Err(error) = started {
                tracing::error!(%error, "a thread that hashes passwords could not be started");
            }
        }
        hashers
    }

    async fn hash<T: Send + 'static>(
        &self,
        client: IpAddr,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (done, is_done) = oneshot::channel();
        let work = move || {
            if !done.is_closed() {
                // Nobody waits for it if the request went away just now.
                let _ = done.send(work());
            }
        };
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).push(network(client), Box::new(work));
        self.shared.more.notify_one();
        match tokio::time::timeout(patience, is_done).await {
            Ok(done) => done.map_err(|error| Fault::unknown(&error)),
            Err(_) => Err(too_many()),
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let work = loop {
                match queue.pop() {
                    Some(work) => break work,
                    None => queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queue);
            // Whoever waits for it is told, since its sender is dropped; the thread is needed for others.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
        }
    }
}

/// What waits: each client has a line of its own, and all take turns.
#[derive(Debug)]
struct Queue<W> {
    lines: HashMap<IpAddr, VecDeque<W>>,
    turns: VecDeque<IpAddr>,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<W> Queue<W> {
    fn push(&mut self, client: IpAddr, work: W) {
        let line = self.lines.entry(client).or_default();
        if line.is_empty() {
            self.turns.push_back(client);
        }
        line.push_back(work);
    }

    fn pop(&mut self) -> Option<W> {
        let client = self.turns.pop_front()?;
        let line = self.lines.get_mut(&client)?;
        let work = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        work
    }
}

/// Whom an address stands for: over IPv6 one client has 2^64 of them.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

fn too_many() -> Fault {
    let message = "too many passwords are being verified; try again in a moment, or ask for a token once";
    Fault::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message).with_header(header::RETRY_AFTER, "5")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn address(text: &str) -> IpAddr {
        network(text.parse().unwrap())
    }

    /// 400 wrong passwords in flight kept everybody out whose password was not remembered.
    #[test]
    fn who_asks_for_many_delays_others_by_a_turn() {
        let mut queue = Queue::default();
        for number in 0..400 {
            queue.push(address("192.0.2.1"), number);
        }
        queue.push(address("192.0.2.2"), 1_000);
        queue.push(address("2001:db8::1"), 2_000);
        queue.push(address("2001:db8::ffff"), 2_001);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order[..6], [0, 1_000, 2_000, 1, 2_001, 2], "one network, one line");
        assert_eq!((order.len(), order[402]), (403, 399));
        assert!(queue.lines.is_empty() && queue.turns.is_empty());
    }

    #[tokio::test]
    async fn who_finds_no_turn_in_time_is_told_when_to_come_again_and_is_not_hashed_for() {
        let hashers = Hashers::start(1);
        let (go, wait) = mpsc::channel::<()>();
        let client = address("192.0.2.1");
        let busy = hashers.hash(client, PATIENCE, move || wait.recv().is_ok());
        let mut busy = Box::pin(busy);
        assert!(futures::poll!(&mut busy).is_pending());
        let (hashed, is_hashed) = mpsc::channel();
        let refused = hashers.hash(client, Duration::ZERO, move || hashed.send(())).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let response = refused.into_response("id", &|_| String::new());
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        go.send(()).unwrap();
        assert!(busy.await.unwrap());
        assert_eq!(hashers.hash(client, PATIENCE, || 7).await.unwrap(), 7);
        assert!(is_hashed.try_recv().is_err());
    }

    #[tokio::test]
    async fn work_that_panics_takes_no_thread_along() {
        let hashers = Hashers::start(1);
        let client = address("192.0.2.1");
        let failed = hashers.hash(client, PATIENCE, || -> u8 { std::panic::resume_unwind(Box::new("on purpose")) });
        assert_eq!(failed.await.unwrap_err().status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(hashers.hash(client, PATIENCE, || 7).await.unwrap(), 7);
    }
}
