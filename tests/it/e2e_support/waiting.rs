//! Waiting for a condition, never for a fixed time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The pause between two looks: how soon a condition is noticed.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until `look` finds what is promised to be there within `promise`. Given is three times that, since a busy
/// machine is no defect; how long it took is printed, and what was seen last where it never came.
pub async fn within<T, S: Display>(promise: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => {
                println!("{what}: after {:.2} s ({} s are promised)", began.elapsed().as_secs_f32(), promise.as_secs());
                return found;
            }
            Err(seen) if began.elapsed() > promise * 3 => {
                panic!("{what}: not within {:?}, three times what is promised; last seen: {seen}", promise * 3)
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// A condition as a look.
pub fn when(holds: bool, seen: impl Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen.to_string()) }
}
