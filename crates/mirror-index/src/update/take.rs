//! A pack is taken in: indexed as it arrives, with a bound on what one object of it may take of memory.

use std::io::{self, BufRead, Cursor, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::DynNestedProgress;
use gix::error::Result;
use gix_pack::bundle::write::Options;

use super::supervise::Meter;

/// Bytes of a pack before its first object: a signature, the version, the number of objects.
const HEAD_BYTES: usize = 12;
/// Memory that indexing takes for each object, whatever its size. Generous.
const BYTES_PER_OBJECT: usize = 128;
/// After so many bytes it is asked whether an object has come to its end.
const LOOK_BYTES: u64 = 1 << 20;

/// Indexes a pack and puts it beside the objects of `repo`. When an object of it is larger than `max_bytes`, or made
/// of one that is, the error is one of exhausted resources; memory for the objects' own is in proportion to their
/// number.
pub(super) fn take(
    repo: &gix::Repository,
    max_bytes: usize,
    pack: &mut dyn BufRead,
    progress: &mut dyn DynNestedProgress,
    meter: &Meter,
    interrupt: &AtomicBool,
) -> Result<()> {
    let mut head = [0; HEAD_BYTES];
    pack.read_exact(&mut head).map_err(gix::Error::from_error)?;
    let objects = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let whole = Cursor::new(head).chain(pack);
    let mut guarded =
        Guard { pack: whole, meter, max_bytes: max_bytes as u64, objects: 0, since: 0, looked: 0 };
    let options = Options {
        alloc_limit_bytes: Some(max_bytes.max(objects.saturating_mul(BYTES_PER_OBJECT))),
        thread_limit: threads(repo),
        ..Options::default()
    };
    let bases = Some(Box::new(repo.objects.clone()));
    let dir = repo.objects.store_ref().path().join("pack");
    write(&mut guarded, &dir, progress, interrupt, bases, options)
}

fn write(
    pack: &mut dyn BufRead,
    dir: &Path,
    progress: &mut dyn DynNestedProgress,
    interrupt: &AtomicBool,
    bases: Option<Box<gix::OdbHandle>>,
    options: Options,
) -> Result<()> {
    let hash = gix::hash::Kind::Sha1;
    gix_pack::Bundle::write_to_directory(pack, Some(dir), progress, interrupt, bases, hash, options).map(drop)
}

/// Returns on how many threads git's configuration has packs indexed.
fn threads(repo: &gix::Repository) -> Option<usize> {
    let asked = repo.config_snapshot().integer("pack.threads")?;
    usize::try_from(asked).ok().filter(|threads| *threads > 0)
}

/// Fails when an object does not come to its end: an object is held as it is stored until it does.
struct Guard<'a, R> {
    pack: R,
    meter: &'a Meter,
    max_bytes: u64,
    /// How many objects had come to their end when that was asked last.
    objects: u64,
    /// Bytes since another one had.
    since: u64,
    /// Bytes since it was asked.
    looked: u64,
}

impl<R> Guard<'_, R> {
    fn count(&mut self, bytes: usize) -> io::Result<()> {
        self.looked += bytes as u64;
        if self.looked < LOOK_BYTES.min(self.max_bytes) {
            return Ok(());
        }
        let objects = self.meter.received().1;
        self.since = if objects == self.objects { self.since + self.looked } else { 0 };
        (self.objects, self.looked) = (objects, 0);
        if self.since > self.max_bytes {
            let text = format!("an object of the pack takes more than {} bytes", self.max_bytes);
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
        }
        Ok(())
    }
}

impl<R: Read> Read for Guard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pack.read(buffer)?;
        self.count(read)?;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Guard<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.count(0)?;
        self.pack.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.looked += bytes as u64;
        self.pack.consume(bytes);
    }
}
