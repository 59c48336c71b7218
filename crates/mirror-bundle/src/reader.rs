use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mirror_fs::{FileReader, ReadAt};
use zstd::bulk::Decompressor;

use crate::error::{BundleError, at};
use crate::fault::{BundleFault, Trouble};
use crate::limits::BundleLimits;
use crate::member::{Data, Member, Seen, with_place};
use crate::names::PARTIAL;
use crate::record::BundleMember;
use crate::stream::FrameStream;
use crate::tar::{self, Step};
use crate::zframe::{self, Frame, HEAD, Head};

/// Largest frame that is unpacked in memory, in unpacked bytes.
const MAX_IN_MEMORY_BYTES: u32 = 8 << 20;
/// Bytes of a bundle that are read at once.
const READ_BYTES: u64 = 2 << 20;

/// A bundle, open for reading: one of this system, sealed or partial, or of the source system. Takes no lock and
/// changes nothing. Any number of threads may share it.
#[derive(Debug)]
pub struct BundleReader {
    path: PathBuf,
    source: Box<dyn ReadAt>,
    len: u64,
    sealed: bool,
    limits: BundleLimits,
}

/// The frames of a bundle with one member in each. Remembers the paths that were read.
#[derive(Debug)]
pub struct FrameMap {
    frames: Vec<Frame>,
    /// True if the last frame is the end of the archive.
    ends: bool,
    seen: Mutex<Seen>,
}

impl FrameMap {
    fn new(frames: Vec<Frame>, ends: bool) -> Self {
        Self { frames, ends, seen: Mutex::default() }
    }

    /// Returns the frames in the order of the bundle; the last frame of a sealed bundle has the end of the archive.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Returns the number of members, as far as the frames show it.
    #[must_use]
    pub fn members(&self) -> u64 {
        self.frames.len() as u64 - u64::from(self.ends)
    }

    /// Divides the frames into runs of about `bytes` bytes of the bundle, for [`BundleReader::read_frames`].
    #[must_use]
    pub fn runs(&self, bytes: u64) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let (mut start, mut sum) = (0, 0);
        for (at, frame) in self.frames.iter().enumerate() {
            sum += u64::from(frame.len);
            if sum >= bytes || at + 1 == self.frames.len() {
                runs.push(start..at + 1);
                (start, sum) = (at + 1, 0);
            }
        }
        runs
    }
}

/// Buffers and decoder of one thread.
pub struct FrameBuffers {
    decoder: Decompressor<'static>,
    /// Never shortened, so that it need not be filled with zeros again.
    packed: Vec<u8>,
    /// Bytes of `packed` that were read.
    loaded: usize,
    plain: Vec<u8>,
}

impl std::fmt::Debug for FrameBuffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} and {} bytes", self.packed.capacity(), self.plain.capacity())
    }
}

impl FrameBuffers {
    /// Makes empty buffers. They grow to some 2 MiB packed and 8 MiB unpacked.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self { decoder: Decompressor::new()?, packed: Vec::new(), loaded: 0, plain: Vec::new() })
    }
}

/// A piece of a bundle, read by position.
pub(crate) struct Piece<'a> {
    source: &'a dyn ReadAt,
    offset: u64,
    end: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let len = out.len().min(left);
        let n = self.source.read_at(&mut out[..len], self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl BundleReader {
    /// Opens a bundle. A name that ends in `.partial` marks a partial bundle, which has no end yet.
    ///
    /// # Errors
    /// When it cannot be opened or is no regular file.
    pub fn open(path: &Path, limits: BundleLimits) -> Result<Self, BundleError> {
        let file =
            mirror_fs::patient(|| mirror_fs::open_to_read(path)).map_err(at("open the bundle", path))?;
        let strange = || BundleError::Strange { path: path.to_owned(), expected: "a regular file" };
        let file = FileReader::of(file).map_err(at("look at", path))?.ok_or_else(strange)?;
        Ok(Self::of(Box::new(file), path, limits))
    }

    /// Reads a bundle that is already open. `path` is its name in errors; if it ends in `.partial`, the bundle is
    /// partial.
    #[must_use]
    pub fn of(source: Box<dyn ReadAt>, path: &Path, limits: BundleLimits) -> Self {
        let sealed = path.to_str().is_none_or(|path| !path.ends_with(PARTIAL));
        Self { path: path.to_owned(), len: source.len(), source, sealed, limits }
    }

    /// Returns the path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its length in bytes when it was opened.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns whether its name is that of a complete bundle.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    pub(crate) fn limits(&self) -> BundleLimits {
        self.limits
    }

    fn wrong(&self, offset: u64, trouble: impl Into<Trouble>) -> BundleError {
        with_place(&self.path, None, Some(offset), trouble.into())
    }

    pub(crate) fn piece(&self, offset: u64, end: u64) -> Piece<'_> {
        Piece { source: &*self.source, offset, end }
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<(), BundleError> {
        let mut piece = self.piece(offset, self.len);
        piece.read_exact(out).map_err(|error| self.wrong(offset, tar::torn(error)))
    }

    /// Reads the frames from the seek table at the end. `None` when there is none, or when the first frame is not one
    /// whole member; [`BundleReader::stream`] reads such a bundle. Reads 8 bytes for each member.
    ///
    /// # Errors
    /// When the table is there and wrong, or the first frame is hostile, or the disk refuses.
    pub fn frame_map(&self) -> Result<Option<FrameMap>, BundleError> {
        let Some(tail) = self.len.checked_sub((zframe::FOOTER + zframe::SKIPPABLE_HEAD) as u64) else {
            return Ok(None);
        };
        let mut footer = [0; zframe::FOOTER];
        self.read_exact_at(&mut footer, tail + zframe::SKIPPABLE_HEAD as u64)?;
        let wrong = |fault| self.wrong(tail, fault);
        let Some((count, entry)) = zframe::footer(&footer).map_err(wrong)? else { return Ok(None) };
        if u64::from(count) > self.limits.members.saturating_add(1) {
            return Err(wrong(BundleFault::TooMany(self.limits.members)));
        }
        let entries = u64::from(count) * entry as u64;
        let Some(begin) = tail.checked_sub(entries) else {
            return Err(wrong(BundleFault::SeekTable("it is longer than the bundle")));
        };
        let mut bytes = vec![0; usize::try_from(self.len - begin).unwrap_or(0)];
        self.read_exact_at(&mut bytes, begin)?;
        let expected = entries + zframe::FOOTER as u64;
        match zframe::head(&bytes, &self.limits) {
            Ok(Head::Table { len }) if u64::from(len) == expected => {}
            _ => return Err(wrong(BundleFault::SeekTable("no skippable frame begins where it should"))),
        }
        let frames = zframe::read_table(&bytes[zframe::SKIPPABLE_HEAD..]).map_err(wrong)?;
        if frames.last().map_or(0, |last| last.offset + u64::from(last.len)) != begin {
            return Err(wrong(BundleFault::SeekTable("the frames do not end where it begins")));
        }
        let map = FrameMap::new(frames, true);
        let Some(first) = map.frames.first().copied() else { return Ok(None) };
        // A first frame with more or less than one member shows another kind of bundle.
        let mut buffers = FrameBuffers::new().map_err(at("unpack", &self.path))?;
        let probe =
            self.one_frame(&mut buffers, first, map.frames.len() == 1, &mut |_| Ok::<_, BundleError>(()));
        match probe {
            Err(BundleError::Damaged { fault: BundleFault::FrameShape, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(Some(map)),
        }
    }

    /// Returns the frames of a partial bundle, as its manifest lists them, in the order of the manifest. `None` when
    /// the manifest has no offsets.
    ///
    /// # Errors
    /// When a listed frame is outside the bundle.
    pub fn frame_map_of(&self, members: &[BundleMember]) -> Result<Option<FrameMap>, BundleError> {
        let mut frames = Vec::with_capacity(members.len());
        for member in members {
            let (Some(offset), Some(len), Some(end)) =
                (member.frame_offset, member.frame_len, member.frame_end())
            else {
                return Ok(None);
            };
            let listed = Some(member.bundle_member.as_str());
            if end > self.len {
                return Err(BundleError::damaged(&self.path, listed, Some(offset), BundleFault::NotInBundle));
            }
            let mut start = [0; HEAD];
            let have = self.len.saturating_sub(offset).min(HEAD as u64);
            let start = &mut start[..usize::try_from(have).unwrap_or(0)];
            self.read_exact_at(start, offset)?;
            let size = match zframe::head(start, &self.limits) {
                Ok(Head::Data { size: Some(size) }) => u32::try_from(size).ok(),
                Err(fault) => return Err(BundleError::damaged(&self.path, listed, Some(offset), fault)),
                Ok(_) => None,
            };
            match (u32::try_from(len), size) {
                (Ok(len), Some(size)) => frames.push(Frame { offset, len, size }),
                _ => return Ok(None),
            }
        }
        Ok(Some(FrameMap::new(frames, false)))
    }

    /// Passes the members of a run of frames (see [`FrameMap::runs`]) to `visit`, in the order of the bundle. Several
    /// threads may read several runs at once. Blocks.
    ///
    /// # Errors
    /// The first fault of the bundle or of the disk; what `visit` returns.
    pub fn read_frames<E: From<BundleError>>(
        &self,
        map: &FrameMap,
        run: Range<usize>,
        buffers: &mut FrameBuffers,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = run.start;
        while at < run.end {
            // As many frames as one read covers; the packed bytes stay in their buffer.
            let first = map.frames[at];
            let mut next = at + 1;
            let mut end = first.offset + u64::from(first.len);
            while next < run.end && end - first.offset < READ_BYTES && map.frames[next].offset == end {
                end += u64::from(map.frames[next].len);
                next += 1;
            }
            self.load(buffers, first.offset, end)?;
            for (number, frame) in (at..).zip(&map.frames[at..next]) {
                let last = map.ends && number + 1 == map.frames.len();
                self.one(buffers, first.offset, *frame, last, &mut |member| {
                    let mut seen = map.seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.check(&member.entry.path, self.limits.members)
                        .map_err(|fault| self.of_member(member, fault))?;
                    drop(seen);
                    visit(member)
                })?;
            }
            at = next;
        }
        Ok(())
    }

    fn of_member(&self, member: &Member<'_>, fault: BundleFault) -> BundleError {
        BundleError::damaged(&self.path, Some(&member.entry.path), Some(member.frame_offset), fault)
    }

    /// Reads a stretch of the bundle into the buffer; leaves frames that are too large for it to be streamed.
    fn load(&self, buffers: &mut FrameBuffers, begin: u64, end: u64) -> Result<(), BundleError> {
        buffers.loaded = 0;
        if end > self.len {
            return Err(self.wrong(begin, BundleFault::Torn));
        }
        let len = end - begin;
        if len <= READ_BYTES + u64::from(MAX_IN_MEMORY_BYTES) {
            let len = usize::try_from(len).unwrap_or(0);
            if buffers.packed.len() < len {
                buffers.packed.resize(len, 0);
            }
            self.read_exact_at(&mut buffers.packed[..len], begin)?;
            buffers.loaded = len;
        }
        Ok(())
    }

    /// Reads the member of one frame. The end of the archive may only be in the last frame.
    fn one_frame<E: From<BundleError>>(
        &self,
        buffers: &mut FrameBuffers,
        frame: Frame,
        last: bool,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.load(buffers, frame.offset, frame.offset + u64::from(frame.len))?;
        self.one(buffers, frame.offset, frame, last, visit)
    }

    /// Reads one frame from the bytes loaded at `base`.
    fn one<E: From<BundleError>>(
        &self,
        buffers: &mut FrameBuffers,
        base: u64,
        frame: Frame,
        last: bool,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let FrameBuffers { decoder, packed, loaded, plain } = buffers;
        let begin = usize::try_from(frame.offset - base).unwrap_or(usize::MAX);
        let slice = begin.checked_add(frame.len as usize).and_then(|end| packed[..*loaded].get(begin..end));
        match slice {
            Some(slice) if frame.size <= MAX_IN_MEMORY_BYTES => {
                unpack(decoder, slice, frame, &self.limits, plain)
                    .map_err(|fault| self.wrong(frame.offset, fault))?;
                let mut rest = plain.as_slice();
                let step = tar::step(&mut rest, &self.limits)
                    .map_err(|trouble| self.wrong(frame.offset, trouble))?;
                self.give(step, frame, last, rest, visit)
            }
            _ => self.one_streamed(frame, last, visit),
        }
    }

    fn give<E: From<BundleError>>(
        &self,
        step: Step,
        frame: Frame,
        last: bool,
        mut rest: &[u8],
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let wrong = |fault: BundleFault| E::from(self.wrong(frame.offset, fault));
        let entry = match step {
            Step::Member(entry) if !last => entry,
            Step::Member(_) => return Err(wrong(BundleFault::MissingTrailer)),
            Step::End if last => {
                return tar::only_zeros(&mut rest)
                    .map_err(|trouble| self.wrong(frame.offset, trouble).into());
            }
            Step::End => return Err(wrong(BundleFault::TrailingData)),
            Step::Nothing => return Err(wrong(BundleFault::FrameShape)),
        };
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        let whole = size.checked_add(tar::padding(entry.size));
        if whole != Some(rest.len()) {
            let (path, offset) = (Some(entry.path.as_str()), Some(frame.offset));
            return Err(BundleError::damaged(&self.path, path, offset, BundleFault::FrameShape).into());
        }
        let (data, mut pad) = rest.split_at(size);
        tar::skip_padding(&mut pad, entry.size)
            .map_err(|trouble| with_place(&self.path, Some(&entry.path), Some(frame.offset), trouble))?;
        visit(&mut Member { bundle: &self.path, entry, frame_offset: frame.offset, data: Data::Slice(data) })
    }

    /// Streams a frame that is too large for memory.
    fn one_streamed<E: From<BundleError>>(
        &self,
        frame: Frame,
        last: bool,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let wrong = |trouble: Trouble| self.wrong(frame.offset, trouble);
        let piece = self.piece(frame.offset, frame.offset + u64::from(frame.len));
        let mut stream = FrameStream::new(piece, self.limits).map_err(at("unpack", &self.path))?;
        let entry = match tar::step(&mut stream, &self.limits).map_err(wrong)? {
            Step::Member(entry) if !last => entry,
            Step::End if last => return tar::only_zeros(&mut stream).map_err(|t| wrong(t).into()),
            _ => return Err(wrong(BundleFault::FrameShape.into()).into()),
        };
        let left = entry.size;
        let data = Data::Stream { input: &mut stream, left };
        let mut member = Member { bundle: &self.path, entry, frame_offset: frame.offset, data };
        visit(&mut member)?;
        member.finish()?;
        match stream.was_one_frame() {
            Ok(true) => Ok(()),
            Ok(false) => Err(wrong(BundleFault::FrameShape.into()).into()),
            Err(error) => Err(wrong(error.into()).into()),
        }
    }

    /// Passes the one member whose frame lies at `offset` to `visit`. Reads nothing else. Blocks.
    ///
    /// # Errors
    /// When no whole member lies there; what `visit` returns.
    pub fn read_at<E: From<BundleError>>(
        &self,
        offset: u64,
        len: u64,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffers = FrameBuffers::new().map_err(at("unpack", &self.path))?;
        self.read_at_with(&mut buffers, offset, len, visit)
    }

    /// Returns whether a frame is likely to be read without waiting for the disk.
    #[must_use]
    pub fn is_at_hand(&self, offset: u64, len: u64) -> bool {
        let here = |offset| self.source.read_at_once(&mut [0], offset).is_ok_and(|read| read);
        here(offset) && here(offset.saturating_add(len.saturating_sub(1)))
    }

    /// Works like [`BundleReader::read_at`], and reuses buffers.
    ///
    /// # Errors
    /// When no whole member lies there; what `visit` returns.
    pub fn read_at_with<E: From<BundleError>>(
        &self,
        buffers: &mut FrameBuffers,
        offset: u64,
        len: u64,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut start = [0; HEAD];
        let have = self.len.saturating_sub(offset).min(len).min(HEAD as u64);
        let start = &mut start[..usize::try_from(have).unwrap_or(0)];
        self.read_exact_at(start, offset)?;
        let head = zframe::head(start, &self.limits).map_err(|fault| self.wrong(offset, fault))?;
        let size = match head {
            Head::Data { size: Some(size) } => u32::try_from(size).unwrap_or(u32::MAX),
            Head::Data { size: None } => u32::MAX,
            Head::Table { .. } => return Err(self.wrong(offset, BundleFault::NotAFrame).into()),
            Head::Short => return Err(self.wrong(offset, BundleFault::Torn).into()),
        };
        let Ok(len) = u32::try_from(len) else { return Err(self.wrong(offset, BundleFault::Torn).into()) };
        self.one_frame(buffers, Frame { offset, len, size }, false, visit)
    }

    /// Passes every member to `visit`, from the first to the last, whatever the frames are; then checks the end of the
    /// archive and the seek table. Returns the number of members. In a partial bundle, a torn end is no error. Memory:
    /// the window of the frames and 16 bytes for each member. Blocks.
    ///
    /// # Errors
    /// The first fault of the bundle or of the disk; what `visit` returns.
    pub fn stream<E: From<BundleError>>(
        &self,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut stream =
            FrameStream::new(self.piece(0, self.len), self.limits).map_err(at("unpack", &self.path))?;
        let mut seen = Seen::default();
        loop {
            let begin = stream.frame_offset();
            let entry = match tar::step(&mut stream, &self.limits) {
                Ok(Step::Member(entry)) => entry,
                Ok(Step::End) => break,
                Ok(Step::Nothing) if !self.sealed => return Ok(seen.len()),
                Ok(Step::Nothing) => return Err(self.wrong(begin, BundleFault::MissingTrailer).into()),
                Err(Trouble::Fault(BundleFault::Torn)) if !self.sealed => return Ok(seen.len()),
                Err(trouble) => return Err(self.wrong(stream.frame_offset(), trouble).into()),
            };
            let frame_offset = stream.frame_offset();
            seen.check(&entry.path, self.limits.members).map_err(|fault| {
                BundleError::damaged(&self.path, Some(&entry.path), Some(frame_offset), fault)
            })?;
            let left = entry.size;
            let data = Data::Stream { input: &mut stream, left };
            let mut member = Member { bundle: &self.path, entry, frame_offset, data };
            visit(&mut member)?;
            member.finish()?;
        }
        tar::only_zeros(&mut stream).map_err(|trouble| self.wrong(stream.frame_offset(), trouble))?;
        Ok(seen.len())
    }
}

/// Unpacks a frame of known size into `plain`.
pub(crate) fn unpack(
    decoder: &mut Decompressor<'static>,
    packed: &[u8],
    frame: Frame,
    limits: &BundleLimits,
    plain: &mut Vec<u8>,
) -> Result<(), BundleFault> {
    match zframe::head(packed, limits)? {
        Head::Data { size: Some(size) } if size == u64::from(frame.size) => {}
        Head::Data { .. } => {
            return Err(BundleFault::SeekTable("it gives a frame another size than the frame"));
        }
        Head::Table { .. } => return Err(BundleFault::SkippableFrame),
        Head::Short => return Err(BundleFault::Torn),
    }
    if limits.is_bomb(u64::from(frame.size), packed.len() as u64) {
        return Err(BundleFault::Bomb);
    }
    match zframe::frame_len(packed) {
        Some(len) if len == packed.len() => {}
        Some(_) => return Err(BundleFault::SeekTable("it gives a frame another length than the frame")),
        None => return Err(BundleFault::Torn),
    }
    plain.clear();
    plain.reserve(frame.size as usize);
    decoder.decompress_to_buffer(packed, plain).map_err(|error| BundleFault::Damaged(error.to_string()))?;
    if plain.len() == frame.size as usize { Ok(()) } else { Err(BundleFault::Torn) }
}
