//! Room for the bytes of uploads that are in memory until they make a part.
//!
//! A bucket takes a part as a whole, so that what an upload has of one is held until it is there; and the library holds
//! the first one back, since it may be the last. Without a bound many slow uploads take all memory there is. Who has no
//! room waits, and so does his client.
//!
//! Room is taken as bytes come, and for no more than came, while an upload begins: one that comes slowly keeps little from
//! others yet. What goes on takes the room of its first part in one piece, and has it to its end; that of each further part
//! is given back when that was sent. Where there is none left for further parts, it is somebody's *turn* to do without for
//! one part. Nobody who waits has what those need for whom he waits: who has a first part always goes on.
//!
//! Who holds room while others wait for it, and brings less than a useful rate, gives way: what he brought is kept and
//! sent as it is, and his client told to go on from there later. Only the time counts for which he was waited for, and the
//! more wait the less of it is needed: a client that nobody reads from for half a minute may take the connection for dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::write::PART;

/// What room is counted in. So many bytes of each upload are not counted: what a connection holds anyway.
const UNIT: usize = 64 * 1024;

/// What an upload has at most while it begins: 1 MiB.
const BEGINNING: usize = 16;

/// A first part: what is not counted is one unit less.
const FIRST: usize = PART / UNIT - 1;

/// How many there are for beginnings: 8 MiB.
const FOR_BEGINNINGS: usize = 128;

/// How many there are for parts: 64 MiB.
const FOR_PARTS: usize = 1_024;

/// How many uploads may have one part more at a time: 24 MiB.
const TURNS: usize = 3;

/// The least that is of use within [`WITHIN`], while others wait: 64 KiB a second.
const USEFUL: usize = 320 * 1024;

/// How many uploads have a first part at a time.
const FIRSTS: usize = FOR_PARTS / FIRST;

/// How long an upload is waited for before it is judged, where few others wait.
const WITHIN: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(5) };

/// How often it is looked whether others wait.
const LOOK: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_millis(100) };

/// For how long an upload is waited for at the least before it is judged.
const AT_LEAST: Duration = LOOK.saturating_mul(5);

/// The room of one bucket.
#[derive(Debug)]
pub(super) struct Room {
    beginnings: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    /// Who goes on without any room left.
    turns: Arc<Semaphore>,
    to_begin: Line,
    to_go_on: Line,
}

impl Default for Room {
    fn default() -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Self {
            beginnings: of(FOR_BEGINNINGS),
            parts: of(FOR_PARTS),
            turns: of(TURNS),
            to_begin: Line::default(),
            to_go_on: Line::default(),
        }
    }
}

impl Room {
    /// For who is to give way now: one for each who waits, and can go on with what this one has.
    fn leave(&self, holds: Holds) -> Option<Leaving> {
        let to_begin = self.to_begin.waiting.load(Ordering::Relaxed);
        match holds {
            Holds::Beginning => self.to_begin.leave(to_begin),
            Holds::Parts => self.to_go_on.leave(to_begin + self.to_go_on.waiting.load(Ordering::Relaxed)),
        }
    }

    /// For how long an upload is waited for before it is judged: who waits is to go on after some seconds, though nobody
    /// before him bring anything.
    fn within(&self) -> Duration {
        let waiting = [&self.to_begin, &self.to_go_on].map(|line| line.waiting.load(Ordering::Relaxed));
        let before = u32::try_from(waiting.iter().sum::<usize>() / FIRSTS).unwrap_or(u32::MAX);
        (WITHIN / before.saturating_add(1)).max(AT_LEAST)
    }
}

/// Who waits for the same, and who gives way to them.
#[derive(Debug, Default)]
struct Line {
    waiting: AtomicUsize,
    /// How many give way and have not given back yet what they held.
    leaving: Arc<AtomicUsize>,
}

impl Line {
    fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Unless so many do already.
    fn leave(&self, most: usize) -> Option<Leaving> {
        let one_more = |leaving| (leaving < most).then_some(leaving + 1);
        self.leaving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Leaving(Arc::clone(&self.leaving)))
    }
}

/// What who gives way gives back.
#[derive(Debug, Clone, Copy)]
enum Holds {
    /// Room in which others can begin.
    Beginning,
    /// Room in which others can begin, or go on.
    Parts,
}

/// One who waits, until this is dropped.
struct Waiting<'a>(&'a Line);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One who gives way, until this is dropped.
#[derive(Debug)]
struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one upload has of it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    beginning: Option<OwnedSemaphorePermit>,
    /// None while it begins; a first part's at the least then.
    parts: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
    pace: Pace,
    /// Behind the permits: they are given back before it.
    leaving: Option<Leaving>,
}

impl Taken {
    /// Waits until there is room for so many bytes in all, or it is one's turn to do without.
    pub(super) async fn hold(&mut self, room: &Room, bytes: usize) {
        if self.try_hold(room, bytes) || self.turn.is_some() {
            return;
        }
        let begins = self.begins(bytes);
        let _waiting = if begins { room.to_begin.wait() } else { room.to_go_on.wait() };
        let missing = self.missing(bytes);
        let of = |units: &Arc<Semaphore>, many: u32| Arc::clone(units).acquire_many_owned(many);
        // None is ever closed.
        if begins {
            // Those who begin may have taken all that there is for them: who can goes on to his first part.
            let first = u32::try_from(FIRST).unwrap_or(u32::MAX);
            tokio::select! {
                biased;
                Ok(more) = of(&room.beginnings, missing) => self.add(bytes, more),
                Ok(part) = of(&room.parts, first) => (self.beginning, self.parts) = (None, Some(part)),
                else => {}
            }
        } else if self.parts.is_none() {
            if let Ok(part) = of(&room.parts, missing).await {
                self.add(bytes, part);
            }
        } else {
            tokio::select! {
                biased;
                Ok(more) = of(&room.parts, missing) => self.add(bytes, more),
                Ok(turn) = of(&room.turns, 1) => self.turn = Some(turn),
                else => {}
            }
        }
    }

    /// Whether an upload of so many bytes is at its beginning.
    fn begins(&self, bytes: usize) -> bool {
        self.parts.is_none() && units_for(bytes) <= BEGINNING
    }

    /// Takes room for so many bytes in all, if there is so much just now.
    pub(super) fn try_hold(&mut self, room: &Room, bytes: usize) -> bool {
        let missing = self.missing(bytes);
        if missing > 0 {
            let of = if self.begins(bytes) { &room.beginnings } else { &room.parts };
            let Ok(more) = Arc::clone(of).try_acquire_many_owned(missing) else { return false };
            self.add(bytes, more);
        }
        self.turn = None;
        true
    }

    /// So many bytes are left; what the others took is free, but for the first part's, and so is the turn where nothing is
    /// held without room.
    pub(super) fn keep(&mut self, bytes: usize) {
        if let Some(parts) = &mut self.parts {
            let spare = parts.num_permits().saturating_sub(units_for(bytes).max(FIRST));
            drop(parts.split(spare));
        }
        if self.missing(bytes) == 0 {
            self.turn = None;
        }
    }

    /// So many bytes came from the client.
    pub(super) fn came(&mut self, bytes: usize) {
        self.pace.came(bytes, Instant::now());
    }

    /// Ends when what is held is wanted by others, and comes too slowly. To be waited for while the client is.
    pub(super) async fn gives_way(&mut self, room: &Room) {
        let holds = match (&self.parts, &self.beginning) {
            (Some(_), _) => Holds::Parts,
            (None, Some(_)) => Holds::Beginning,
            (None, None) => return std::future::pending().await,
        };
        self.pace.waits(Instant::now());
        while self.leaving.is_none() {
            if self.pace.is_slow(room.within(), Instant::now()) {
                self.leaving = room.leave(holds);
            }
            if self.leaving.is_none() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// What was missing for so many bytes.
    fn add(&mut self, bytes: usize, more: OwnedSemaphorePermit) {
        let begins = self.begins(bytes);
        let to = if begins { &mut self.beginning } else { &mut self.parts };
        match to {
            Some(units) => units.merge(more),
            none @ None => *none = Some(more),
        }
        if !begins {
            self.beginning = None;
        }
    }

    /// How many units are missing for so many bytes: of those for beginnings, or of those for parts.
    fn missing(&self, bytes: usize) -> u32 {
        let count = |units: &Option<OwnedSemaphorePermit>| units.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = units_for(bytes);
        let missing = match &self.parts {
            Some(_) => needed.saturating_sub(count(&self.parts)),
            None if needed <= BEGINNING => needed.saturating_sub(count(&self.beginning)),
            None => needed.max(FIRST),
        };
        u32::try_from(missing).unwrap_or(u32::MAX)
    }
}

fn units_for(bytes: usize) -> usize {
    bytes.saturating_sub(1) / UNIT
}

/// How fast an upload comes, by the time for which it was waited for.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    received: usize,
    since: Option<Instant>,
    /// As it was judged last.
    slow: bool,
}

impl Pace {
    fn waits(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn came(&mut self, bytes: usize, now: Instant) {
        self.pass(now);
        self.since = None;
        self.received += bytes;
        if self.received >= USEFUL {
            // Whatever was before: it comes well now.
            (self.slow, self.waited, self.received) = (false, Duration::ZERO, 0);
        }
    }

    /// As it is judged after so much time at the least.
    fn is_slow(&mut self, within: Duration, now: Instant) -> bool {
        self.pass(now);
        if self.waited >= within {
            self.slow = self.received as u128 * WITHIN.as_millis() < USEFUL as u128 * self.waited.as_millis();
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        self.slow
    }

    fn pass(&mut self, now: Instant) {
        if let Some(since) = &mut self.since {
            self.waited += now.saturating_duration_since(*since);
            *since = now;
        }
    }
}

/// Pieces of this size at most are held for, so that what is not counted stays small.
pub(super) fn piece(filled: usize, length: usize) -> usize {
    length.min(UNIT - filled % UNIT)
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
                let (mut taken, mut held) = (Taken::default(), 0);
                for part in 0..5 {
                    let mut filled = 0;
                    while filled < PART {
                        let piece = piece(filled, 300_000);
                        filled += piece;
                        held += piece;
                        taken.hold(&room, held).await;
                        tokio::task::yield_now().await;
                    }
                    // The first one is kept.
                    if part > 0 {
                        held -= PART;
                        taken.keep(held);
                    }
                }
            })
        });
        for upload in uploads.collect::<Vec<_>>() {
            tokio::time::timeout(Duration::from_secs(30), upload).await.expect("nobody waits for ever").unwrap();
        }
        let free = [&room.beginnings, &room.parts, &room.turns].map(|of| of.available_permits());
        assert_eq!(free, [FOR_BEGINNINGS, FOR_PARTS, TURNS]);
        assert_eq!([&room.to_begin, &room.to_go_on].map(|line| line.waiting.load(Ordering::Relaxed)), [0, 0]);
    }

    async fn waits(held: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), held).await.is_err()
    }

    #[tokio::test]
    async fn no_more_is_held_than_there_is_room_for() {
        let (room, mut held) = (Room::default(), Vec::new());
        for _ in 0..FOR_PARTS / FIRST {
            let mut taken = Taken::default();
            taken.hold(&room, PART).await;
            held.push(taken);
        }
        for taken in &mut held[..TURNS] {
            assert!(!waits(taken.hold(&room, 2 * PART)).await, "some go on");
        }
        assert!(waits(held[TURNS].hold(&room, 2 * PART)).await, "and the others wait for them");
        let mut other = Taken::default();
        assert!(!waits(other.hold(&room, BEGINNING * UNIT)).await, "what begins has room of its own");
        assert!(waits(other.hold(&room, 2 * BEGINNING * UNIT)).await);
        held[0].keep(PART);
        assert!(!waits(held[TURNS].hold(&room, 2 * PART)).await, "now it is its turn");
        held.remove(0);
        assert!(!waits(other.hold(&room, 2 * BEGINNING * UNIT)).await);
        assert_eq!(room.beginnings.available_permits(), FOR_BEGINNINGS, "it begins no more");
        let mut small = Taken::default();
        assert!(!waits(small.hold(&room, UNIT)).await, "so little is not counted");
    }

    /// Whoever had a turn kept it to his end.
    #[tokio::test]
    async fn uploads_that_are_larger_than_all_room_take_turns_part_by_part() {
        let (room, mut all) = (Room::default(), Vec::new());
        for _ in 0..FOR_PARTS / FIRST {
            let mut taken = Taken::default();
            taken.hold(&room, PART).await;
            all.push(taken);
        }
        for _ in 0..10 {
            for taken in &mut all {
                assert!(!waits(taken.hold(&room, 2 * PART)).await);
                taken.keep(PART);
            }
        }
    }

    #[test]
    fn a_pause_long_ago_is_not_held_against_who_comes_well_now() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.came(1_000, now);
        pace.waits(now);
        assert!(pace.is_slow(WITHIN, now + 2 * WITHIN));
        pace.came(USEFUL, now + 2 * WITHIN);
        pace.waits(now + 2 * WITHIN);
        assert!(!pace.is_slow(WITHIN, now + 2 * WITHIN));
    }

    async fn gives_way(taken: &mut Taken, room: &Room) -> bool {
        tokio::time::timeout(3 * WITHIN, taken.gives_way(room)).await.is_ok()
    }

    #[tokio::test]
    async fn who_brings_nothing_gives_way_where_others_wait_and_only_there() {
        let (room, mut taken) = (Room::default(), Taken::default());
        taken.hold(&room, 10 * UNIT).await;
        assert!(!gives_way(&mut taken, &room).await, "nobody wants it");
        let other = room.to_go_on.wait();
        assert!(!gives_way(&mut taken, &room).await, "it is of no use to who goes on");
        drop(other);
        let _other = room.to_begin.wait();
        assert!(gives_way(&mut taken, &room).await);
        let mut large = Taken::default();
        large.hold(&room, PART).await;
        let _another = room.to_go_on.wait();
        assert!(gives_way(&mut large, &room).await);
        assert!(!gives_way(&mut Taken::default(), &room).await, "it holds nothing");
    }

    /// One gave way each tenth of a second, however many waited.
    #[tokio::test]
    async fn as_many_give_way_at_once_as_wait() {
        let (room, mut all) = (Room::default(), Vec::new());
        for _ in 0..4 {
            let mut taken = Taken::default();
            taken.hold(&room, 10 * UNIT).await;
            all.push(taken);
        }
        let waiting = [room.to_begin.wait(), room.to_begin.wait()];
        let gave = futures::future::join_all(all.iter_mut().map(|taken| gives_way(taken, &room))).await;
        assert_eq!(gave.iter().filter(|gave| **gave).count(), waiting.len());
        all.retain(|taken| taken.leaving.is_none());
        assert!(gives_way(&mut all[0], &room).await, "others leave for who still waits");
    }

    /// The last of a hundred waited for each of the others for as long as the first did.
    #[tokio::test]
    async fn the_more_wait_the_sooner_an_upload_is_judged() {
        let room = Room::default();
        let mut all = Vec::new();
        let mut within = vec![room.within()];
        for _ in 0..10 {
            all.extend((0..FIRSTS).map(|_| room.to_go_on.wait()));
            within.push(room.within());
        }
        assert!(within.is_sorted_by(|sooner, later| sooner >= later), "{within:?}");
        assert_eq!((within[0], within[10]), (WITHIN, AT_LEAST));
    }

    /// How one is judged that brings so much in each tenth of the time, and whose bytes the store takes as long to take.
    fn is_slow(each_time: usize, to_take: Duration) -> bool {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..60 {
            pace.waits(now);
            now += WITHIN / 10;
            if pace.is_slow(WITHIN, now) {
                return true;
            }
            pace.came(each_time, now);
            now += to_take;
        }
        false
    }

    #[test]
    fn a_pace_is_what_came_in_the_time_for_which_the_client_was_waited_for() {
        for to_take in [Duration::ZERO, WITHIN, 100 * WITHIN] {
            assert!(is_slow(0, to_take) && is_slow(2_000, to_take) && is_slow(USEFUL / 11, to_take));
            assert!(!is_slow(USEFUL / 8, to_take) && !is_slow(PART, to_take));
        }
    }
}
