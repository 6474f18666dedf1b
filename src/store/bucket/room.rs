//! Room for the bytes of uploads that are in memory until they make a part.
//!
//! A bucket takes a part as a whole, so that what an upload has of one is held until it is there; and the library holds
//! the first one back, since it may be the last. Without a bound many slow uploads take all memory there is. Who has no
//! room waits, and so does his client.
//!
//! Three kinds of room are taken in this order only, so that nobody waits for whom he keeps waiting: a little one, for the
//! first bytes, which is given back for a part's; a part's, kept until the upload ends; and one part more, for as long as
//! it takes to fill. For the last there is always somebody's turn: what is sent frees the room of what was sent before.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::write::PART;

/// So many bytes of each upload are not counted: what a connection holds anyway.
const FREE: usize = 64 * 1024;

/// What an upload may hold beyond these before it needs room for a part.
const LITTLE: usize = 1024 * 1024;

/// How many uploads have a little at once.
const LITTLES: usize = 32;

/// How many parts there is room for: 64 MiB.
const PARTS: usize = 8;

/// The room of one bucket.
#[derive(Debug)]
pub(super) struct Room {
    littles: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    /// Who fills a part without any room left; one at a time.
    beyond: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Self { littles: of(LITTLES), parts: of(PARTS), beyond: of(1) }
    }
}

/// What one upload has of it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    little: Option<OwnedSemaphorePermit>,
    /// For the part that the library holds, or is to hold.
    first: Option<OwnedSemaphorePermit>,
    /// For the one after it.
    next: Option<OwnedSemaphorePermit>,
    /// For the one that is filled while those two are on their way.
    ahead: Option<OwnedSemaphorePermit>,
}

impl Taken {
    /// Waits until there is room for so much of the first part.
    pub(super) async fn reserve_first(&mut self, room: &Room, filled: usize) {
        if filled <= FREE || self.first.is_some() {
            return;
        }
        if filled > LITTLE {
            self.first = one_of(&room.parts).await;
            self.little = None;
        } else if self.little.is_none() {
            self.little = one_of(&room.littles).await;
        }
    }

    /// Waits until there is room for another part, or it is one's turn to do without.
    pub(super) async fn reserve_next(&mut self, room: &Room) {
        if self.next.is_none() {
            self.next = tokio::select! {
                biased;
                permit = one_of(&room.parts) => permit,
                permit = one_of(&room.beyond) => permit,
            };
        }
    }

    /// Room for a part while another is on its way, if there is any.
    pub(super) fn reserve_ahead(&mut self, room: &Room) -> bool {
        if self.ahead.is_none() {
            self.ahead = Arc::clone(&room.parts).try_acquire_owned().ok();
        }
        self.ahead.is_some()
    }

    /// What was on its way is there: the library holds one part, and there may be some of another.
    pub(super) fn sent(&mut self) {
        self.next = self.ahead.take();
    }
}

/// None only where nobody waits any more.
async fn one_of(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(room).acquire_owned().await.ok()
}

/// Pieces of this size at most are reserved for, so that what is not counted stays small.
pub(super) fn piece(filled: usize, length: usize) -> usize {
    let until = [FREE, LITTLE, PART].into_iter().find(|&bound| filled < bound).unwrap_or(PART);
    length.min(until.saturating_sub(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every upload needs more than there is for all of them; each comes to its end.
    #[tokio::test]
    async fn many_that_need_more_than_there_is_come_to_their_end() {
        let room = Arc::new(Room::default());
        let uploads = (0..40).map(|_| {
            let room = Arc::clone(&room);
            tokio::spawn(async move {
                let mut taken = Taken::default();
                for part in 0..5 {
                    let mut filled = 0;
                    while filled < PART {
                        filled += piece(filled, 300_000);
                        if part == 0 {
                            taken.reserve_first(&room, filled).await;
                        } else {
                            taken.reserve_next(&room).await;
                        }
                        tokio::task::yield_now().await;
                    }
                    if part > 0 {
                        taken.sent();
                    }
                }
            })
        });
        for upload in uploads.collect::<Vec<_>>() {
            tokio::time::timeout(std::time::Duration::from_secs(30), upload)
                .await
                .expect("nobody waits for ever")
                .unwrap();
        }
        assert_eq!((room.littles.available_permits(), room.parts.available_permits()), (LITTLES, PARTS));
    }

    #[tokio::test]
    async fn no_more_is_held_than_there_is_room_for() {
        let room = Room::default();
        let mut held = Vec::new();
        for _ in 0..PARTS {
            let mut taken = Taken::default();
            taken.reserve_first(&room, PART).await;
            held.push(taken);
        }
        let waits = async |reserved: &mut (dyn Future<Output = ()> + Unpin)| {
            tokio::time::timeout(std::time::Duration::from_millis(20), reserved).await.is_err()
        };
        assert!(!waits(&mut Box::pin(held[0].reserve_next(&room))).await, "one goes on");
        assert!(!held[0].reserve_ahead(&room));
        assert!(waits(&mut Box::pin(held[1].reserve_next(&room))).await, "and the others wait for it");
        assert!(waits(&mut Box::pin(Taken::default().reserve_first(&room, LITTLE + 1))).await);
        assert!(!waits(&mut Box::pin(Taken::default().reserve_first(&room, LITTLE))).await);
        held.remove(0);
        assert!(!waits(&mut Box::pin(held[0].reserve_next(&room))).await);
    }
}
