//! What the tests of the operator share: a real API server, a stand-in for its controllers and kubelet, operators that
//! can be ended or held, and waiting for a condition.

pub mod api_server;
pub mod kubelet;
pub mod layers;
pub mod objects;
pub mod world;

use std::fmt::Debug;

pub use crate::program::DEADLINE;
use crate::program::Waiting;

/// Waits until `look` finds something, as the `eventually` of all tests does; this one can be spawned with whatever is
/// borrowed (of an `AsyncFnMut` the compiler does not see that it is `Send`).
pub async fn eventually<T, S: Debug, F: Future<Output = Result<T, S>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let waiting = Waiting::on(what);
    loop {
        if let Some(found) = waiting.took(look().await).await {
            return found;
        }
    }
}
