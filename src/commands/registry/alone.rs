//! Staying the only replica of a store that may have one only.

use std::time::Duration;

use tokio::time::Instant;

use crate::commands::sole::{LookOut, Seen, Sole};
use crate::commands::store::Opened;
use crate::server::Server;
use crate::server::fault::chain;

/// How long a store that failed is left alone before the lease is tried for again.
const TAKE_AGAIN: Duration = Duration::from_secs(2);

/// Probes the store daily, and holds the lease of its only replica where it may have one only. Returns when another has
/// it.
pub async fn stays_alone(opened: &Opened, sole: &Sole, server: &Server) -> String {
    // One for all the time: a probe in between makes what was seen before it no younger. Who boots has just looked.
    let mut look_out = sole.look_out(Instant::now());
    loop {
        match opened.alone() {
            None => {
                tokio::select! {
                    () = opened.next_probe() => {}
                    () = another_is_alone(opened, &mut look_out, server) => {}
                }
            }
            Some(why) => {
                tokio::select! {
                    () = sole.hold() => return why,
                    () = opened.next_probe() => {}
                }
                continue;
            }
        }
        // It could be shared until now.
        if let Some(why) = opened.alone() {
            server.leave_writing_to_another(true);
            if !takes(opened, sole).await {
                return why;
            }
            server.leave_writing_to_another(false);
        }
    }
}

/// Looks out whether another replica holds the lease of an only one: what a bucket does is found out by each
/// replica for itself, and by way of a proxy it may do less. While another has the lease nothing is written here; nor while
/// that cannot be seen. Where such a lease is met the bucket is tried out once more; returns when it may have one replica
/// only.
async fn another_is_alone(opened: &Opened, look_out: &mut LookOut<'_>, server: &Server) {
    if !opened.is_bucket() {
        return std::future::pending().await;
    }
    let mut told = false;
    loop {
        let seen = look_out.next().await;
        server.leave_writing_to_another(seen != Seen::Free);
        match seen {
            Seen::Free => told = false,
            // That the store fails is said elsewhere.
            Seen::Blind => {}
            Seen::Anothers if told => {}
            Seen::Anothers => {
                told = true;
                tracing::error!(
                    store = %opened.name,
                    "another replica found that this store may have one replica only, and holds the lease: nothing is \
                     written here until that ends; do all replicas reach the bucket in the same way?"
                );
                opened.probe().await;
                if opened.alone().is_some() {
                    return;
                }
            }
        }
    }
}

/// Takes the lease, whatever the store answers meanwhile; false where another replica keeps it.
async fn takes(opened: &Opened, sole: &Sole) -> bool {
    loop {
        match sole.take(opened.others_may_share()).await {
            Ok(taken) => return taken,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the lease of the only replica was not taken; trying again");
                tokio::time::sleep(TAKE_AGAIN).await;
            }
        }
    }
}
