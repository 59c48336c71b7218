use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes that are read by position. Any number of threads may read at the same time.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// Returns the length in bytes at the time of opening.
    fn len(&self) -> u64;

    /// Returns whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` from `offset`. Blocks.
    ///
    /// # Errors
    /// `UnexpectedEof` when there are fewer bytes; otherwise the error of their source.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Reads bytes from `offset`, as many as one call returns; returns their number, 0 at the end. Blocks.
    ///
    /// # Errors
    /// The error of the source of the bytes.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        match out.len().min(left) {
            0 => Ok(0),
            len => self.read_exact_at(&mut out[..len], offset).map(|()| len),
        }
    }

    /// Fills `out` from `offset` if that needs no waiting; otherwise returns `false`, and the contents of `out` are
    /// undefined. A source that cannot tell returns `false`.
    ///
    /// # Errors
    /// As [`ReadAt::read_exact_at`].
    fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        let _ = (out, offset);
        Ok(false)
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(out.len())?));
        let found = range.and_then(|range| self.get(range));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_exact_at(out, offset).map(|()| true)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Arc<R> {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(out, offset)
    }
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(out, offset)
    }
    fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        (**self).read_at_once(out, offset)
    }
}

/// Reads a source that is read by position from beginning to end, up to its length when this was made.
#[derive(Debug)]
pub struct SequentialReader<'a> {
    source: &'a dyn ReadAt,
    offset: u64,
    left: u64,
}

impl<'a> SequentialReader<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, offset: 0, left: source.len() }
    }
}

impl io::Read for SequentialReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        if most == 0 {
            return Ok(0);
        }
        let read = self.source.read_at(&mut out[..most], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A part of a source that is read by position.
#[derive(Debug)]
pub struct ReadPart<R> {
    source: R,
    start: u64,
    len: u64,
}

impl<R: ReadAt> ReadPart<R> {
    /// Takes `len` bytes from `start`; returns `None` when there are fewer.
    pub fn new(source: R, start: u64, len: u64) -> Option<Self> {
        let end = start.checked_add(len)?;
        (end <= source.len()).then_some(Self { source, start, len })
    }

    fn place(&self, out: &[u8], offset: u64) -> io::Result<u64> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.len);
        end.map(|_| self.start + offset).ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

impl<R: ReadAt> ReadAt for ReadPart<R> {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(out, self.place(out, offset)?)
    }
    fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        self.source.read_at_once(out, self.place(out, offset)?)
    }
}

/// A regular file, open for reading by position.
#[derive(Debug)]
pub struct FileReader {
    file: File,
    len: u64,
    modified: SystemTime,
}

impl FileReader {
    /// Wraps an open file; returns `None` when it is no regular one.
    ///
    /// # Errors
    /// When the system does not report the kind of file.
    pub fn of(file: File) -> io::Result<Option<Self>> {
        let meta = file.metadata()?;
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(meta.is_file().then_some(Self { file, len: meta.len(), modified }))
    }

    /// Returns the length in bytes at the time of opening.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the file was empty on opening.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the time of the last modification.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Fills `out` from `offset`. Blocks.
    ///
    /// # Errors
    /// When the file is shorter, or the disk fails.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.file, out, offset)
    }

    /// Fills `out` from `offset` if that needs no waiting; otherwise returns `false`, and the contents of `out` are
    /// undefined.
    ///
    /// # Errors
    /// When the file is shorter, or the disk fails.
    pub fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        read_at_once(&self.file, out, offset)
    }
}

impl ReadAt for FileReader {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.file, out, offset)
    }
    /// Reads from the file, which may have become shorter or longer.
    #[cfg(unix)]
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, out, offset)
    }
    #[cfg(windows)]
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, out, offset)
    }
    fn read_at_once(&self, out: &mut [u8], offset: u64) -> io::Result<bool> {
        read_at_once(&self.file, out, offset)
    }
}

/// Fills `out` from `offset` of a file. Where the system has no reads that leave the file's position alone (Windows),
/// the position moves. Blocks.
///
/// # Errors
/// `UnexpectedEof` when the file is shorter; otherwise the error of the disk.
#[cfg(unix)]
pub fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// Fills `out` from `offset` of a file; the file's position moves. Blocks.
///
/// # Errors
/// `UnexpectedEof` when the file is shorter; otherwise the error of the disk.
#[cfg(windows)]
pub fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn read_at_once(file: &File, out: &mut [u8], offset: u64) -> io::Result<bool> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let mut done = 0;
    while done < out.len() {
        let rest = &mut [io::IoSliceMut::new(&mut out[done..])];
        match preadv2(file, rest, offset + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            // Not in memory, or the file system cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
fn read_at_once(_: &File, _: &mut [u8], _: u64) -> io::Result<bool> {
    Ok(false)
}

/// Writes all of `data` at `offset` of a file. Several threads may write at the same time. Blocks.
///
/// # Errors
/// When the disk refuses.
#[cfg(unix)]
pub fn write_all_at(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, offset)
}

/// Writes all of `data` at `offset` of a file; the file's position moves. Blocks.
///
/// # Errors
/// When the disk refuses.
#[cfg(not(unix))]
pub fn write_all_at(file: &File, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, data, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = &data[written..];
        offset += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_memory_are_read_by_position() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("f");
        std::fs::write(&path, b"0123456789").expect("write");
        let file = FileReader::of(File::open(&path).expect("open")).expect("look").expect("a file");
        let part = ReadPart::new(Arc::new(b"ab0123456789cd".to_vec()), 2, 10).expect("a part");
        let sources: [&dyn ReadAt; 3] = [&file, &b"0123456789".to_vec(), &part];
        for source in sources {
            let mut out = [0; 4];
            source.read_exact_at(&mut out, 6).expect("read");
            assert_eq!((&out, source.len(), source.is_empty()), (b"6789", 10, false));
            for offset in [7, 10, 11, u64::MAX - 8] {
                let error = source.read_exact_at(&mut out, offset).expect_err("too far");
                // No file system has offsets of 64 bits.
                assert!(offset > 11 || error.kind() == io::ErrorKind::UnexpectedEof, "{offset}: {error}");
            }
            let mut all = [0; 20];
            for (offset, left) in [(8, 2), (10, 0), (11, 0)] {
                assert_eq!(source.read_at(&mut all, offset).expect("read"), left, "{offset}");
            }
            if source.read_at_once(&mut out, 1).expect("read") {
                assert_eq!(&out, b"1234");
            }
            source.read_exact_at(&mut [], 10).expect("nothing");
        }
        for (start, len) in [(5, 6), (11, 0), (u64::MAX, 2)] {
            assert!(ReadPart::new(b"0123456789".to_vec(), start, len).is_none(), "{start}, {len}");
        }
        #[cfg(unix)]
        assert!(FileReader::of(File::open(dir.path()).expect("open")).expect("look").is_none());
    }

    #[test]
    fn bytes_are_written_where_they_belong() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("f");
        let file = File::create(&path).expect("create");
        write_all_at(&file, b"cd", 2).expect("write");
        write_all_at(&file, b"ab", 0).expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"abcd");
    }
}
