//! Health, metrics and the look at the store, on a thread and a runtime of their own: whatever the requests of clients
//! wait for, these go on. They are there before the store answers: that may take long, and a pod of which nothing is heard
//! is ended. They are there until the last request of a client has come to its end, which may take as long.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;

use super::Error;
use crate::server::Server;
use crate::server::listen::Listener;

/// How long open requests may take at the end: answers here are short.
const GRACE: Duration = Duration::from_secs(1);

/// What an address serves, once there is a server.
pub(super) type Made = fn(Server) -> Router;

/// What it serves; nothing while there is no server yet.
type Serves = Arc<OnceLock<Router>>;

/// The running thread. It ends when this is dropped.
pub(super) struct Health {
    server: Option<oneshot::Sender<Server>>,
    stop: DropGuard,
    end: oneshot::Receiver<()>,
}

impl Health {
    /// From now on it is told how this server fares.
    pub(super) fn of(&mut self, server: &Server) {
        if let Some(sender) = self.server.take() {
            // It has ended only where the process is about to.
            let _ = sender.send(server.clone());
        }
    }

    /// Ends it.
    pub(super) async fn end(self) {
        drop(self.stop);
        // The sender is dropped at the end, whatever end that is.
        let _ = self.end.await;
    }
}

/// Starts it; returns once all addresses are bound.
pub(super) async fn start(addresses: Vec<(SocketAddr, Made)>) -> Result<Health, Error> {
    let stop = CancellationToken::new();
    let stops = stop.clone();
    let (bound, is_bound) = oneshot::channel();
    let (sender, server) = oneshot::channel();
    let (ends, end) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let run = move || {
        runtime.block_on(run(addresses, server, stops, bound));
        // A look at a volume that hangs may be going on for ever.
        runtime.shutdown_background();
        drop(ends);
    };
    std::thread::Builder::new().name("health".to_owned()).spawn(run).map_err(Error::Thread)?;
    is_bound.await.map_err(|error| Error::Thread(std::io::Error::other(error)))??;
    Ok(Health { server: Some(sender), stop: stop.drop_guard(), end })
}

async fn run(
    addresses: Vec<(SocketAddr, Made)>,
    server: oneshot::Receiver<Server>,
    stop: CancellationToken,
    bound: oneshot::Sender<Result<(), Error>>,
) {
    let (mut tasks, mut all) = (JoinSet::new(), Vec::new());
    for (address, made) in addresses {
        match Listener::bind(address, None).await {
            Ok(listener) => {
                let place = Serves::default();
                let router = Router::new().fallback(serve).with_state(Arc::clone(&place));
                tasks.spawn(listener.serve(router, stop.clone(), GRACE));
                all.push((place, made));
            }
            Err(source) => {
                // Nobody waits for the answer any more if the process is ending.
                let _ = bound.send(Err(Error::Listen { address, source }));
                return;
            }
        }
    }
    let _ = bound.send(Ok(()));
    // There will be none where the process ends before.
    let Ok(server) = server.await else { return };
    for (place, made) in all {
        place.get_or_init(|| made(server.clone()));
    }
    tokio::select! {
        () = server.watch_store() => {}
        () = stop.cancelled() => {}
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve(State(serves): State<Serves>, request: Request) -> Response {
    match serves.get() {
        // A router never fails.
        Some(router) => router.clone().oneshot(request).await.into_response(),
        None if request.uri().path() == "/healthz" => "ok\n".into_response(),
        None => {
            let why = "not ready: the registry is starting, and waits for its store or for the lease of the replica before it\n";
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}
