//! Writes the rest of a pack.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use gix::hash::{Hasher, Kind::Sha1};
use gix_pack::data::entry::Header;

use super::super::disk;
use super::survey::Entry;
use super::{Aside, SiftError, Work};

const COPY_BYTES: usize = 64 << 10;

/// A writer that counts and hashes what passes through.
struct Writer<W> {
    to: W,
    at: u64,
    hash: Hasher,
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes a pack of those entries of `pack` that are not `aside` to `to`, and returns their number. Deltas to entries
/// that are aside name their bases by id; all others refer to them by offset as before.
pub(super) fn rewrite(
    work: &Work<'_>,
    pack: &Path,
    entries: &[Entry],
    aside: &Aside,
    to: &Path,
) -> Result<u32, SiftError> {
    let rest = || entries.iter().filter(|entry| !aside.contains_key(&entry.offset));
    let count = u32::try_from(rest().count()).map_err(|error| SiftError::Damaged(error.to_string()))?;
    let mut pack = BufReader::with_capacity(COPY_BYTES, File::open(pack)?);
    let to = BufWriter::with_capacity(COPY_BYTES, disk::create_anew(to)?);
    let mut writer = Writer { to, at: 0, hash: gix::hash::hasher(Sha1) };
    writer.write_all(&gix_pack::data::header::encode(gix_pack::data::Version::V2, count))?;
    let mut read = 0;
    // The new offsets of entries, by their old ones.
    let mut moved: Vec<(u64, u64)> = Vec::with_capacity(count as usize);
    for entry in rest() {
        if work.interrupt.load(Relaxed) {
            return Err(io::Error::other("stopped").into());
        }
        work.meter.listed();
        let at = writer.at;
        let header = match entry.base_offset()? {
            None => entry.header,
            Some(base) => match aside.get(&base) {
                Some(id) => Header::RefDelta { base_id: *id },
                None => {
                    let found = moved.binary_search_by_key(&base, |(was, _)| *was);
                    let found =
                        found.map_err(|_| SiftError::Damaged("a difference to nothing".to_owned()))?;
                    Header::OfsDelta { base_distance: at - moved[found].1 }
                }
            },
        };
        moved.push((entry.offset, at));
        header.write_to(entry.size, &mut writer)?;
        let before = i64::try_from(entry.data - read).map_err(io::Error::other)?;
        pack.seek_relative(before)?;
        read = entry.end;
        let bytes = entry.end - entry.data;
        if io::copy(&mut pack.by_ref().take(bytes), &mut writer)? != bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    let hash = writer.hash.clone().try_finalize()?;
    writer.to.write_all(hash.as_slice())?;
    writer.to.flush()?;
    Ok(count)
}
