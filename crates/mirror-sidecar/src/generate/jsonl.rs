//! Writes one JSONL of all sidecars, in the order of the index.
//!
//! The index is read in the order of its packs, which is not that of its paths. Therefore it is read twice: the first
//! pass measures the lines of each file, which determines their offsets; the second pass writes them there. A line
//! takes four bytes of memory in between.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::splice;
use mirror_index::lines;
use mirror_store::OutputFile;
use mirror_types::{CrateName, Unexpected};

use super::error::GenerateError;
use super::observe::{SidecarEvent, SidecarPhase};
use super::options::SidecarOutcome;
use super::render::{FactsBuilder, ParsedLine, Rules, Tally, Urls, each};
use super::source::Feed;
use super::work::Work;

/// Bytes that are collected before they are written, in order.
const PIECE: usize = 1 << 20;

/// The treatment of a line: it is left out; it is read again; or the position of its version is known, so that it need
/// not be: begin above [`PLACE`], length below.
type Fate = u32;
const LEFT_OUT: Fate = 0;
const READ_AGAIN: Fate = 1;
const PLACE: u32 = 8;

pub(super) fn write(
    mut work: Work<'_>,
    feed: &Feed,
    path: &Path,
    layout_of: &Path,
) -> Result<SidecarOutcome, GenerateError> {
    work.take_layout_of(layout_of)?;
    let output = OutputFile::begin(path)?;
    if work.options.limit > 0 {
        work.emit(SidecarEvent::Phase(SidecarPhase::Write));
        in_order(&work, feed, &output)?;
    } else if let Some(plan) = measure(&work, feed)? {
        work.emit(SidecarEvent::Selected(plan.lines));
        work.emit(SidecarEvent::Phase(SidecarPhase::Write));
        place(&work, feed, &output, &plan)?;
    }
    let mut outcome = work.end()?;
    if !(work.is_stopped)() {
        output.publish()?;
        outcome.written = outcome.selected;
    }
    Ok(outcome)
}

/// Writes the first records of the index.
fn in_order(work: &Work<'_>, feed: &Feed, output: &OutputFile) -> Result<(), GenerateError> {
    let mut builder = FactsBuilder::new(&work.rules);
    let (mut tally, mut text, mut offset) = (Tally::default(), Vec::with_capacity(2 * PIECE), 0);
    let mut flush = |text: &mut Vec<u8>| -> Result<(), GenerateError> {
        output.write_at(offset, text)?;
        offset += text.len() as u64;
        text.clear();
        Ok(())
    };
    let mut failed = Ok(());
    feed.in_order(&mut |path, data| {
        let before = tally.selected;
        let (flow, _) = each(&work.rules, path, data, &mut tally, &mut |tally, parsed, selected| {
            if selected {
                if let Err(error) = line(&parsed, &mut builder, path, &mut text) {
                    failed = Err(error);
                    return ControlFlow::Break(());
                }
                if tally.selected == work.options.limit {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        if tally.selected > before {
            work.emit(SidecarEvent::Written { sidecars: tally.selected - before, bytes: 0 });
        }
        if failed.is_ok() && text.len() >= PIECE {
            failed = flush(&mut text);
        }
        if failed.is_err() || (work.is_stopped)() { ControlFlow::Break(()) } else { flow }
    })?;
    failed?;
    flush(&mut text)?;
    tally.bytes = offset;
    work.add(tally);
    Ok(())
}

/// Appends the line of a record.
fn line(
    parsed: &ParsedLine<'_>,
    builder: &mut FactsBuilder<'_>,
    path: &str,
    text: &mut Vec<u8>,
) -> Result<(), GenerateError> {
    let facts = builder.facts(parsed, path);
    // It could be read, so it can be written.
    parsed.line.compact(&facts, text).map_err(Unexpected::could_not("write a sidecar"))?;
    text.push(b'\n');
    Ok(())
}

/// The measurements of the whole index.
struct Plan {
    /// The files, in the order of their paths.
    files: Vec<Measured>,
    /// The treatment of each line, by thread.
    fates: Vec<Vec<Fate>>,
    /// The offset of each file.
    offsets: Vec<u64>,
    bytes: u64,
    lines: u64,
}

/// A file of the index.
struct Measured {
    path: Box<str>,
    /// The crate of all lines that are not read again.
    name: CrateName,
    thread: usize,
    first: usize,
    count: usize,
    bytes: u64,
}

/// The state of one measuring thread.
struct Measurer<'w> {
    work: &'w Work<'w>,
    builder: FactsBuilder<'w>,
    tally: Tally,
    text: Vec<u8>,
    files: Vec<Measured>,
    fates: Vec<Fate>,
    done: &'w Mutex<Vec<(Vec<Measured>, Vec<Fate>)>>,
}

impl Measurer<'_> {
    fn file(&mut self, path: &str, data: &[u8]) -> Result<(), GenerateError> {
        let Self { work, builder, tally, text, fates, .. } = self;
        let first = fates.len();
        let (mut name, mut bytes, mut failed) = (None::<CrateName>, 0, Ok(()));
        let _ = each(&work.rules, path, data, tally, &mut |_, parsed, selected| {
            fates.resize(first + parsed.at, LEFT_OUT);
            let name = name.get_or_insert_with(|| parsed.record.id.name.clone());
            fates.push(if selected { fate(&parsed, name, &work.rules) } else { LEFT_OUT });
            if selected {
                text.clear();
                failed = line(&parsed, builder, path, text);
                bytes += text.len() as u64;
            }
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        failed?;
        if let (Some(name), true) = (name, bytes > 0) {
            let count = self.fates.len() - first;
            self.files.push(Measured { path: path.into(), name, thread: 0, first, count, bytes });
        }
        Ok(())
    }
}

impl Drop for Measurer<'_> {
    fn drop(&mut self) {
        self.work.add(std::mem::take(&mut self.tally));
        let own = (std::mem::take(&mut self.files), std::mem::take(&mut self.fates));
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(own);
    }
}

fn fate(parsed: &ParsedLine<'_>, name: &CrateName, rules: &Rules) -> Fate {
    let place = match rules.urls {
        // A licence is found by the checksum of the line.
        _ if rules.licences.is_some() => None,
        Urls::Base(_) if parsed.record.id.name == *name => parsed.line.version_place(),
        _ => None,
    };
    let packed = place.and_then(|place| {
        let (start, len) = (u32::try_from(place.start).ok()?, u32::try_from(place.len()).ok()?);
        (start < 1 << (u32::BITS - PLACE) && len < 1 << PLACE).then_some(start << PLACE | len)
    });
    packed.unwrap_or(READ_AGAIN)
}

/// Reads the whole index; `None` when the run was stopped.
fn measure(work: &Work<'_>, feed: &Feed) -> Result<Option<Plan>, GenerateError> {
    work.emit(SidecarEvent::Phase(SidecarPhase::Measure));
    let done = Mutex::default();
    feed.fastest(work.threads(), &|| {
        let mut own = Measurer {
            work,
            builder: FactsBuilder::new(&work.rules),
            tally: Tally::default(),
            text: Vec::new(),
            files: Vec::new(),
            fates: Vec::new(),
            done: &done,
        };
        Box::new(move |path, data| own_file(work, own.file(path, data)))
    })?;
    if (work.is_stopped)() || work.has_failed() {
        return Ok(None);
    }
    let (mut files, mut fates) = (Vec::new(), Vec::new());
    for (thread, (own, its)) in
        done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().enumerate()
    {
        files.extend(own.into_iter().map(|file| Measured { thread, ..file }));
        fates.push(its);
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut bytes = 0;
    let offsets = files
        .iter()
        .map(|file| {
            bytes += file.bytes;
            bytes - file.bytes
        })
        .collect();
    let lines = fates.iter().flatten().filter(|fate| **fate != LEFT_OUT).count() as u64;
    Ok(Some(Plan { files, fates, offsets, bytes, lines }))
}

/// Continues unless an operation failed.
fn own_file(work: &Work<'_>, done: Result<(), GenerateError>) -> ControlFlow<()> {
    match done {
        Ok(()) if !(work.is_stopped)() => ControlFlow::Continue(()),
        Ok(()) => ControlFlow::Break(()),
        Err(error) => {
            work.fail(error);
            ControlFlow::Break(())
        }
    }
}

/// Reads the index again and writes every file's lines to their offsets.
fn place(work: &Work<'_>, feed: &Feed, output: &OutputFile, plan: &Plan) -> Result<(), GenerateError> {
    output.set_len(plan.bytes)?;
    let by_path: HashMap<&str, usize> =
        plan.files.iter().enumerate().map(|(at, file)| (&*file.path, at)).collect();
    let placed = AtomicU64::new(0);
    feed.fastest(work.threads(), &|| {
        let mut builder = FactsBuilder::new(&work.rules);
        let mut text = Vec::new();
        let (by_path, placed) = (&by_path, &placed);
        Box::new(move |path, data| {
            // Files without selected lines have no offset.
            let Some(at) = by_path.get(path) else { return own_file(work, Ok(())) };
            let file = &plan.files[*at];
            let fates = &plan.fates[file.thread][file.first..file.first + file.count];
            text.clear();
            let count = again(&mut builder, file, fates, data, &mut text, work);
            let done = count.and_then(|count| {
                if text.len() as u64 != file.bytes {
                    return Err(changed(path));
                }
                output.write_at(plan.offsets[*at], &text)?;
                placed.fetch_add(1, Ordering::Relaxed);
                work.emit(SidecarEvent::Written { sidecars: count, bytes: file.bytes });
                Ok(())
            });
            own_file(work, done)
        })
    })?;
    if placed.into_inner() != plan.files.len() as u64 && !(work.is_stopped)() && !work.has_failed() {
        return Err(changed("a file"));
    }
    work.add(Tally { bytes: plan.bytes, ..Tally::default() });
    Ok(())
}

/// Writes the lines of a file as they were measured, and returns their number.
fn again(
    builder: &mut FactsBuilder<'_>,
    file: &Measured,
    fates: &[Fate],
    data: &[u8],
    text: &mut Vec<u8>,
    work: &Work<'_>,
) -> Result<u64, GenerateError> {
    let mut count = 0;
    let mut odd = false;
    for (at, (_, bytes)) in lines(data).enumerate() {
        match fates.get(at).copied().unwrap_or(LEFT_OUT) {
            LEFT_OUT => continue,
            READ_AGAIN => {
                odd = true;
                break;
            }
            place => {
                let start = (place >> PLACE) as usize;
                let version = bytes.get(start..start + (place & ((1 << PLACE) - 1)) as usize);
                let version = version.and_then(|version| std::str::from_utf8(version).ok());
                let facts = builder.of(&file.name, version.ok_or_else(|| changed(&file.path))?, &file.path);
                splice(bytes, &facts, text);
                text.push(b'\n');
            }
        }
        count += 1;
    }
    if !odd {
        return Ok(count);
    }
    text.clear();
    read_again(builder, file, data, text, work)
}

/// Writes all lines of a file with lines that are not plain.
fn read_again(
    builder: &mut FactsBuilder<'_>,
    file: &Measured,
    data: &[u8],
    text: &mut Vec<u8>,
    work: &Work<'_>,
) -> Result<u64, GenerateError> {
    let (mut tally, mut failed) = (Tally::default(), Ok(()));
    let _ = each(&work.rules, &file.path, data, &mut tally, &mut |_, parsed, selected| {
        if selected {
            failed = line(&parsed, builder, &file.path, text);
        }
        if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    failed.map(|()| tally.selected)
}

fn changed(what: &str) -> GenerateError {
    GenerateError::IndexChanged { what: mirror_types::Printable(what).to_string() }
}
