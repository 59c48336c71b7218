//! The places of connections, what each of them may cost, and whose turn it is to go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// One permit is worth so many bytes.
const UNIT_BYTES: usize = 1 << 10;
/// Moving less than this is standing still; an answer that came to its end counts as much.
pub(crate) const LITTLE_BYTES: u64 = 1 << 10;
/// A connection that moved something in this time does not make room for others.
const BUSY: Duration = Duration::from_secs(1);

/// The place of a connection. It has a share of the memory for bodies, which no other connection can use up.
pub(crate) struct Seat {
    permits: Arc<Semaphore>,
    most: u32,
    began: Instant,
    moved_bytes: AtomicU64,
    /// Milliseconds after `began`; 0: nothing was moved yet.
    last_move_ms: AtomicU64,
    cut: CancellationToken,
}

/// Bytes that give their room back when nobody has them any more.
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
            moved_bytes: AtomicU64::new(0),
            last_move_ms: AtomicU64::new(0),
            cut: CancellationToken::new(),
        }
    }

    /// Waits until the share has room for so many bytes. What is larger than the share takes all of it.
    pub(crate) async fn room(&self, bytes: usize) -> Room {
        let permits = Arc::clone(&self.permits).acquire_many_owned(self.units(bytes)).await;
        Room(permits.expect("nobody closes it"))
    }

    /// Room for so many bytes, if there is any now.
    pub(crate) fn room_at_once(&self, bytes: usize) -> Option<Room> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.units(bytes)).ok().map(Room)
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.most)
    }

    /// Notes that so many bytes of bodies went to the client.
    pub(crate) fn moved(&self, bytes: u64) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_bytes.fetch_add(bytes, Relaxed);
        self.last_move_ms.store(now_ms.max(1), Relaxed);
    }

    /// Ends when less than a KiB was moved in `time`.
    pub(crate) async fn still_for(&self, time: Duration) {
        let mut before = self.moved_bytes.load(Relaxed);
        loop {
            tokio::time::sleep(time).await;
            let now = self.moved_bytes.load(Relaxed);
            if now - before < LITTLE_BYTES {
                return;
            }
            before = now;
        }
    }

    /// Ends when the place is given to somebody else.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// When anything was moved last, and whether that was ever.
    fn last_move(&self) -> (Instant, bool) {
        let ms = self.last_move_ms.load(Relaxed);
        (self.began + Duration::from_millis(ms), ms > 0)
    }
}

/// All places.
pub(crate) struct Seats {
    most: usize,
    share_bytes: usize,
    taken: Mutex<(u64, HashMap<u64, Arc<Seat>>)>,
}

/// A place that is taken, until this is dropped.
pub(crate) struct Taken {
    pub(crate) seat: Arc<Seat>,
    number: u64,
    seats: Arc<Seats>,
}

impl Seats {
    pub(crate) fn new(most: usize, share_bytes: usize) -> Self {
        Self { most, share_bytes, taken: Mutex::default() }
    }

    /// Takes a place. When there is none, the connection that has moved nothing for the longest time makes room; `None`
    /// when all of them are moving.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, seats) = &mut *taken;
        if seats.len() >= self.most && !make_room(seats) {
            return None;
        }
        *next += 1;
        let seat = Arc::new(Seat::new(self.share_bytes));
        seats.insert(*next, Arc::clone(&seat));
        Some(Taken { seat, number: *next, seats: Arc::clone(self) })
    }

    /// Cuts off the connection that has moved nothing for the longest time, if there is one.
    pub(crate) fn make_room(&self) -> bool {
        make_room(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}

fn make_room(seats: &mut HashMap<u64, Arc<Seat>>) -> bool {
    let idle = seats.iter().filter_map(|(number, seat)| {
        let (last, ever) = seat.last_move();
        (!ever || last.elapsed() > BUSY).then_some((last, *number))
    });
    let Some((_, number)) = idle.min() else { return false };
    if let Some(seat) = seats.remove(&number) {
        seat.cut.cancel();
    }
    true
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
}
