//! Reads a member piece by piece.

use std::io::{self, Read};
use std::sync::Arc;

use mirror_types::ReleaseId;

use crate::error::{BundleError, at};
use crate::fault::{BundleFault, Trouble};
use crate::limits::BundleLimits;
use crate::member::with_place;
use crate::reader::BundleReader;
use crate::stream::{FrameStream, READ_AHEAD};
use crate::tar::{self, Entry, Step};

/// A member of a bundle that is being read, from its first byte to its last. It keeps the bundle open.
///
/// Memory: the window of its frame (half a MiB for those of [`crate::BundleWriter`] at its default level) and 256 KiB.
pub struct OpenMember {
    bundle: Arc<BundleReader>,
    stream: FrameStream<SharedPiece>,
    entry: Entry,
    frame_offset: u64,
    /// Bytes of its data that were not read yet.
    left: u64,
}

impl std::fmt::Debug for OpenMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} of {} bytes left", self.entry.path, self.left, self.entry.size)
    }
}

/// A piece of a bundle with several owners.
struct SharedPiece {
    bundle: Arc<BundleReader>,
    offset: u64,
    end: u64,
}

impl Read for SharedPiece {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.bundle.piece(self.offset, self.end).read(out)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl OpenMember {
    /// Opens the member whose frame lies at `offset`, has `len` bytes and a window of at most `window_bytes`. Reads its
    /// headers. Blocks.
    ///
    /// # Errors
    /// When no member begins there, its window is larger, or the disk refuses.
    pub fn open(
        bundle: Arc<BundleReader>,
        offset: u64,
        len: u64,
        window_bytes: u64,
    ) -> Result<Self, BundleError> {
        let limits = bundle.limits();
        let limits = BundleLimits { window_bytes: limits.window_bytes.min(window_bytes), ..limits };
        let wrong = |trouble: Trouble| with_place(bundle.path(), None, Some(offset), trouble);
        let end = offset.checked_add(len).filter(|end| *end <= bundle.len());
        let end = end.ok_or_else(|| wrong(BundleFault::Torn.into()))?;
        let piece = SharedPiece { bundle: Arc::clone(&bundle), offset, end };
        let mut stream = FrameStream::new(piece, limits).map_err(at("unpack", bundle.path()))?;
        let entry = match tar::step(&mut stream, &limits).map_err(wrong)? {
            Step::Member(entry) => entry,
            Step::End | Step::Nothing => return Err(wrong(BundleFault::FrameShape.into())),
        };
        let left = entry.size;
        Ok(Self { bundle, stream, entry, frame_offset: offset, left })
    }

    /// Returns the release that its path belongs to.
    #[must_use]
    pub fn release(&self) -> &ReleaseId {
        &self.entry.id
    }

    /// Returns the size of its data in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entry.size
    }

    /// Returns the position in its data of the next byte; its size when all bytes were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.entry.size - self.left
    }

    /// Returns whether the next bytes are likely to be read without waiting for the disk.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        let SharedPiece { bundle, offset, end } = self.stream.input();
        bundle.is_at_hand(*offset, (end - offset).min(READ_AHEAD as u64))
    }

    /// Fills `out` with the next bytes of the data. Before the last byte is returned, what follows it is compared with
    /// the format. Blocks.
    ///
    /// # Errors
    /// When there are fewer bytes, when the bundle is damaged or cannot be read.
    pub fn read_exact(&mut self, out: &mut [u8]) -> Result<(), BundleError> {
        self.read(out).map_err(|trouble| self.wrong(trouble))
    }

    /// Skips the data up to `position`. Blocks.
    ///
    /// # Errors
    /// As for [`OpenMember::read_exact`]; when it is already past `position`.
    pub fn skip_to(&mut self, position: u64) -> Result<(), BundleError> {
        let mut passed = vec![0; 64 << 10];
        loop {
            let here = self.position();
            let left = position.checked_sub(here).ok_or_else(|| self.wrong(BundleFault::Torn.into()))?;
            let len = passed.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if len == 0 {
                return Ok(());
            }
            self.read_exact(&mut passed[..len])?;
        }
    }

    fn wrong(&self, trouble: Trouble) -> BundleError {
        with_place(self.bundle.path(), Some(&self.entry.path), Some(self.frame_offset), trouble)
    }

    fn read(&mut self, out: &mut [u8]) -> Result<(), Trouble> {
        let len = out.len() as u64;
        if len > self.left {
            return Err(BundleFault::Torn.into());
        }
        self.stream.read_exact(out).map_err(tar::torn)?;
        self.left -= len;
        if self.left == 0 && len > 0 {
            tar::skip_padding(&mut self.stream, self.entry.size)?;
            if !self.stream.was_one_frame()? {
                return Err(BundleFault::FrameShape.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{body, member, open, release, small};
    use crate::{BundleLimits, BundleMember, MAX_WINDOW_BYTES};
    use mirror_types::FaultKind;

    /// Writes a bundle with one large member between two small ones.
    fn bundle() -> (tempfile::TempDir, Vec<u8>, BundleMember) {
        let dir = tempfile::tempdir().expect("dir");
        let text: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ n >> 9).to_le_bytes()[0]).collect();
        let (mut writer, _) = open(dir.path(), small());
        for (name, data) in [("aaaa", body(1, 900)), ("bbbb", text.clone()), ("cccc", body(2, 900))] {
            writer.append(member(&release(name, "1.0.0"), data)).expect("append");
        }
        let mut placed = writer.seal().expect("seal");
        (dir, text, placed.swap_remove(1))
    }

    fn opened(dir: &std::path::Path, placed: &BundleMember) -> Result<OpenMember, BundleError> {
        let bundle = BundleReader::open(&dir.join("bundle-0000.tar.zst"), BundleLimits::default())?;
        let (offset, len) = (placed.frame_offset.expect("offset"), placed.frame_len.expect("length"));
        OpenMember::open(Arc::new(bundle), offset, len, MAX_WINDOW_BYTES)
    }

    #[test]
    fn pieces_of_any_size_are_the_whole() {
        let (dir, text, placed) = bundle();
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20 {
            let mut open = opened(dir.path(), &placed).expect("open");
            assert_eq!((open.release(), open.size()), (&release("bbbb", "1.0.0"), text.len() as u64));
            let skipped = random.usize(0..=text.len());
            open.skip_to(skipped as u64).expect("skip");
            let mut got = Vec::new();
            while open.position() < open.size() {
                let mut piece = vec![0; random.usize(0..200_000).min(text.len() - skipped - got.len())];
                open.read_exact(&mut piece).expect("read");
                got.extend_from_slice(&piece);
            }
            assert!(got == text[skipped..]);
            assert!(open.skip_to(0).is_err(), "it does not go back");
            assert!(open.read_exact(&mut [0]).is_err(), "there is no more");
        }
    }

    #[test]
    fn damage_anywhere_is_found_before_the_last_byte_is_given() {
        let (dir, text, placed) = bundle();
        let path = dir.path().join("bundle-0000.tar.zst");
        let whole = std::fs::read(&path).expect("read");
        let (offset, len) = (placed.frame_offset.expect("offset"), placed.frame_len.expect("length"));
        let mut random = fastrand::Rng::with_seed(4);
        let anywhere = std::iter::repeat_with(|| (offset + random.u64(0..len), random.u8(0..8))).take(40);
        let places: Vec<_> = anywhere.chain([(offset, 0), (offset + len - 1, 0)]).collect();
        for (at, bit) in places {
            let mut bad = whole.clone();
            bad[usize::try_from(at).expect("fits")] ^= 1 << bit;
            std::fs::write(&path, &bad).expect("write");
            let read = opened(dir.path(), &placed).and_then(|mut open| {
                let mut all = vec![0; text.len()];
                open.read_exact(&mut all).map(|()| all)
            });
            match read {
                Err(error) => assert_eq!(error.kind(), FaultKind::Integrity, "{error}"),
                // Some bits of a frame's header have the same meaning either way.
                Ok(all) => assert!(all == text, "byte {at}"),
            }
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("write");
        assert!(opened(dir.path(), &placed).is_err(), "cut");
        std::fs::write(&path, &whole).expect("write");
        let two = BundleMember { frame_len: Some(whole.len() as u64 - offset), ..placed };
        let mut open = opened(dir.path(), &two).expect("open");
        assert!(open.skip_to(open.size()).is_err(), "more than one frame");
    }
}
