//! Health, metrics and the look at the store, on a thread and a runtime of their own: whatever the requests of clients
//! wait for, these go on.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::server::Server;
use crate::server::listen::Listener;

/// How long open requests may take at the end: answers here are short.
const GRACE: Duration = Duration::from_secs(1);

/// The running thread.
pub(super) struct Health(oneshot::Receiver<()>);

impl Health {
    /// Waits for its end, which comes once it was told to stop.
    pub(super) async fn ended(self) {
        // The sender is dropped at the end, whatever end that is.
        let _ = self.0.await;
    }
}

/// Starts it; returns once all addresses are bound.
pub(super) async fn start(
    server: Server,
    routers: Vec<(SocketAddr, Router)>,
    stop: CancellationToken,
) -> Result<Health, Error> {
    let (bound, is_bound) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let run = move || {
        runtime.block_on(run(server, routers, stop, bound));
        // A look at a volume that hangs may be going on for ever.
        runtime.shutdown_background();
        drop(end);
    };
    std::thread::Builder::new().name("health".to_owned()).spawn(run).map_err(Error::Thread)?;
    is_bound.await.map_err(|error| Error::Thread(std::io::Error::other(error)))??;
    Ok(Health(ended))
}

async fn run(
    server: Server,
    routers: Vec<(SocketAddr, Router)>,
    stop: CancellationToken,
    bound: oneshot::Sender<Result<(), Error>>,
) {
    let mut tasks = JoinSet::new();
    for (address, router) in routers {
        match Listener::bind(address, None).await {
            Ok(listener) => {
                tasks.spawn(listener.serve(router, stop.clone(), GRACE));
            }
            Err(source) => {
                // Nobody waits for the answer any more if the process is ending.
                let _ = bound.send(Err(Error::Listen { address, source }));
                return;
            }
        }
    }
    let _ = bound.send(Ok(()));
    tokio::select! {
        () = server.watch_store() => {}
        () = stop.cancelled() => {}
    }
    while tasks.join_next().await.is_some() {}
}
