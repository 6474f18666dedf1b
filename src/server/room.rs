//! Room for manifests: each is in memory as a whole, and what is parsed of one takes many times its bytes.
//!
//! Small ones, which nearly all are, share so much work at a time. Of large ones only so many are in memory, and fewer
//! are worked on; who sends one has a minute for it, since others wait for its room.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Fault;
use super::inbound::{TOO_SLOW, broken};
use crate::oci::ErrorCode;
use crate::registry::RegistryError;

/// The longest manifest that is taken, in bytes: the least that the specification lets a registry have.
pub const LONGEST: usize = 4 * 1024 * 1024;

/// What is larger than this is large, in bytes.
const SMALL: usize = 64 * 1024;

/// How many large ones are in memory.
const BODIES: usize = 8;

/// How many large ones are worked on.
const TURNS: usize = 2;

/// How many KiB of small ones are worked on.
const SMALL_KIB: usize = 4 * 1024;

/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the rest of a large one may take.
const WITHIN: Duration = Duration::from_mins(1);

/// The room of one server.
#[derive(Debug)]
pub struct Room {
    bodies: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    small: Arc<Semaphore>,
    patience: Duration,
    within: Duration,
}

impl Default for Room {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (bodies, turns, small) = (semaphore(BODIES), semaphore(TURNS), semaphore(SMALL_KIB));
        Self { bodies, turns, small, patience: PATIENCE, within: WITHIN }
    }
}

/// A manifest's bytes, and the room that they take.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Whether parsing it takes so long that others should not wait for it.
    pub fn is_large(&self) -> bool {
        self.bytes.len() > SMALL
    }
}

impl Room {
    /// Reads a body of an announced length, or of an unknown one.
    pub async fn read(&self, length: Option<u64>, mut body: Body) -> Result<Held, Fault> {
        if length.is_some_and(|length| length > LONGEST as u64) {
            return Err(too_long());
        }
        let mut bytes = BytesMut::new();
        if collect(&mut body, &mut bytes, SMALL).await? {
            return Ok(Held { bytes: bytes.freeze(), _room: None });
        }
        let room = self.wait(&self.bodies, 1).await?;
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(LONGEST);
        bytes.reserve(length.saturating_sub(bytes.len()));
        let too_slow = |_| broken(std::io::Error::new(TOO_SLOW, "a large manifest has a minute to come"));
        let whole = tokio::time::timeout(self.within, collect(&mut body, &mut bytes, LONGEST)).await;
        if !whole.map_err(|late| RegistryError::Body(too_slow(late)))?? {
            return Err(too_long());
        }
        Ok(Held { bytes: bytes.freeze(), _room: Some(room) })
    }

    /// A turn at working on it.
    pub async fn turn(&self, held: &Held) -> Result<OwnedSemaphorePermit, Fault> {
        if held.is_large() {
            return self.wait(&self.turns, 1).await;
        }
        let kib = u32::try_from(held.bytes.len().div_ceil(1024)).unwrap_or(u32::MAX);
        self.wait(&self.small, kib.max(1)).await
    }

    async fn wait(&self, permits: &Arc<Semaphore>, many: u32) -> Result<OwnedSemaphorePermit, Fault> {
        let permit = Arc::clone(permits).acquire_many_owned(many);
        if let Ok(Ok(permit)) = tokio::time::timeout(self.patience, permit).await {
            return Ok(permit);
        }
        let message = "too many large manifests are being pushed; try again in a moment";
        Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with_header(header::RETRY_AFTER, "5"))
    }
}

/// Takes frames as long as there is no more than `most`; whether the body has ended.
async fn collect(body: &mut Body, bytes: &mut BytesMut, most: usize) -> Result<bool, Fault> {
    while bytes.len() <= most {
        let Some(frame) = body.frame().await else { return Ok(true) };
        let frame = frame.map_err(|error| RegistryError::Body(broken(error)))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    Ok(false)
}

fn too_long() -> Fault {
    let message = format!("a manifest may have {LONGEST} bytes");
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impatient() -> Room {
        Room { patience: Duration::from_millis(20), within: Duration::from_millis(20), ..Room::default() }
    }

    #[tokio::test]
    async fn of_large_manifests_only_so_many_are_in_memory_and_small_ones_do_not_wait_for_them() {
        let room = impatient();
        let large = || Body::from(vec![b' '; SMALL + 1]);
        let mut held = Vec::new();
        for _ in 0..BODIES {
            held.push(room.read(None, large()).await.unwrap());
        }
        let refused = room.read(None, large()).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let small = room.read(None, Body::from(vec![b' '; SMALL])).await.unwrap();
        let turns = [room.turn(&held[0]).await.unwrap(), room.turn(&held[1]).await.unwrap()];
        assert_eq!(room.turn(&held[2]).await.unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
        assert!(room.turn(&small).await.is_ok());
        drop((turns, held));
        let again = room.read(None, large()).await.unwrap();
        assert!(room.turn(&again).await.is_ok());
    }

    #[tokio::test]
    async fn who_sends_a_large_manifest_has_a_minute_and_gives_its_room_back() {
        let room = impatient();
        let first = futures::stream::iter([Ok::<_, std::io::Error>(vec![b' '; SMALL + 1])]);
        let never = futures::StreamExt::chain(first, futures::stream::pending());
        let late = room.read(Some(LONGEST as u64), Body::from_stream(never)).await.unwrap_err();
        assert_eq!(late.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(room.bodies.available_permits(), BODIES);
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_whether_or_not_it_says_so() {
        let room = Room::default();
        let exact = room.read(None, Body::from(vec![b' '; LONGEST])).await.unwrap();
        assert_eq!(exact.bytes.len(), LONGEST);
        for (length, size) in [(Some(LONGEST as u64 + 1), 1), (None, LONGEST + 1)] {
            let refused = room.read(length, Body::from(vec![b' '; size])).await.unwrap_err();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
}
