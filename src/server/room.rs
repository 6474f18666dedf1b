//! Room for manifests: each is in memory as a whole, and what is parsed of one takes many times its bytes.
//!
//! Small ones, which nearly all are, share so much memory and so much work at a time. Of large ones only so many are in
//! memory, and fewer are worked on; who sends one has a minute for it, since others wait for its room.

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

/// The longest manifest that is taken, in bytes: the least that the specification lets a registry have.
pub const LONGEST: usize = 4 * 1024 * 1024;

/// What is larger than this is large, in bytes.
const SMALL: usize = 64 * 1024;

/// What of a small one needs no room, in bytes: as much as the connection holds of it anyway.
const FREE: usize = 4 * 1024;

/// How many KiB of small ones are in memory beyond that, complete or not.
const HELD_KIB: usize = 16 * 1024;

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
    held: Arc<Semaphore>,
    patience: Duration,
    within: Duration,
}

impl Default for Room {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (bodies, turns) = (semaphore(BODIES), semaphore(TURNS));
        let (small, held) = (semaphore(SMALL_KIB), semaphore(HELD_KIB));
        Self { bodies, turns, small, held, patience: PATIENCE, within: WITHIN }
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
    pub async fn read(&self, length: Option<u64>, body: Body) -> Result<Held, Fault> {
        if length.is_some_and(|length| length > LONGEST as u64) {
            return Err(too_long());
        }
        let late = tokio::time::Instant::now() + self.within;
        let mut coming = Coming { body, bytes: BytesMut::new(), late };
        if coming.collect(FREE).await? {
            return Ok(coming.whole(None));
        }
        let mut room = self.wait(&self.held, kib(coming.bytes.len())).await?;
        for most in std::iter::successors(Some(2 * FREE), |most| (*most < SMALL).then_some(2 * most)) {
            if coming.collect(most).await? {
                return Ok(coming.whole(Some(room)));
            }
            // Room for what is there, before there is more.
            let more = kib(coming.bytes.len()).saturating_sub(u32::try_from(room.num_permits()).unwrap_or(u32::MAX));
            if more > 0 {
                room.merge(self.wait(&self.held, more).await?);
            }
        }
        let large = self.wait(&self.bodies, 1).await?;
        drop(room);
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(LONGEST);
        coming.bytes.reserve(length.saturating_sub(coming.bytes.len()));
        coming.late = tokio::time::Instant::now() + self.within;
        if coming.collect(LONGEST).await? { Ok(coming.whole(Some(large))) } else { Err(too_long()) }
    }

    /// A turn at working on it.
    pub async fn turn(&self, held: &Held) -> Result<OwnedSemaphorePermit, Fault> {
        if held.is_large() {
            return self.wait(&self.turns, 1).await;
        }
        self.wait(&self.small, kib(held.bytes.len())).await
    }

    async fn wait(&self, permits: &Arc<Semaphore>, many: u32) -> Result<OwnedSemaphorePermit, Fault> {
        let permit = Arc::clone(permits).acquire_many_owned(many);
        if let Ok(Ok(permit)) = tokio::time::timeout(self.patience, permit).await {
            return Ok(permit);
        }
        let message = "too many manifests are being pushed; try again in a moment";
        Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with_header(header::RETRY_AFTER, "5"))
    }
}

/// A manifest on its way.
struct Coming {
    body: Body,
    bytes: BytesMut,
    /// When it should be there.
    late: tokio::time::Instant,
}

impl Coming {
    /// Takes frames as long as there is no more than `most`; whether the body has ended.
    async fn collect(&mut self, most: usize) -> Result<bool, Fault> {
        while self.bytes.len() <= most {
            let Ok(frame) = tokio::time::timeout_at(self.late, self.body.frame()).await else { return Err(too_slow()) };
            let Some(frame) = frame else { return Ok(true) };
            let frame = frame.map_err(|error| broke_off(&broken(error)))?;
            if let Some(data) = frame.data_ref() {
                self.bytes.extend_from_slice(data);
            }
        }
        Ok(false)
    }

    fn whole(self, room: Option<OwnedSemaphorePermit>) -> Held {
        Held { bytes: self.bytes.freeze(), _room: room }
    }
}

/// How many KiB that is, begun ones included.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

/// Its own code, rather than that of uploads, whose bodies break off in the same way.
fn broke_off(error: &std::io::Error) -> Fault {
    if error.kind() == TOO_SLOW {
        return too_slow();
    }
    let message = "the manifest broke off before its end";
    Fault::new(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, message)
}

fn too_slow() -> Fault {
    Fault::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::ManifestInvalid, "the manifest came too slowly")
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

    /// A thousand of them, of 64 KiB each but for the last byte, took 150 MiB.
    #[tokio::test]
    async fn small_manifests_that_do_not_end_have_only_so_much_memory_together() {
        let room = Room { patience: Duration::from_millis(20), ..Room::default() };
        let unfinished = || {
            let first = futures::stream::iter([Ok::<_, std::io::Error>(vec![b' '; SMALL - 1])]);
            Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
        };
        let mut reading: Vec<_> = (0..2 * HELD_KIB / 64).map(|_| Box::pin(room.read(None, unfinished()))).collect();
        for read in &mut reading {
            assert!(futures::poll!(read).is_pending());
        }
        assert_eq!(room.held.available_permits(), 0);
        let refused = futures::future::select_all(reading.iter_mut()).await.0.unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let small = room.read(None, Body::from(vec![b' '; FREE])).await.unwrap();
        assert!(room.turn(&small).await.is_ok(), "what nearly all push goes on");
        drop(reading);
        assert_eq!(room.held.available_permits(), HELD_KIB);
    }

    /// They were told that their upload was invalid.
    #[tokio::test]
    async fn a_manifest_that_breaks_off_or_is_too_slow_is_no_manifest() {
        let room = impatient();
        let first = || futures::stream::iter([Ok::<_, std::io::Error>(vec![b'{'; 10])]);
        let broken = futures::stream::iter([Err(std::io::Error::other("reset"))]);
        let broken = Body::from_stream(futures::StreamExt::chain(first(), broken));
        let slow = Body::from_stream(futures::StreamExt::chain(first(), futures::stream::pending()));
        for (body, status) in [(broken, 400), (slow, 408)] {
            let refused = room.read(Some(100), body).await.unwrap_err();
            assert_eq!(refused.status.as_u16(), status);
            let answer =
                refused.into_response("id", &|_| String::new()).into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&answer).contains("MANIFEST_INVALID"), "{answer:?}");
        }
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
