//! Bytes that are read as their client can receive them. A source that has to wait holds no memory and no open file: it
//! finds its bytes again.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use mirror_bundle::OpenMember;
use mirror_manifest::Held;
use mirror_repo::Located;
use mirror_types::{ReleaseId, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::error::Chain;
use crate::seats::Seat;

/// Bytes that are read at once.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// The object that is being sent.
enum What {
    Release { id: ReleaseId, sha256: Sha256, size: u64, found: Option<Box<Found>> },
    IndexFile { path: String, tag: String, gzip: bool, text: Option<Bytes> },
}

/// A found release, with the permit for its open file.
pub(crate) struct Found {
    pub(crate) held: Held,
    pub(crate) located: Located,
    pub(crate) unpacking: Unpacking,
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

/// The way a long member of a bundle is unpacked.
pub(crate) enum Unpacking {
    /// Nothing has been read yet.
    NotBegun,
    /// From its beginning to its end, at the pace of its client. Holds a place.
    Open(Box<OpenMember>, OwnedSemaphorePermit),
    /// In chunks that are unpacked from its beginning: there was no place, or its client made it wait.
    InChunks,
}

/// A part of a release or of an index file that is being sent.
pub(crate) struct Source {
    app: Arc<App>,
    seat: Arc<Seat>,
    what: What,
    /// The range still to be sent, including `ahead`.
    range: Range<u64>,
    /// Bytes that were read and did not fit.
    ahead: Bytes,
}

impl Source {
    /// Makes a source of a part of a release. Its file stays open when there is a place for that.
    pub(crate) fn release(
        app: Arc<App>,
        seat: Arc<Seat>,
        id: ReleaseId,
        found: Found,
        range: Range<u64>,
    ) -> Self {
        let Held { sha256, size, .. } = found.held;
        let what = What::Release { id, sha256, size, found: app.keep(found).map(Box::new) };
        Self { app, seat, what, range, ahead: Bytes::new() }
    }

    /// Makes a source of a part of an index file; `text` is all of it.
    pub(crate) fn index_file(
        app: Arc<App>,
        seat: Arc<Seat>,
        (path, tag, gzip): (String, String, bool),
        text: Bytes,
        range: Range<u64>,
    ) -> Self {
        let what = What::IndexFile { path, tag, gzip, text: Some(text) };
        Self { app, seat, what, range, ahead: Bytes::new() }
    }

    /// Returns the number of bytes still to be sent.
    pub(crate) fn left(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Returns the next bytes, at most `most_bytes`; none at the end.
    pub(crate) async fn next(&mut self, most_bytes: usize) -> io::Result<Bytes> {
        if self.ahead.is_empty() && self.left() > 0 {
            self.ahead = self.read().await.inspect_err(|error| {
                tracing::error!("an answer is broken off: {}", Chain(error));
            })?;
        }
        let piece = self.ahead.split_to(most_bytes.min(self.ahead.len()));
        self.range.start += piece.len() as u64;
        Ok(piece)
    }

    /// Returns the rest of a short index file if that needs no waiting: short files are requested most.
    pub(crate) fn rest_at_once(&mut self) -> Option<Bytes> {
        let What::IndexFile { text: Some(text), .. } = &self.what else { return None };
        if text.len() > PIECE_BYTES || !self.ahead.is_empty() {
            return None;
        }
        let range = bytes_of(&(0..self.range.start))..bytes_of(&(0..self.range.end));
        let rest = text.slice_ref(text.get(range)?);
        let piece = self.seat.room_at_once(rest.len())?.fill(rest);
        self.range.start = self.range.end;
        Some(piece)
    }

    /// Frees everything that can be read again.
    pub(crate) fn rest(&mut self) {
        self.ahead = Bytes::new();
        match &mut self.what {
            What::Release { found, .. } => *found = None,
            What::IndexFile { text, .. } => *text = None,
        }
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        let len = self.left().min(PIECE_BYTES as u64);
        let piece = self.range.start..self.range.start + len;
        let room = self.seat.room(bytes_of(&piece)).await;
        let _work = self.seat.work();
        let last = piece.end == self.range.end;
        let Self { app, what, .. } = self;
        let bytes = match what {
            What::Release { id, sha256, size, found } => {
                let now = match found.take() {
                    Some(now) => *now,
                    None => app.find_again(id, *sha256, *size).await?,
                };
                let (bytes, now) = app.piece(id, now, piece).await?;
                // Kept for the next piece.
                *found = if last { None } else { app.keep(now).map(Box::new) };
                Bytes::from(bytes)
            }
            What::IndexFile { path, tag, gzip, text } => {
                let whole = match text.take() {
                    Some(whole) => whole,
                    None => app.text_again(path, tag, *gzip).await?,
                };
                let slice = whole.get(bytes_of(&(0..piece.start))..bytes_of(&(0..piece.end)));
                let slice = slice.ok_or(io::ErrorKind::UnexpectedEof)?;
                if whole.len() > PIECE_BYTES {
                    // A slice would keep all of it in memory.
                    let slice = Bytes::copy_from_slice(slice);
                    *text = (!last).then_some(whole);
                    slice
                } else {
                    whole.slice_ref(slice)
                }
            }
        };
        Ok(room.fill(bytes))
    }
}

pub(crate) fn bytes_of(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}
