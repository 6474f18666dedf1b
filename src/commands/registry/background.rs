//! What a registry does beside its requests: looks at mounted files, sweeps, compares clocks, counts uploads anew.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::Certificates;
use super::files::{self, WatchedCertificate};
use crate::registry::sweep;
use crate::server::fault::chain;
use crate::server::{Server, documents, open_uploads};

/// What goes on beside the requests.
pub struct Background {
    polls: JoinHandle<()>,
    sweeps: JoinHandle<()>,
    clocks: JoinHandle<()>,
    uploads: JoinHandle<()>,
}

impl Background {
    /// Starts it.
    pub(super) fn start(server: &Server, sources: files::Sources, certificates: Certificates) -> Self {
        let certificates = [certificates.serving, certificates.inside].into_iter().flatten().collect();
        Self {
            polls: tokio::spawn(poll(server.clone(), sources, certificates)),
            sweeps: tokio::spawn(sweep(server.clone())),
            clocks: tokio::spawn(check_clock(server.clone())),
            uploads: tokio::spawn(look_at_open_uploads(server.clone())),
        }
    }

    /// Another replica sweeps from now on.
    pub fn stop_sweeping(&self) {
        self.sweeps.abort();
    }

    /// Ends it.
    pub fn end(self) {
        [self.polls, self.sweeps, self.clocks, self.uploads].iter().for_each(JoinHandle::abort);
    }
}

/// Looks at the mounted files, every other second.
async fn poll(server: Server, mut sources: files::Sources, mut certificates: Vec<WatchedCertificate>) {
    let mut ticks = tokio::time::interval(documents::POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match sources.read_if_changed() {
            Ok(Some((keys, configured))) => {
                server.configure(keys, configured).await;
                tracing::info!("keys, passwords or replicators changed and are in force");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = %chain(&error), "a changed file is not taken; what was in force stays so");
            }
        }
        for certificate in &mut certificates {
            certificate.poll();
        }
    }
}

/// Compares clocks, every minute.
async fn check_clock(server: Server) {
    let mut ticks = tokio::time::interval(Duration::from_mins(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = server.check_clock().await {
            tracing::warn!(error = %chain(&error), "the store's clock could not be read");
        }
        server.look_at_space().await;
    }
}

/// Finds out which uploads ended at other replicas.
async fn look_at_open_uploads(server: Server) {
    let mut ticks = tokio::time::interval(open_uploads::LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = server.look_at_open_uploads().await {
            tracing::warn!(error = %chain(&error), "which uploads are open could not be found out");
        }
    }
}

/// Sweeps leftovers, at the start and each hour.
async fn sweep(server: Server) {
    let mut ticks = tokio::time::interval(sweep::EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match server.registry().sweep().await {
            Ok(swept) => tracing::debug!(?swept, "leftovers were swept"),
            Err(error) => tracing::warn!(error = %chain(&error), "leftovers could not be swept"),
        }
    }
}
