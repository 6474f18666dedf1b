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
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::spans::{SpanStream, Spans};

/// How long a client may take for its TLS handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a failing `accept` (no file descriptors) is left alone.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Headers of 32 KiB at least: tokens of people in many groups are long.
const HEADERS: usize = 64 * 1024;

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

impl Listener {
    /// Binds an address.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> std::io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls })
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
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.spawn(stream, peer, router.clone(), &graceful),
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

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, router: Router, graceful: &GracefulShutdown) {
        let watcher = graceful.watcher();
        let tls = self.tls.clone();
        // Without it the kernel waits for more before it sends the small answers.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY was not set");
        }
        tokio::spawn(async move {
            let served = match tls {
                None => {
                    let (stream, spans) = SpanStream::new(stream);
                    serve_connection(stream, Some(spans), router, watcher).await
                }
                Some(config) => match tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
                    Ok(Ok(stream)) => serve_connection(stream, None, router, watcher).await,
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
    spans: Option<Spans>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEADERS.max(8192) * 2);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(u32::try_from(HEADERS).unwrap_or(u32::MAX));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        if let Some(spans) = &spans {
            request.extensions_mut().insert(spans.clone());
        }
        // A router is always ready.
        router.clone().call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    watcher.watch(connection).await
}
