//! Turns at hashing passwords: bcrypt takes a processor for 50 ms, and everybody may ask for it without a right.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{StatusCode, header};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Fault;
use crate::oci::ErrorCode;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// As many at a time as there are processors, in this whole process.
fn turns() -> &'static Semaphore {
    static TURNS: OnceLock<Semaphore> = OnceLock::new();
    TURNS.get_or_init(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)))
}

/// Waits for a turn; 429 where there are too many before. To be held until the hash is made, also if the request that
/// it is for goes away meanwhile.
pub async fn turn() -> Result<SemaphorePermit<'static>, Fault> {
    turn_within(turns(), PATIENCE).await
}

async fn turn_within(turns: &Semaphore, patience: Duration) -> Result<SemaphorePermit<'_>, Fault> {
    if let Ok(Ok(turn)) = tokio::time::timeout(patience, turns.acquire()).await {
        return Ok(turn);
    }
    let message = "too many passwords are being verified; try again in a moment, or ask for a token once";
    Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
        .with_header(header::RETRY_AFTER, "5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_turn_in_time_is_told_when_to_come_again() {
        let turns = Semaphore::new(1);
        let held = turn_within(&turns, PATIENCE).await.unwrap();
        let refused = turn_within(&turns, Duration::ZERO).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let response = refused.into_response("id", &|_| String::new());
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        drop(held);
        assert!(turn_within(&turns, PATIENCE).await.is_ok());
    }
}
