//! Finds the entries of a pack by inflating each in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::Decompress;
use gix::hash::{Hasher, Kind::Sha1};
use gix::objs::{Kind, Write as _};
use gix::odb::loose;
use gix_pack::data::entry::Header;

use super::super::inflate::{Exact, Inflated};
use super::{Aside, MAX_STORED_BYTES, SiftError, Work};
use crate::read::delta;

const COPY_BYTES: usize = 64 << 10;
/// Most bytes of the two sizes of a delta.
const SIZES_BYTES: usize = 20;

/// An object of a pack, or a delta.
pub(super) struct Entry {
    pub(super) offset: u64,
    /// The beginning of the deflated data.
    pub(super) data: u64,
    pub(super) end: u64,
    pub(super) header: Header,
    /// The inflated size, bytes.
    pub(super) size: u64,
    pub(super) delta: Option<Sizes>,
}

/// The sizes in the head of a delta.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) base: u64,
    pub(super) object: u64,
}

impl Entry {
    /// Returns whether anything of more than `max_bytes` is involved.
    pub(super) fn is_large(&self, max_bytes: u64) -> bool {
        let sizes = self.delta.unwrap_or(Sizes { base: 0, object: 0 });
        self.size.max(sizes.base).max(sizes.object) > max_bytes
    }

    /// Returns the offset of its base, when the entry has it.
    pub(super) fn base_offset(&self) -> Result<Option<u64>, SiftError> {
        let Header::OfsDelta { base_distance } = self.header else { return Ok(None) };
        let offset = Header::verified_base_pack_offset(self.offset, base_distance);
        offset
            .map(Some)
            .ok_or_else(|| SiftError::Damaged("a difference to what is before the pack".to_owned()))
    }
}

/// A reader of a pack from beginning to end.
struct Reader {
    file: BufReader<File>,
    at: u64,
    hash: Hasher,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.at += read as u64;
        Ok(read)
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.file.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.hash.update(&self.file.buffer()[..bytes]);
        self.at += bytes as u64;
        self.file.consume(bytes);
    }
}

/// Finds all entries of a pack, in order. Stores large whole files, and notes them in `aside`.
pub(super) fn survey(work: &Work<'_>, pack: &Path, aside: &mut Aside) -> Result<Vec<Entry>, SiftError> {
    let file = BufReader::with_capacity(COPY_BYTES, File::open(pack)?);
    let mut reader = Reader { file, at: 0, hash: gix::hash::hasher(Sha1) };
    let mut head = [0; gix_pack::data::header::SIZE];
    reader.read_exact(&mut head)?;
    let (_, count) = gix_pack::data::header::decode(&head)?;
    let store = loose::Store::at(work.repo.objects.store_ref().path(), Sha1);
    let mut surveyor = Surveyor { work, store, reader, state: Decompress::new(true), aside };
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(surveyor.entry()?);
    }
    let mut reader = surveyor.reader;
    let found = reader.hash.clone().try_finalize()?;
    let mut said = [0; Sha1.len_in_bytes()];
    reader.read_exact(&mut said)?;
    if found.as_slice() != said {
        return Err(SiftError::Damaged("its checksum is not that of its bytes".to_owned()));
    }
    Ok(entries)
}

struct Surveyor<'a> {
    work: &'a Work<'a>,
    store: loose::Store,
    reader: Reader,
    state: Decompress,
    aside: &'a mut Aside,
}

impl Surveyor<'_> {
    fn entry(&mut self) -> Result<Entry, SiftError> {
        let offset = self.reader.at;
        let entry = gix_pack::data::Entry::from_read(&mut self.reader, offset, Sha1.len_in_bytes())?;
        let mut found = Entry {
            offset,
            data: self.reader.at,
            end: 0,
            header: entry.header,
            size: entry.decompressed_size,
            delta: None,
        };
        if found.header.is_base() && found.is_large(self.work.max_bytes) {
            self.store(&found)?;
        } else {
            let start = self.pass(found.size)?;
            if found.header.is_delta() {
                let (base, object) = delta::sizes(&mut &start[..]).map_err(damaged)?;
                found.delta = Some(Sizes { base: base as u64, object: object as u64 });
            }
        }
        found.end = self.reader.at;
        Self::check(&found)?;
        Ok(found)
    }

    /// Refuses objects that would fill any disk.
    fn check(entry: &Entry) -> Result<(), SiftError> {
        let made = entry.delta.map_or(0, |sizes| sizes.object).max(entry.size);
        if made > MAX_STORED_BYTES {
            return Err(SiftError::Beyond(format!(
                "it has a file of {made} bytes, more than are stored: {MAX_STORED_BYTES}"
            )));
        }
        Ok(())
    }

    /// Stores an entry as a loose object.
    fn store(&mut self, entry: &Entry) -> Result<(), SiftError> {
        Self::check(entry)?;
        if entry.header.as_kind() != Some(Kind::Blob) {
            return Err(not_a_file(entry.size, self.work.max_bytes));
        }
        let state = std::mem::replace(&mut self.state, Decompress::new(true));
        let stream = Inflated::again(&mut self.reader, state);
        let mut stream = Exact::new(stream, entry.size, self.work.meter, self.work.interrupt);
        let id = self.store.write_stream(Kind::Blob, entry.size, &mut stream)?;
        self.state = stream.into_inner().into_state();
        self.aside.insert(entry.offset, id);
        Ok(())
    }

    /// Inflates an entry of `size` bytes and returns its beginning.
    fn pass(&mut self, size: u64) -> Result<Vec<u8>, SiftError> {
        let state = std::mem::replace(&mut self.state, Decompress::new(true));
        let stream = Inflated::again(&mut self.reader, state);
        let mut stream = Exact::new(stream, size, self.work.meter, self.work.interrupt);
        let mut start = Vec::new();
        stream.by_ref().take(SIZES_BYTES as u64).read_to_end(&mut start)?;
        io::copy(&mut stream, &mut io::sink())?;
        self.state = stream.into_inner().into_state();
        Ok(start)
    }
}

pub(super) fn damaged(error: delta::Damaged) -> SiftError {
    SiftError::Damaged(error.to_string())
}

/// Makes the error for a large object without which no index can be read.
pub(super) fn not_a_file(size: u64, max_bytes: u64) -> SiftError {
    SiftError::Beyond(format!(
        "it has a directory or commit of {size} bytes, more than are worked on: {max_bytes}"
    ))
}
