//! Listeners: accept, TLS where asked for, HTTP/1.1 and HTTP/2, and an end that lets requests finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::connection::{Connection, Meter, Metered};
use super::limits::{Limits, Rate};
use super::spans::SpanStream;

/// How long a client may take for its TLS handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a failing `accept` (no file descriptors) is left alone.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What is read of a request's head before it is refused by hyper, unanswered by us: more than
/// [`super::limits::check_head`] lets pass.
const HEADERS: usize = 64 * 1024;

/// A client of HTTP/2 that answers no ping is gone.
const PING: Duration = Duration::from_secs(30);

/// How many requests a client of HTTP/2 may have open on one connection.
const STREAMS: u32 = 128;

/// How much of an answer is held for a client of HTTP/2 that does not take it.
const HELD: usize = 64 * 1024;

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    least: Rate,
    most: Arc<Semaphore>,
}

impl Listener {
    /// Binds an address.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> std::io::Result<Self> {
        let Limits { least, connections, .. } = Limits::default();
        Ok(Self { socket: TcpListener::bind(address).await?, tls, least, most: Arc::new(Semaphore::new(connections)) })
    }

    /// Ends connections whose readers take less than this.
    #[must_use]
    pub fn at_least(mut self, least: Rate) -> Self {
        self.least = least;
        self
    }

    /// Has so many connections at once; who comes later waits until one ends.
    #[must_use]
    pub fn at_most(mut self, connections: usize) -> Self {
        self.most = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        self
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop`; then lets open requests finish, for at most `grace`.
    pub async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer, room)) => self.spawn(stream, (peer, room), router.clone(), &graceful),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop(self.socket);
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(seconds = grace.as_secs(), "some requests were still open when the time was over");
        }
    }

    async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
        // It is never closed.
        let room = Arc::clone(&self.most).acquire_owned().await.ok();
        let (stream, peer) = self.socket.accept().await?;
        Ok((stream, peer, room))
    }

    fn spawn(
        &self,
        stream: TcpStream,
        (peer, room): (SocketAddr, Option<OwnedSemaphorePermit>),
        router: Router,
        graceful: &GracefulShutdown,
    ) {
        let watcher = graceful.watcher();
        let (tls, least) = (self.tls.clone(), self.least);
        // Without it the kernel waits for more before it sends the small answers.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY was not set");
        }
        tokio::spawn(async move {
            let _room = room;
            let meter = Meter::default();
            let served = match tls {
                None => {
                    let (stream, spans) = SpanStream::new(stream);
                    let connection = Connection { peer, spans: Some(spans), meter };
                    serve_connection(stream, connection, router, watcher, least).await
                }
                Some(config) => match tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let connection = Connection { peer, spans: None, meter };
                        serve_connection(stream, connection, router, watcher, least).await
                    }
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => Err("the TLS handshake took too long".into()),
                },
            };
            if let Err(error) = served {
                // Clients hang up as they like.
                tracing::debug!(%peer, error, "a connection ended");
            }
        });
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    router: Router,
    watcher: Watcher,
    least: Rate,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEADERS.max(8192) * 2);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEADERS).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(HELD)
        .keep_alive_interval(PING);
    let meter = connection.meter.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        let handling = connection.meter.handling();
        request.extensions_mut().insert(connection.clone());
        // A router is always ready.
        let answer = router.clone().call(request);
        async move {
            let answer = answer.await;
            drop(handling);
            answer
        }
    });
    let stream = TokioIo::new(Metered::new(stream, meter.clone()));
    let served = watcher.watch(builder.serve_connection(stream, service).into_owned());
    tokio::select! {
        biased;
        served = served => served,
        () = meter.too_slow(least) => Err("the client took too little of its answers".into()),
    }
}
