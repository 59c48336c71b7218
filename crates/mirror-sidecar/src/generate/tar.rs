//! Writes all sidecars as one `.tar.zst`, in the order of the index: what files mode writes, in one file.
//!
//! The index is read in the order of its packs, which is not that of its paths. Therefore each index file becomes
//! frames of its own, which threads spool as they come; copied in the order of paths, they are the output.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mirror_bundle::{Frame, TarFrames};
use mirror_store::OutputFile;
use mirror_types::Unexpected;

use super::error::GenerateError;
use super::observe::{SidecarEvent, SidecarPhase};
use super::options::SidecarOutcome;
use super::render::{FactsBuilder, ParsedLine, Tally, each};
use super::source::Feed;
use super::work::Work;

/// The level of zstd.
const LEVEL: i32 = 3;
/// Bytes after which a frame ends, so that crates with many releases need no more memory.
const FRAME_BYTES: usize = 1 << 20;
/// Bytes that are collected before they are written.
const PIECE_BYTES: usize = 1 << 20;

pub(super) fn write(
    mut work: Work<'_>,
    feed: &Feed,
    path: &Path,
    layout_of: &Path,
) -> Result<SidecarOutcome, GenerateError> {
    work.take_layout_of(layout_of)?;
    let output = OutputFile::begin(path)?;
    let spool = Spool::begin(path)?;
    work.emit(SidecarEvent::Phase(SidecarPhase::Write));
    if work.options.limit > 0 {
        let mut packer = Packer::new(&work, &spool)?;
        feed.in_order(&mut |path, data| packer.file(path, data))?;
    } else {
        feed.fastest(work.threads(), &|| match Packer::new(&work, &spool) {
            Ok(mut packer) => Box::new(move |path, data| packer.file(path, data)),
            Err(error) => {
                work.fail(error);
                Box::new(|_, _| ControlFlow::Break(()))
            }
        })?;
    }
    let mut outcome = work.end()?;
    if let Some(bytes) = spool.copy(&output, work.is_stopped)? {
        output.publish()?;
        (outcome.written, outcome.bytes) = (outcome.selected, bytes);
    }
    Ok(outcome)
}

/// The frames of all index files, in the order in which they were packed. Never published: it is gone when the run ends.
struct Spool {
    file: OutputFile,
    end: AtomicU64,
    packed: Mutex<Vec<Packed>>,
}

/// The frames of one index file.
struct Packed {
    path: Box<str>,
    /// Where they are in the spool.
    offset: u64,
    frames: Box<[Frame]>,
}

impl Packed {
    fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.len as usize).sum()
    }
}

impl Spool {
    /// Begins a spool beside the output.
    fn begin(path: &Path) -> Result<Self, GenerateError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".frames");
        let file = OutputFile::begin(Path::new(&name))?;
        Ok(Self { file, end: AtomicU64::new(0), packed: Mutex::default() })
    }

    /// Adds the frames of an index file, which are `data`.
    fn add(&self, path: &str, frames: Vec<Frame>, data: &[u8]) -> Result<(), GenerateError> {
        let offset = self.end.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write_at(offset, data)?;
        let packed = Packed { path: path.into(), offset, frames: frames.into() };
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).push(packed);
        Ok(())
    }

    /// Writes all frames in the order of paths, and what ends the file; returns its length, or `None` when the run was
    /// stopped.
    fn copy(self, output: &OutputFile, is_stopped: &dyn Fn() -> bool) -> Result<Option<u64>, GenerateError> {
        let mut all = self.packed.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let (mut piece, mut written) = (Vec::with_capacity(2 * PIECE_BYTES), 0);
        let mut flush = |piece: &mut Vec<u8>| -> Result<(), GenerateError> {
            output.write_at(written, piece)?;
            written += piece.len() as u64;
            piece.clear();
            Ok(())
        };
        let mut frames = Vec::new();
        for packed in all {
            if is_stopped() {
                return Ok(None);
            }
            let start = piece.len();
            piece.resize(start + packed.bytes(), 0);
            self.file.read_at(packed.offset, &mut piece[start..])?;
            frames.extend_from_slice(&packed.frames);
            if piece.len() >= PIECE_BYTES {
                flush(&mut piece)?;
            }
        }
        if is_stopped() {
            return Ok(None);
        }
        let end = TarFrames::new(LEVEL).and_then(|last| last.end(&frames));
        piece.extend(end.map_err(Unexpected::could_not("end the tar of sidecars"))?);
        flush(&mut piece)?;
        Ok(Some(written))
    }
}

/// The state of one packing thread.
struct Packer<'w> {
    work: &'w Work<'w>,
    spool: &'w Spool,
    builder: FactsBuilder<'w>,
    tally: Tally,
    tar: TarFrames,
    text: Vec<u8>,
    /// The frames of the index file at hand, and their bytes.
    frames: Vec<Frame>,
    data: Vec<u8>,
}

impl<'w> Packer<'w> {
    fn new(work: &'w Work<'w>, spool: &'w Spool) -> Result<Self, GenerateError> {
        Ok(Self {
            work,
            spool,
            builder: FactsBuilder::new(&work.rules),
            tally: Tally::default(),
            tar: TarFrames::new(LEVEL).map_err(Unexpected::could_not("set up zstd"))?,
            text: Vec::new(),
            frames: Vec::new(),
            data: Vec::new(),
        })
    }

    /// Takes a file of the index.
    fn file(&mut self, path: &str, data: &[u8]) -> ControlFlow<()> {
        let (mut tally, limit) = (std::mem::take(&mut self.tally), self.work.options.limit);
        let (before, mut done) = (tally.selected, Ok(()));
        let (flow, _) = each(&self.work.rules, path, data, &mut tally, &mut |tally, parsed, selected| {
            if selected {
                done = self.sidecar(&parsed, path);
            }
            if done.is_err() || (selected && tally.selected == limit) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let sidecars = tally.selected - before;
        self.tally = tally;
        if let Err(error) = done.and_then(|()| self.end_file(path)) {
            self.work.fail(error);
            return ControlFlow::Break(());
        }
        if sidecars > 0 {
            self.work.emit(SidecarEvent::Written { sidecars, bytes: 0 });
        }
        if (self.work.is_stopped)() { ControlFlow::Break(()) } else { flow }
    }

    fn sidecar(&mut self, parsed: &ParsedLine<'_>, path: &str) -> Result<(), GenerateError> {
        let facts = self.builder.facts(parsed, path);
        self.text.clear();
        parsed.line.pretty(&facts, &mut self.text).map_err(Unexpected::could_not("write a sidecar"))?;
        self.tar.add(&format!("{}.json", facts.crate_path), &self.text);
        if self.tar.plain_bytes() >= FRAME_BYTES { self.pack() } else { Ok(()) }
    }

    fn pack(&mut self) -> Result<(), GenerateError> {
        let frame = self.tar.pack(&mut self.data).map_err(Unexpected::could_not("compress sidecars"))?;
        self.frames.push(frame);
        Ok(())
    }

    fn end_file(&mut self, path: &str) -> Result<(), GenerateError> {
        if self.tar.plain_bytes() > 0 {
            self.pack()?;
        }
        if self.frames.is_empty() {
            return Ok(());
        }
        self.spool.add(path, std::mem::take(&mut self.frames), &self.data)?;
        self.data.clear();
        Ok(())
    }
}

impl Drop for Packer<'_> {
    fn drop(&mut self) {
        self.work.add(std::mem::take(&mut self.tally));
    }
}
