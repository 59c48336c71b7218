//! The bytes of releases on their way to clients.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use mirror_manifest::Frame;
use mirror_store::bundle::BundleReader;
use mirror_store::{HeldFile, StoreError};
use mirror_types::ReleaseId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::answer::{App, blocking};
use crate::body::{Room, ServeBody};
use crate::error::ServeError;
use crate::places::Located;

/// Up to this a release is read at once.
const SMALL: u64 = 256 << 10;
/// Up to this a member of a bundle is unpacked in memory.
const IN_MEMORY: u64 = 8 << 20;
/// Pieces of what is larger.
const PIECE: usize = 128 << 10;

impl App {
    /// The bytes `range` of a release of `size` bytes.
    pub(crate) async fn body(
        self: Arc<Self>,
        id: ReleaseId,
        located: Located,
        size: u64,
        range: Range<u64>,
    ) -> Result<ServeBody, ServeError> {
        let len = range.end - range.start;
        match located {
            Located::Loose(file) if len <= SMALL => {
                let room = self.room(len).await?;
                // What is in memory is read here: cheaper than to wake up another thread.
                match read_now(&file, &range)? {
                    Some(bytes) => Ok(ServeBody::Whole(room.fill(bytes))),
                    None => {
                        blocking(move || read(&file, &range).map(|bytes| ServeBody::Whole(room.fill(bytes))))
                            .await
                    }
                }
            }
            Located::Loose(file) => Ok(pieces_of_file(file, range)),
            Located::Bundled(reader, frame, _) if size <= IN_MEMORY => {
                let room = self.room(size).await?;
                let here = frame.len <= SMALL && reader.is_at_hand(frame.offset, frame.len);
                if here {
                    return self.unpack(&id, &reader, frame, size, &range, room);
                }
                blocking(move || self.unpack(&id, &reader, frame, size, &range, room)).await
            }
            Located::Bundled(reader, frame, _) => {
                let place = Arc::clone(&self.large).acquire_owned().await;
                let place = place.map_err(|error| ServeError::Internal(error.to_string()))?;
                Ok(self.pieces_of_member(id, reader, frame, range, place))
            }
        }
    }

    async fn room(&self, bytes: u64) -> Result<Room, ServeError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match self.budget.room_at_once(bytes) {
            Some(room) => Ok(room),
            None => self.budget.room(bytes).await.map_err(|error| ServeError::Internal(error.to_string())),
        }
    }

    fn unpack(
        &self,
        id: &ReleaseId,
        reader: &BundleReader,
        frame: Frame,
        size: u64,
        range: &Range<u64>,
        room: Room,
    ) -> Result<ServeBody, ServeError> {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let is_it = self.mirror.places().read_frame(reader, frame, id, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, StoreError>(())
        })?;
        if !is_it || bytes.len() as u64 != size {
            return Err(misplaced(id));
        }
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        let bytes = room.fill(bytes);
        Ok(ServeBody::Whole(bytes.slice(at(range.start)..at(range.end))))
    }

    /// A member that is too large for memory: a thread reads it as fast as the client does.
    fn pieces_of_member(
        self: Arc<Self>,
        id: ReleaseId,
        reader: Arc<BundleReader>,
        frame: Frame,
        range: Range<u64>,
        place: OwnedSemaphorePermit,
    ) -> ServeBody {
        let (send, pieces) = mpsc::channel(1);
        let left = range.end - range.start;
        tokio::task::spawn_blocking(move || {
            let mut here = 0;
            let mut take = |piece: &[u8]| {
                let end = here + piece.len() as u64;
                let (from, to) = (range.start.clamp(here, end), range.end.clamp(here, end));
                let at = |place: u64| usize::try_from(place - here).unwrap_or(usize::MAX);
                let wanted = &piece[at(from)..at(to)];
                here = end;
                if !wanted.is_empty() && send.blocking_send(Ok(Bytes::copy_from_slice(wanted))).is_err() {
                    // The client is gone.
                    return Err(Gone::Client);
                }
                Ok(())
            };
            match self.mirror.places().read_frame(&reader, frame, &id, &mut take) {
                Err(Gone::Bundle(error)) => {
                    tracing::error!(release = %id, "{error}");
                    let _ = send.blocking_send(Err(io::Error::other("the bundle cannot be read")));
                }
                Ok(false) => tracing::error!("{}", misplaced(&id)),
                _ => {}
            }
            drop(place);
        });
        ServeBody::Pieces { pieces, left }
    }
}

/// Why a member is not read to its end.
enum Gone {
    Client,
    Bundle(StoreError),
}

impl From<StoreError> for Gone {
    fn from(error: StoreError) -> Self {
        Self::Bundle(error)
    }
}

fn misplaced(id: &ReleaseId) -> ServeError {
    ServeError::Internal(format!("another member than {id} is where the catalogue says"))
}

fn buffer(range: &Range<u64>) -> Vec<u8> {
    vec![0; usize::try_from(range.end - range.start).unwrap_or(0)]
}

fn read_now(file: &HeldFile, range: &Range<u64>) -> Result<Option<Vec<u8>>, ServeError> {
    let mut bytes = buffer(range);
    let read = file.read_at_once(&mut bytes, range.start).map_err(unreadable)?;
    Ok(read.then_some(bytes))
}

fn read(file: &HeldFile, range: &Range<u64>) -> Result<Vec<u8>, ServeError> {
    let mut bytes = buffer(range);
    file.read_exact_at(&mut bytes, range.start).map_err(unreadable)?;
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: io::Error) -> ServeError {
    ServeError::Internal(format!("a held file cannot be read: {error}"))
}

/// A large file, piece by piece, as fast as the client reads.
fn pieces_of_file(file: Arc<HeldFile>, range: Range<u64>) -> ServeBody {
    let (send, pieces) = mpsc::channel(1);
    let left = range.end - range.start;
    tokio::spawn(async move {
        let mut start = range.start;
        while start < range.end {
            let piece = start..range.end.min(start + PIECE as u64);
            start = piece.end;
            let file = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = buffer(&piece);
                file.read_exact_at(&mut bytes, piece.start).map(|()| Bytes::from(bytes))
            });
            let read = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let failed = read.is_err();
            if send.send(read).await.is_err() || failed {
                return;
            }
        }
    });
    ServeBody::Pieces { pieces, left }
}
