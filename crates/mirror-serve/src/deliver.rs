//! Delivers the bytes of releases, piece by piece.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use mirror_bundle::{BundleError, OpenMember};
use mirror_repo::Located;
use mirror_store::ReadAt as _;
use mirror_types::{ReleaseId, Sha256};

use crate::app::{App, blocking};
use crate::error::ServeError;
use crate::source::{Found, PIECE_BYTES, Unpacking, bytes_of};

/// Largest frame of a bundle that is unpacked on this thread when it is in memory.
const SMALL_BYTES: u64 = 256 << 10;
/// The size of the chunks of a longer member of a bundle that cannot stay open: each chunk is unpacked from the
/// beginning of the member, and kept for the next pieces.
const CHUNK_BYTES: u64 = 2 << 20;
/// Largest window of a member that stays open: zstd makes no larger one by default.
const WINDOW_BYTES: u64 = 8 << 20;
/// Approximate number of chunks of a member: longer members have larger chunks, so that they are not unpacked too
/// often.
const CHUNKS_PER_MEMBER: u64 = 64;

impl App {
    /// Keeps a release open, when there is a place for one more.
    pub(crate) fn keep(&self, found: Found) -> Option<Found> {
        if found._place.is_some() {
            return Some(found);
        }
        let place = Arc::clone(&self.kept).try_acquire_owned().ok()?;
        Some(Found { _place: Some(place), ..found })
    }

    /// Finds a release; `None` when it is not offered, or its bytes are missing.
    pub(crate) async fn find(self: &Arc<Self>, id: &ReleaseId) -> Result<Option<Found>, ServeError> {
        let Some(held) = self.held(id)? else { return Ok(None) };
        let found = |held, located| Found { held, located, unpacking: Unpacking::NotBegun, _place: None };
        if let Some(located) = self.mirror.locate_at_once(id, &held) {
            return Ok(Some(found(held, located)));
        }
        let place = Arc::clone(&self.opening).acquire_owned().await;
        let (app, id) = (Arc::clone(self), id.clone());
        let located = blocking(move || {
            let _place = place;
            Ok(app.mirror.locate(&id, &held)?.map(|located| (held, located)))
        });
        Ok(located.await?.map(|(held, located)| found(held, located)))
    }

    /// Finds a release again after a part was sent; it must be the same.
    pub(crate) async fn find_again(
        self: &Arc<Self>,
        id: &ReleaseId,
        sha256: Sha256,
        size: u64,
    ) -> io::Result<Found> {
        let found = self.find(id).await.map_err(io::Error::other)?;
        let same = found.filter(|found| found.held.sha256 == sha256 && found.held.size == size);
        let same = same.map(|found| Found { unpacking: Unpacking::InChunks, ..found });
        same.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{id} is not held any more as it was"))
        })
    }

    /// Reads a piece of a release, of at most [`PIECE_BYTES`].
    pub(crate) async fn piece(
        self: &Arc<Self>,
        id: &ReleaseId,
        mut found: Found,
        piece: Range<u64>,
    ) -> io::Result<(Vec<u8>, Found)> {
        match &found.located {
            Located::Open(file) => {
                // Bytes in memory are read here, which costs less than waking up another thread.
                let mut bytes = vec![0; bytes_of(&piece)];
                if file.read_at_once(&mut bytes, piece.start)? {
                    return Ok((bytes, found));
                }
                let place = Arc::clone(&self.opening).acquire_owned().await;
                let file = Arc::clone(file);
                let read = tokio::task::spawn_blocking(move || {
                    let _place = place;
                    file.read_exact_at(&mut bytes, piece.start).map(|()| bytes)
                });
                let bytes = read.await.unwrap_or_else(|error| Err(io::Error::other(error)))?;
                Ok((bytes, found))
            }
            Located::Bundled(..) => {
                let bytes = self.piece_of_member(id, &mut found, piece).await.map_err(io::Error::other)?;
                Ok((bytes, found))
            }
        }
    }

    async fn piece_of_member(
        self: &Arc<Self>,
        id: &ReleaseId,
        found: &mut Found,
        piece: Range<u64>,
    ) -> Result<Vec<u8>, ServeError> {
        let size = found.held.size;
        if size <= PIECE_BYTES as u64 {
            return self.unpacked(id, found, piece).await;
        }
        if size > CHUNK_BYTES
            && let Some(bytes) = self.piece_of_open_member(id, found, &piece).await?
        {
            return Ok(bytes);
        }
        let chunk_bytes = CHUNK_BYTES.max(size.div_ceil(CHUNKS_PER_MEMBER));
        let mut bytes = Vec::with_capacity(bytes_of(&piece));
        let mut at = piece.start;
        while at < piece.end {
            let number = at / chunk_bytes;
            let begin = number * chunk_bytes;
            let end = size.min(begin + chunk_bytes);
            let chunk = self.chunk(id, found, number, begin..end).await?;
            let until = piece.end.min(end);
            let part = chunk.get(bytes_of(&(begin..at))..bytes_of(&(begin..until)));
            bytes.extend_from_slice(part.ok_or_else(|| misplaced(id))?);
            at = until;
        }
        Ok(bytes)
    }

    /// Reads the next piece of a member that is open, or can be opened now.
    async fn piece_of_open_member(
        self: &Arc<Self>,
        id: &ReleaseId,
        found: &mut Found,
        piece: &Range<u64>,
    ) -> Result<Option<Vec<u8>>, ServeError> {
        let len = bytes_of(piece);
        let read = move |mut member: Box<OpenMember>, place| {
            let mut bytes = vec![0; len];
            member.read_exact(&mut bytes)?;
            Ok::<_, ServeError>((bytes, member, place))
        };
        let (bytes, member, place) = match std::mem::replace(&mut found.unpacking, Unpacking::InChunks) {
            Unpacking::InChunks => return Ok(None),
            Unpacking::Open(member, place) if member.is_at_hand() => read(member, place)?,
            Unpacking::Open(member, place) => blocking(move || read(member, place)).await?,
            Unpacking::NotBegun => {
                let Ok(place) = Arc::clone(&self.open_members).try_acquire_owned() else { return Ok(None) };
                let Located::Bundled(reader, frame, _) = &found.located else { return Err(misplaced(id)) };
                let (reader, frame, start) = (Arc::clone(reader), *frame, piece.start);
                let open =
                    blocking(move || Ok(OpenMember::open(reader, frame.offset, frame.len, WINDOW_BYTES)));
                // Unpacking it in chunks will report the fault.
                let Ok(mut member) = open.await? else { return Ok(None) };
                if member.release() != id || member.size() != found.held.size {
                    return Err(misplaced(id));
                }
                let begin = move || {
                    member.skip_to(start)?;
                    read(Box::new(member), place)
                };
                blocking(begin).await?
            }
        };
        found.unpacking = Unpacking::Open(member, place);
        Ok(Some(bytes))
    }

    /// Returns a chunk of a member from the cache, or unpacks it now.
    async fn chunk(
        self: &Arc<Self>,
        id: &ReleaseId,
        found: &Found,
        number: u64,
        range: Range<u64>,
    ) -> Result<Arc<Bytes>, ServeError> {
        let key = (found.held.sha256, number);
        if let Some(chunk) = self.chunks.get(&key) {
            return Ok(chunk);
        }
        let _place = self.unpacking.acquire().await;
        if let Some(chunk) = self.chunks.get(&key) {
            return Ok(chunk);
        }
        let chunk = Arc::new(Bytes::from(self.unpacked(id, found, range).await?));
        self.chunks.insert(key, Arc::clone(&chunk), chunk.len());
        Ok(chunk)
    }

    /// Unpacks a part of a member.
    async fn unpacked(
        self: &Arc<Self>,
        id: &ReleaseId,
        found: &Found,
        range: Range<u64>,
    ) -> Result<Vec<u8>, ServeError> {
        let Located::Bundled(reader, frame, _) = &found.located else { return Err(misplaced(id)) };
        if frame.len <= SMALL_BYTES && reader.is_at_hand(frame.offset, frame.len) {
            return self.unpack(id, found.held.size, &found.located, &range);
        }
        let (app, id) = (Arc::clone(self), id.clone());
        let (size, located) = (found.held.size, found.located.clone());
        blocking(move || app.unpack(&id, size, &located, &range)).await
    }

    fn unpack(
        &self,
        id: &ReleaseId,
        size: u64,
        located: &Located,
        range: &Range<u64>,
    ) -> Result<Vec<u8>, ServeError> {
        let Located::Bundled(reader, frame, _) = located else { return Err(misplaced(id)) };
        let mut bytes = Vec::with_capacity(bytes_of(range));
        let mut here = 0;
        let mut take = |piece: &[u8]| {
            let end = here + piece.len() as u64;
            let (from, to) = (range.start.clamp(here, end), range.end.clamp(here, end));
            bytes.extend_from_slice(&piece[bytes_of(&(here..from))..bytes_of(&(here..to))]);
            here = end;
            // The rest is not needed.
            if here > range.end { Err(Stopped::Enough) } else { Ok(()) }
        };
        let is_it =
            match self.mirror.bundles().visit(reader, *frame, id, &mut |member| member.read(&mut take)) {
                Ok(is_it) => is_it && here == size,
                Err(Stopped::Enough) => true,
                Err(Stopped::Bundle(error)) => return Err(error.into()),
            };
        if is_it && bytes.len() == bytes_of(range) { Ok(bytes) } else { Err(misplaced(id)) }
    }
}

/// The reason why a member is not read to its end.
enum Stopped {
    Enough,
    Bundle(BundleError),
}

impl From<BundleError> for Stopped {
    fn from(error: BundleError) -> Self {
        Self::Bundle(error)
    }
}

fn misplaced(id: &ReleaseId) -> ServeError {
    ServeError::Internal(format!("another member than {id} is where the catalogue says"))
}
