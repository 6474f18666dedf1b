//! Listeners: accept, TLS where asked for, HTTP/1.1 and HTTP/2, and an end that lets requests finish.
//!
//! Who is not finished when the time for that is over is left behind: all that is still open is dropped and waited for, so
//! that each request has its line in the access log before the process ends.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::connection::{Connection, Meter, Metered};
use super::held::{Holding, Limited};
use super::limits::{Limits, Patience, Rate};
use super::spans::SpanStream;

/// How long a failing `accept` (no file descriptors) is left alone.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How long what is left behind may take to be dropped, which waits for nobody: only on a busy machine it takes a while.
const DROPPED_WITHIN: Duration = Duration::from_secs(3);

/// What is read of a request's head before it is refused by hyper, unanswered by us: more than
/// [`super::limits::check_head`] lets pass.
const HEADERS: usize = 64 * 1024;

/// A client of HTTP/2 that answers no ping is gone.
const PING: Duration = Duration::from_secs(30);

/// How many requests a client of HTTP/2 may have open on one connection: clients of registries have a handful.
const STREAMS: u32 = 32;

/// How much of one answer is held for a client of HTTP/2 that does not take it; of all answers: [`super::held`].
const HELD: usize = 64 * 1024;

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    least: Rate,
    patience: Patience,
    most: Arc<Semaphore>,
}

/// What ends a connection from this side.
#[derive(Debug, Clone)]
struct Ends {
    stop: CancellationToken,
    least: Rate,
    patience: Patience,
    /// What is left of it says whether others wait.
    most: Arc<Semaphore>,
    /// All that runs for connections.
    open: TaskTracker,
    /// Those that are still open end now.
    over: CancellationToken,
    /// How many of these had a request open.
    behind: Arc<AtomicUsize>,
}

/// Runs what hyper begins for a connection beside its task: the requests of HTTP/2. They end before their connection is left
/// behind: one that saw its body break off would be answered, and logged so.
#[derive(Debug, Clone)]
struct Requests {
    /// All that runs for connections.
    open: TaskTracker,
    /// Those of this connection.
    own: TaskTracker,
    over: CancellationToken,
}

impl Requests {
    async fn end(&self) {
        self.over.cancel();
        self.own.close();
        self.own.wait().await;
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, future: F) {
        let over = self.over.clone();
        self.open.spawn(self.own.track_future(async move {
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                _ = future => {}
            }
        }));
    }
}

impl Listener {
    /// Binds an address.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> std::io::Result<Self> {
        let Limits { least, patience, connections, .. } = Limits::default();
        let most = Arc::new(Semaphore::new(connections));
        Ok(Self { socket: TcpListener::bind(address).await?, tls, least, patience, most })
    }

    /// Ends connections whose readers take less than this.
    #[must_use]
    pub fn at_least(mut self, least: Rate) -> Self {
        self.least = least;
        self
    }

    /// Ends connections on which no request comes for so long.
    #[must_use]
    pub fn patient(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Has so many connections at once; who comes later waits until one ends. Not so many an address: behind one may be
    /// an ingress or a whole company. While somebody waits, idle connections end sooner.
    #[must_use]
    pub fn at_most(mut self, connections: usize) -> Self {
        self.most = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        self
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop`; then lets open requests finish, for at most `grace`. How many connections were left behind
    /// with a request that was not finished.
    pub async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) -> usize {
        let ends = Ends {
            stop: stop.clone(),
            least: self.least,
            patience: self.patience,
            most: Arc::clone(&self.most),
            open: TaskTracker::new(),
            over: CancellationToken::new(),
            behind: Arc::default(),
        };
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer, room)) => {
                    ends.open.spawn(converse(stream, peer, room, self.tls.clone(), router.clone(), ends.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop(self.socket);
        ends.finish(grace).await
    }

    async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
        // It is never closed.
        let room = Arc::clone(&self.most).acquire_owned().await.ok();
        let (stream, peer) = self.socket.accept().await?;
        Ok((stream, peer, room))
    }
}

impl Ends {
    /// Waits for the end of what is open, and brings it about when the time is over.
    async fn finish(&self, grace: Duration) -> usize {
        self.open.close();
        if tokio::time::timeout(grace, self.open.wait()).await.is_ok() {
            return 0;
        }
        self.over.cancel();
        let are_dropped = tokio::time::timeout(DROPPED_WITHIN, self.open.wait()).await.is_ok();
        let connections = self.behind.load(Ordering::Relaxed);
        if connections > 0 || !are_dropped {
            let seconds = grace.as_secs();
            tracing::warn!(connections, seconds, "the time was over: connections with open requests were left behind");
        }
        // What could not even be dropped may be a request.
        connections.max(usize::from(!are_dropped))
    }
}

/// One connection, from its acceptance to its end.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    _room: Option<OwnedSemaphorePermit>,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    ends: Ends,
) {
    // Without it the kernel waits for more before it sends the small answers.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was not set");
    }
    let meter = Meter::default();
    let served = match tls {
        None => {
            let (stream, spans) = SpanStream::new(stream);
            let connection = Connection { peer, spans: Some(spans), meter };
            serve_connection(stream, connection, router, &ends).await
        }
        Some(config) => {
            let shaken = tokio::time::timeout(ends.patience.head, TlsAcceptor::from(config).accept(stream));
            match ends.over.run_until_cancelled(shaken).await {
                Some(Ok(Ok(stream))) => {
                    let connection = Connection { peer, spans: None, meter };
                    serve_connection(stream, connection, router, &ends).await
                }
                Some(Ok(Err(error))) => Err(error.into()),
                Some(Err(_)) => Err("the TLS handshake took too long".into()),
                None => Err("the time was over before the TLS handshake".into()),
            }
        }
    };
    if let Err(error) = served {
        // Clients hang up as they like. What failed here is told by the line of its request.
        tracing::debug!(%peer, error, "a connection ended");
    }
}

/// The router says of every body how long it is. Of a 304 that would be the length of the 200 (RFC 9110, 8.6), which is
/// not zero.
fn without_length(mut answer: Response) -> Response {
    if answer.status() == StatusCode::NOT_MODIFIED {
        answer.headers_mut().remove(header::CONTENT_LENGTH);
    }
    answer
}

fn builder(requests: Requests) -> Builder<Requests> {
    let mut builder = Builder::new(requests);
    // hyper's own deadline of a head begins with the wait for it, and ends idle connections with it: `Meter` has both.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None::<Duration>).max_buf_size(HEADERS.max(8192) * 2);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEADERS).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(HELD)
        .keep_alive_interval(PING);
    builder
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    router: Router,
    ends: &Ends,
) -> Served {
    let meter = connection.meter.clone();
    let holding = Arc::new(Holding::default());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let is_http2 = request.version() == Version::HTTP_2;
        let mut request: Request = request.map(Body::new);
        let handling = connection.meter.handling(is_http2);
        request.extensions_mut().insert(connection.clone());
        let limited = is_http2.then(|| (connection.meter.clone(), Arc::clone(&holding)));
        // A router is always ready.
        let answer = router.clone().call(request);
        async move {
            let answer = answer.await.map(without_length).map(|answer| match limited {
                Some((meter, holding)) => answer.map(|body| Body::new(Limited::new(body, holding, meter.answering()))),
                None => answer,
            });
            drop(handling);
            answer
        }
    });
    let stream = TokioIo::new(Metered::new(stream, meter.clone()));
    let requests = Requests { open: ends.open.clone(), own: TaskTracker::new(), over: CancellationToken::new() };
    let mut served = pin!(builder(requests.clone()).serve_connection(stream, service).into_owned());
    let mut too_slow = pin!(meter.too_slow(ends.least));
    let mut goes_away = false;
    loop {
        tokio::select! {
            biased;
            served = served.as_mut() => return served,
            () = ends.over.cancelled() => {
                ends.behind.fetch_add(usize::from(meter.is_busy()), Ordering::Relaxed);
                requests.end().await;
                return Err("it was left behind when the time was over".into());
            }
            () = &mut too_slow => return Err("the client took too little of its answers".into()),
            () = ends.stop.cancelled(), if !goes_away => {
                goes_away = true;
                served.as_mut().graceful_shutdown();
            }
            has_asked = meter.idle(ends.patience, &ends.most), if !goes_away => {
                if !has_asked {
                    return Err("no whole head of a request came in time".into());
                }
                // A request that comes at this very moment is answered.
                goes_away = true;
                served.as_mut().graceful_shutdown();
            }
            () = meter.stays_quiet(ends.patience.pressed), if goes_away => {
                return Err("nothing came after it was told that the connection ends".into());
            }
        }
    }
}
