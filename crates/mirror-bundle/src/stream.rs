//! Unpacks consecutive frames as one stream of bytes, within limits.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use crate::fault::BundleFault;
use crate::limits::BundleLimits;
use crate::zframe::{self, Frame, HEAD, Head, SKIPPABLE_HEAD};

/// Bytes of the input that are read at once.
pub(crate) const READ_AHEAD: usize = 128 << 10;

/// The unpacked bytes of a bundle. Compares the seek table at the end with the frames that were read.
pub(crate) struct FrameStream<R> {
    input: R,
    limits: BundleLimits,
    decoder: Decoder<'static>,
    buffer: Vec<u8>,
    /// The start of the unused bytes of `buffer`.
    start: usize,
    end: usize,
    /// Offset of `start` in the input.
    offset: u64,
    /// Inside a frame: its offset, and the bytes unpacked from it.
    frame: Option<(u64, u64)>,
    done: bool,
    /// The frames that were read, to be compared with the table.
    frames: Vec<Frame>,
}

impl<R: Read> FrameStream<R> {
    pub(crate) fn new(input: R, limits: BundleLimits) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(27))?;
        Ok(Self {
            input,
            limits,
            decoder,
            buffer: vec![0; READ_AHEAD],
            start: 0,
            end: 0,
            offset: 0,
            frame: None,
            done: false,
            frames: Vec::new(),
        })
    }

    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// Returns the offset in the input of the current frame, or of the next one.
    pub(crate) fn frame_offset(&self) -> u64 {
        self.frame.map_or(self.offset, |(begin, _)| begin)
    }

    /// Returns the frames read so far.
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Returns whether nothing follows, and everything that was read was one frame; reads its checksum.
    pub(crate) fn was_one_frame(&mut self) -> io::Result<bool> {
        Ok(self.read(&mut [0])? == 0 && self.frames.len() == 1)
    }

    /// Returns whether the current frame has no more bytes; reads its checksum in that case.
    pub(crate) fn end_frame(&mut self) -> io::Result<bool> {
        while let Some((begin, given)) = self.frame {
            if self.unpack(&mut [0], begin, given)? > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn have(&self) -> usize {
        self.end - self.start
    }

    fn take(&mut self, n: usize) {
        self.start += n;
        self.offset += n as u64;
    }

    /// Reads until `n` bytes are there, or the input ends.
    fn fill(&mut self, n: usize) -> io::Result<()> {
        while self.have() < n {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(()),
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Looks at what follows between two frames, and begins a data frame.
    fn begin(&mut self) -> io::Result<()> {
        self.fill(HEAD)?;
        if self.have() == 0 {
            self.done = true;
            return Ok(());
        }
        match zframe::head(&self.buffer[self.start..self.end], &self.limits)? {
            Head::Short => Err(BundleFault::Torn.into()),
            Head::Table { len } => self.table(len),
            Head::Data { .. } => {
                if self.frames.len() as u64 > self.limits.members {
                    return Err(BundleFault::TooMany(self.limits.members).into());
                }
                self.decoder.reinit()?;
                self.frame = Some((self.offset, 0));
                Ok(())
            }
        }
    }

    fn table(&mut self, len: u32) -> io::Result<()> {
        let entries = self.frames.len() * 12 + zframe::FOOTER;
        if len as usize > entries {
            return Err(BundleFault::SeekTable("it has more entries than there are frames").into());
        }
        self.take(SKIPPABLE_HEAD);
        let mut content = Vec::with_capacity(len as usize);
        while content.len() < len as usize {
            self.fill(1)?;
            let n = self.have().min(len as usize - content.len());
            if n == 0 {
                return Err(BundleFault::Torn.into());
            }
            content.extend_from_slice(&self.buffer[self.start..self.start + n]);
            self.take(n);
        }
        if zframe::read_table(&content)? != self.frames {
            return Err(BundleFault::SeekTable("it does not agree with the frames").into());
        }
        self.fill(1)?;
        if self.have() > 0 {
            return Err(BundleFault::TrailingData.into());
        }
        self.done = true;
        Ok(())
    }

    /// Unpacks a piece of the current frame.
    fn unpack(&mut self, out: &mut [u8], begin: u64, given: u64) -> io::Result<usize> {
        self.fill(1)?;
        let status = self
            .decoder
            .run_on_buffers(&self.buffer[self.start..self.end], out)
            .map_err(|error| BundleFault::Damaged(error.to_string()))?;
        self.take(status.bytes_read);
        let given = given + status.bytes_written as u64;
        let taken = self.offset - begin;
        if self.limits.is_bomb(given, taken) {
            return Err(BundleFault::Bomb.into());
        }
        if status.remaining == 0 {
            // Sizes beyond the range of a table never match one.
            let len = u32::try_from(taken).unwrap_or(u32::MAX);
            let size = u32::try_from(given).unwrap_or(u32::MAX);
            self.frames.push(Frame { offset: begin, len, size });
            self.frame = None;
        } else {
            self.frame = Some((begin, given));
            if status.bytes_read == 0 && status.bytes_written == 0 && self.have() == 0 {
                return Err(BundleFault::Torn.into());
            }
        }
        Ok(status.bytes_written)
    }
}

impl<R: Read> Read for FrameStream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.frame {
                _ if self.done => return Ok(0),
                None => self.begin()?,
                Some((begin, given)) => {
                    let n = self.unpack(out, begin, given)?;
                    if n > 0 {
                        return Ok(n);
                    }
                }
            }
        }
    }
}
