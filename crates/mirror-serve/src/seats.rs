//! The places for connections: what each may cost, and which has to make room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Bytes of one permit.
const UNIT_BYTES: usize = 1 << 10;
/// Moving less than this counts as standing still; the end of an answer counts as much, bytes.
pub(crate) const MIN_PROGRESS_BYTES: u64 = 1 << 10;
/// A connection that moved something within this time is not idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// The least age at which a connection is judged by its rate.
const MEASURABLE_AFTER: Duration = Duration::from_millis(500);
/// A connection with a lower rate, bytes a second, makes room for others though it is not idle: any number of clients
/// that only want to occupy places can move that little.
const SLOW_BYTES_PER_SEC: f64 = 16.0 * 1024.0;
/// The weight of earlier bytes in the current rate: a third of it after this time.
const RATE_DECAY: Duration = Duration::from_secs(8);

/// The place of a connection. It has a share of the memory for bodies that no other connection can use up.
pub(crate) struct Seat {
    permits: Arc<Semaphore>,
    most: u32,
    began: Instant,
    moves: Mutex<Moves>,
    cut: CancellationToken,
}

/// The traffic of a connection.
#[derive(Default)]
struct Moves {
    bytes: u64,
    last: Option<Instant>,
    /// Bytes, with the weight that they had at `last`.
    recent: f64,
    /// Work that the server does for it at the moment: meanwhile the connection waits for the server, not the server
    /// for it.
    works: usize,
    /// The end of the last work.
    worked: Option<Instant>,
}

/// Work of the server for a connection, until this is dropped.
pub(crate) struct Work(Arc<Seat>);

impl Drop for Work {
    fn drop(&mut self) {
        let mut moves = self.0.moves();
        moves.works -= 1;
        moves.worked = Some(Instant::now());
    }
}

impl Moves {
    fn recent(&self, now: Instant) -> f64 {
        let since = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.recent * (-since.div_duration_f64(RATE_DECAY)).exp()
    }
}

/// Bytes that return their room when they are dropped.
struct Owned<B> {
    bytes: B,
    _permit: OwnedSemaphorePermit,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Owned<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Room in the share of a connection.
pub(crate) struct Room(OwnedSemaphorePermit);

impl Room {
    /// Fills the room with bytes.
    pub(crate) fn fill(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Owned { bytes, _permit: self.0 })
    }
}

impl Seat {
    pub(crate) fn new(share_bytes: usize) -> Self {
        let most = u32::try_from(share_bytes / UNIT_BYTES).unwrap_or(u32::MAX).clamp(1, 1 << 28);
        Self {
            permits: Arc::new(Semaphore::new(most as usize)),
            most,
            began: Instant::now(),
            moves: Mutex::default(),
            cut: CancellationToken::new(),
        }
    }

    /// Waits until the share has room for this many bytes. More than the share takes all of it.
    pub(crate) async fn room(&self, bytes: usize) -> Room {
        let permits = Arc::clone(&self.permits).acquire_many_owned(self.units(bytes)).await;
        Room(permits.expect("nobody closes it"))
    }

    /// Reserves room for this many bytes, if there is room now.
    pub(crate) fn room_at_once(&self, bytes: usize) -> Option<Room> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.units(bytes)).ok().map(Room)
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.most)
    }

    fn moves(&self) -> MutexGuard<'_, Moves> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the server works for the client.
    pub(crate) fn work(self: &Arc<Self>) -> Work {
        self.moves().works += 1;
        Work(Arc::clone(self))
    }

    /// Notes that this many bytes of bodies were sent to the client.
    pub(crate) fn moved(&self, bytes: u64) {
        self.moved_at(bytes, Instant::now());
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn moved_at(&self, bytes: u64, now: Instant) {
        let mut moves = self.moves();
        moves.recent = moves.recent(now) + bytes as f64;
        moves.bytes += bytes;
        moves.last = Some(now);
    }

    /// Completes when less than a KiB was moved within `time`.
    pub(crate) async fn still_for(&self, time: Duration) {
        let mut before = self.moves().bytes;
        loop {
            tokio::time::sleep(time).await;
            let now = self.moves().bytes;
            if now - before < MIN_PROGRESS_BYTES {
                return;
            }
            before = now;
        }
    }

    /// Completes when the place is given to another connection.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Returns since when it has moved nothing, and whether it ever has; `None` while it waits for the server.
    fn idle_since(&self) -> Option<(Instant, bool)> {
        let moves = self.moves();
        let since = moves.last.max(moves.worked).unwrap_or(self.began);
        (moves.works == 0).then_some((since, moves.last.is_some()))
    }

    /// Returns its rate in bytes a second.
    fn rate(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.began).clamp(IDLE_AFTER, RATE_DECAY);
        self.moves().recent(now) / age.as_secs_f64()
    }
}

/// All places.
pub(crate) struct Seats {
    most: usize,
    share_bytes: usize,
    taken: Mutex<(u64, HashMap<u64, Arc<Seat>>)>,
}

/// A taken place, until this is dropped.
pub(crate) struct Taken {
    pub(crate) seat: Arc<Seat>,
    number: u64,
    seats: Arc<Seats>,
}

impl Seats {
    pub(crate) fn new(most: usize, share_bytes: usize) -> Self {
        Self { most, share_bytes, taken: Mutex::default() }
    }

    /// Takes a place. When there is none, the connection that has moved nothing for the longest time makes room, or the
    /// slowest; `None` when none of them is idle or slow.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, seats) = &mut *taken;
        if seats.len() >= self.most && !make_room(seats, Instant::now()) {
            return None;
        }
        *next += 1;
        let seat = Arc::new(Seat::new(self.share_bytes));
        seats.insert(*next, Arc::clone(&seat));
        Some(Taken { seat, number: *next, seats: Arc::clone(self) })
    }

    /// Cuts off the connection that has moved nothing for the longest time, or the slowest, if there is one.
    pub(crate) fn make_room(&self) -> bool {
        make_room(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner).1, Instant::now())
    }
}

fn make_room(seats: &mut HashMap<u64, Arc<Seat>>, now: Instant) -> bool {
    let Some(number) = idle(seats, now).or_else(|| slow(seats, now)).or_else(|| silent(seats)) else {
        return false;
    };
    if let Some(seat) = seats.remove(&number) {
        seat.cut.cancel();
    }
    true
}

/// Finds the connection that has moved nothing for the longest time.
fn idle(seats: &HashMap<u64, Arc<Seat>>, now: Instant) -> Option<u64> {
    let since = seats.iter().filter_map(|(number, seat)| Some((seat.idle_since()?.0, *number)));
    since
        .filter(|(since, _)| now.saturating_duration_since(*since) > IDLE_AFTER)
        .min()
        .map(|(_, number)| number)
}

/// Finds the slowest of those that have had time to show their rate.
fn slow(seats: &HashMap<u64, Arc<Seat>>, now: Instant) -> Option<u64> {
    let measurable = seats.iter().filter(|(_, seat)| {
        let has_moved = seat.idle_since().is_some_and(|(_, ever)| ever);
        has_moved && now.saturating_duration_since(seat.began) > MEASURABLE_AFTER
    });
    let rates = measurable
        .map(|(number, seat)| (seat.rate(now), *number))
        .filter(|(rate, _)| *rate < SLOW_BYTES_PER_SEC);
    rates.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, number)| number)
}

/// Finds the oldest of those that have not moved anything yet.
fn silent(seats: &HashMap<u64, Arc<Seat>>) -> Option<u64> {
    let all = seats.iter().filter_map(|(number, seat)| Some((seat.idle_since()?, *number)));
    all.filter(|((_, ever), _)| !ever).min().map(|(_, number)| number)
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_comes_back_with_the_last_slice() {
        let seat = Seat::new(4 * UNIT_BYTES);
        let bytes = seat.room(3 * UNIT_BYTES).await.fill(vec![1; 3 * UNIT_BYTES]);
        let slice = bytes.slice(5..6);
        drop(bytes);
        assert_eq!(seat.permits.available_permits(), 1);
        drop(slice);
        drop(seat.room(100 * UNIT_BYTES).await);
        assert_eq!(seat.permits.available_permits(), 4, "what is larger than all of it takes all of it");
    }

    #[test]
    fn the_longest_idle_makes_room_and_the_busy_stay() {
        let seats = Arc::new(Seats::new(3, UNIT_BYTES));
        let taken: Vec<_> = (0..3).map(|_| seats.take().expect("a place")).collect();
        taken[0].seat.moved(1);
        let fourth = seats.take().expect("a place");
        assert!(taken[1].seat.cut.is_cancelled());
        assert!(!taken[0].seat.cut.is_cancelled() && !taken[2].seat.cut.is_cancelled());
        taken[2].seat.moved(1);
        fourth.seat.moved(1);
        assert!(seats.take().is_none(), "all of them are moving");
        drop(fourth);
        assert!(seats.take().is_some());
    }
    #[test]
    fn a_connection_that_moves_next_to_nothing_makes_room() {
        let seats = Arc::new(Seats::new(4, UNIT_BYTES));
        let taken: Vec<_> = (0..4).map(|_| seats.take().expect("a place")).collect();
        let began = taken[0].seat.began;
        let second = |n: u32| began + Duration::from_secs(1) * n;
        let numbers = |now| {
            let all = &mut seats.taken.lock().expect("lock").1;
            let before: Vec<u64> = all.keys().copied().collect();
            let made = make_room(all, now);
            made.then(|| before.into_iter().find(|number| !all.contains_key(number)).expect("one went"))
        };
        // One is fast, one slow, one was fast once, one is slower than the slow one; all move all the time.
        for now in 1..=200 {
            for (seat, bytes) in
                [&taken[0], &taken[1], &taken[2], &taken[3]].iter().zip([100_000, 2_000, 0, 500])
            {
                let bytes = if now < 10 && bytes == 0 { 10_000_000 } else { bytes.max(100) };
                seat.seat.moved_at(bytes, second(now));
            }
        }
        let now = second(200) + Duration::from_millis(500);
        assert_eq!(numbers(now), Some(taken[2].number), "what it moved long ago does not help it");
        assert_eq!(numbers(now), Some(taken[3].number));
        assert_eq!(numbers(now), Some(taken[1].number));
        assert_eq!(numbers(now), None, "the fast one stays");
        assert!(!taken[0].seat.cut.is_cancelled() && taken[1].seat.cut.is_cancelled());
    }

    #[test]
    fn a_connection_that_waits_for_the_server_is_neither_idle_nor_slow() {
        let seats = Arc::new(Seats::new(1, UNIT_BYTES));
        let waits = seats.take().expect("a place");
        let works = [waits.seat.work(), waits.seat.work()];
        let make_room = |now| make_room(&mut seats.taken.lock().expect("lock").1, now);
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(!make_room(later(100)));
        waits.seat.moved(1);
        assert!(!make_room(later(100)));
        drop(works);
        assert!(make_room(later(2)), "it waits for nobody");
    }

    #[test]
    fn a_newcomer_has_time_to_begin_among_the_slow() {
        let seats = Arc::new(Seats::new(2, UNIT_BYTES));
        let slow = seats.take().expect("a place");
        let later = slow.seat.began + Duration::from_secs(10);
        slow.seat.moved_at(100, later);
        {
            let all = &mut seats.taken.lock().expect("lock").1;
            let fresh = Arc::new(Seat { began: later, ..Seat::new(UNIT_BYTES) });
            all.insert(77, fresh);
            assert!(make_room(all, later + Duration::from_millis(500)));
            assert!(all.contains_key(&77), "it has not had time to move anything");
            assert!(make_room(all, later + Duration::from_millis(500)), "unless nobody else can go");
            assert!(all.is_empty());
        }
        assert!(slow.seat.cut.is_cancelled());
    }
}
