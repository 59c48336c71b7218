//! The bodies of answers, within a number of bytes for all of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// One permit is worth so many bytes.
const UNIT: usize = 1 << 10;

/// A body: nothing, bytes, or pieces that somebody else reads.
pub(crate) enum ServeBody {
    Empty,
    Whole(Bytes),
    Pieces { pieces: mpsc::Receiver<io::Result<Bytes>>, left: u64 },
}

impl ServeBody {
    pub(crate) fn of(text: impl Into<Bytes>) -> Self {
        Self::Whole(text.into())
    }
}

impl Body for ServeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Pieces { left: 0, .. } => Poll::Ready(None),
            Self::Pieces { pieces, left } => match pieces.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(piece))) => {
                    *left = left.saturating_sub(piece.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                // A short body must not look like a whole one.
                Poll::Ready(None) => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Pieces { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Empty => 0,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces { left, .. } => *left,
        })
    }
}

/// Memory for bodies, shared by all connections.
#[derive(Clone)]
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    most: u32,
}

/// Bytes that give their share of the budget back when nobody has them any more.
struct Owned {
    bytes: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let most = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, 1 << 28);
        Self { permits: Arc::new(Semaphore::new(most as usize)), most }
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.most)
    }

    /// Waits until there is room for so many bytes.
    pub(crate) async fn room(&self, bytes: usize) -> io::Result<Room> {
        let permits = Arc::clone(&self.permits);
        permits.acquire_many_owned(self.units(bytes)).await.map(Room).map_err(io::Error::other)
    }

    /// Room for so many bytes, if there is any now.
    pub(crate) fn room_at_once(&self, bytes: usize) -> Option<Room> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.units(bytes)).ok().map(Room)
    }
}

/// Room in the budget.
pub(crate) struct Room(OwnedSemaphorePermit);

impl Room {
    /// Bytes that take it.
    pub(crate) fn fill(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Owned { bytes, _permit: self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_with_the_last_slice() {
        let budget = Budget::new(4 * UNIT);
        let bytes = budget.room_at_once(3 * UNIT).expect("room").fill(vec![1; 3 * UNIT]);
        let slice = bytes.slice(5..6);
        drop(bytes);
        assert!(budget.room_at_once(2 * UNIT).is_none());
        drop(slice);
        assert!(budget.room_at_once(100 * UNIT).is_some(), "what is larger than all of it takes all of it");
    }
}
