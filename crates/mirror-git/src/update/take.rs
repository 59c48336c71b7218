//! Indexes a pack as it arrives, with a bound on the memory that one object of it may take.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use gix::error::Result;
use gix::{Count as _, DynNestedProgress};
use gix_pack::bundle::write::Options;

use super::disk;
use super::sift::{SiftError, Work, sift};
use super::supervise::{Meter, READ_BYTES, READ_OBJECTS};

/// Bytes of a pack before its first object: a signature, the version, the number of objects.
const HEAD_BYTES: usize = 12;
/// Memory that indexing takes for each object, whatever its size. A generous estimate.
const BYTES_PER_OBJECT: usize = 128;
const COPY_BYTES: usize = 64 << 10;
/// Bytes after which the guard checks whether an object was completed.
const LOOK_BYTES: u64 = 1 << 20;

/// The destination of a pack, and what is known about it.
pub(super) struct Place<'a> {
    /// The repository with the objects that the pack builds on; it receives those of the pack.
    pub(super) repo: &'a gix::Repository,
    /// Largest object to be processed in memory.
    pub(super) max_bytes: usize,
    pub(super) meter: &'a Meter,
    pub(super) interrupt: &'a AtomicBool,
}

impl Place<'_> {
    /// Indexes a pack as it arrives. When an object of it is too large, or made from a large one, the error is one of
    /// exhausted resources, unless the pack is to be taken `apart`: then it is written to a file first, and such
    /// objects become loose ones. Returns their number.
    ///
    /// Indexing takes memory in proportion to the number of objects. gix has one bound for that and for the memory of
    /// an object; where the first would allow too much of the second, the pack is also written to a file and checked.
    pub(super) fn take(
        &self,
        pack: &mut dyn BufRead,
        apart: bool,
        progress: &mut dyn DynNestedProgress,
    ) -> std::result::Result<u32, SiftError> {
        let mut head = [0; HEAD_BYTES];
        pack.read_exact(&mut head)?;
        let objects = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let mut whole = Cursor::new(head).chain(pack);
        if apart || alloc_limit(self.max_bytes, objects as usize) > self.max_bytes {
            return self.take_apart(&mut whole, progress);
        }
        let (meter, max_bytes) = (self.meter, self.max_bytes as u64);
        let mut guarded = Guard { pack: whole, meter, max_bytes, objects: 0, since: 0, looked: 0 };
        self.index(&mut guarded, objects, progress)?;
        Ok(0)
    }

    fn take_apart(
        &self,
        pack: &mut dyn BufRead,
        progress: &mut dyn DynNestedProgress,
    ) -> std::result::Result<u32, SiftError> {
        let &Self { repo, meter, interrupt, .. } = self;
        let (dir, max_bytes) = (repo.git_dir(), self.max_bytes as u64);
        let path = dir.join("received.pack");
        self.put_down(pack, &path, progress)?;
        let sifted = sift(&Work { repo, dir, max_bytes, meter, interrupt }, &path)?;
        let count = progress.add_child_with_id("aside".to_owned(), READ_OBJECTS);
        count.inc_by(sifted.aside as usize);
        if sifted.objects > 0 {
            let mut rest = BufReader::with_capacity(COPY_BYTES, File::open(&sifted.rest)?);
            self.index(&mut rest, sifted.objects, &mut meter.without_bytes())?;
        }
        for path in [path, sifted.rest] {
            disk::remove_file(&path).map_err(io::Error::other)?;
        }
        Ok(sifted.aside)
    }

    fn put_down(
        &self,
        pack: &mut dyn BufRead,
        path: &Path,
        progress: &mut dyn DynNestedProgress,
    ) -> io::Result<()> {
        let bytes = progress.add_child_with_id("read pack".to_owned(), READ_BYTES);
        let mut file = BufWriter::with_capacity(COPY_BYTES, disk::create_anew(path)?);
        loop {
            if self.interrupt.load(Relaxed) {
                return Err(io::Error::other("stopped"));
            }
            let part = pack.fill_buf()?;
            let len = part.len();
            if len == 0 {
                return file.flush();
            }
            file.write_all(part)?;
            pack.consume(len);
            bytes.inc_by(len);
        }
    }

    fn index(
        &self,
        pack: &mut dyn BufRead,
        objects: u32,
        progress: &mut dyn DynNestedProgress,
    ) -> Result<()> {
        let options = Options {
            alloc_limit_bytes: Some(alloc_limit(self.max_bytes, objects as usize)),
            thread_limit: threads(self.repo),
            ..Options::default()
        };
        let bases = Some(Box::new(self.repo.objects.clone()));
        let (dir, hash) = (self.repo.objects.store_ref().path().join("pack"), gix::hash::Kind::Sha1);
        let dir = Some(dir.as_path());
        gix_pack::Bundle::write_to_directory(pack, dir, progress, self.interrupt, bases, hash, options)
            .map(drop)
    }
}

/// Returns the bound on the memory for indexing a pack of so many objects, where an object has at most `max_bytes`.
pub(super) fn alloc_limit(max_bytes: usize, objects: usize) -> usize {
    max_bytes.max(objects.saturating_mul(BYTES_PER_OBJECT))
}

/// Returns the number of threads for indexing in git's configuration.
fn threads(repo: &gix::Repository) -> Option<usize> {
    let asked = repo.config_snapshot().integer("pack.threads")?;
    usize::try_from(asked).ok().filter(|threads| *threads > 0)
}

/// A reader that fails when an object does not end: until it does, its stored form is buffered.
struct Guard<'a, R> {
    pack: R,
    meter: &'a Meter,
    max_bytes: u64,
    /// The number of completed objects at the last check.
    objects: u64,
    /// Bytes since that number changed.
    since: u64,
    /// Bytes since the last check.
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
