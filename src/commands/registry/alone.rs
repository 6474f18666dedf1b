//! Staying the only replica of a store that may have one only.

use std::time::Duration;

use super::sole::Sole;
use crate::commands::store::Opened;
use crate::server::Server;
use crate::server::fault::chain;

/// How long giving back the lease of the only replica may take.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// How long a store that failed is left alone before the lease is tried for again.
const TAKE_AGAIN: Duration = Duration::from_secs(2);

/// A store that cannot be reached keeps nobody: then the lease ends by itself.
pub async fn give_back(sole: &Sole) {
    match tokio::time::timeout(GIVE_BACK, sole.give_back()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %chain(&error), "the lease of the only replica was not given back"),
        Err(_) => tracing::warn!("the lease of the only replica was not given back in time"),
    }
}

/// Probes the store daily, and holds the lease of its only replica where it may have one only. Returns when another has
/// it.
pub async fn stays_alone(opened: &Opened, sole: &Sole, server: &Server) -> String {
    loop {
        match opened.alone() {
            None => opened.next_probe().await,
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
            if !takes(sole).await {
                return why;
            }
            server.leave_writing_to_another(false);
        }
    }
}

/// Takes the lease, whatever the store answers meanwhile; false where another replica keeps it.
async fn takes(sole: &Sole) -> bool {
    loop {
        match sole.take().await {
            Ok(taken) => return taken,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the lease of the only replica was not taken; trying again");
                tokio::time::sleep(TAKE_AGAIN).await;
            }
        }
    }
}
