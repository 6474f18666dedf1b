//! What the tests of the operator share: a real API server, a stand-in for its controllers and kubelet, operators that
//! can be ended or held, and waiting for a condition.

pub mod api_server;
pub mod kubelet;
pub mod layers;
pub mod objects;
pub mod world;

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take: three times what is promised.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until `look` finds something; says what it saw last where it never does.
pub async fn eventually<T, S: Debug, F: Future<Output = Result<T, S>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => {
                println!("{what}: after {:.1} s", began.elapsed().as_secs_f32());
                return found;
            }
            Err(seen) if began.elapsed() > DEADLINE => panic!("{what}: not within {DEADLINE:?}; last seen: {seen:#?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
