//! The record of one entry in an inventory, and the spool in which a run collects records.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};

use crate::entry::{Entry, EntryKind};
use crate::error::ArchiveError;

/// One entry of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) path: Vec<u8>,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    File(FileRecord),
    Directory,
    Symlink(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRecord {
    pub(crate) size_bytes: u64,
    pub(crate) modified_s: i64,
    pub(crate) sha256: [u8; 32],
    pub(crate) blake3: [u8; 32],
}

impl Record {
    /// Makes the record of an entry that went through all tasks.
    pub(crate) fn of(entry: &Entry) -> Result<Self, ArchiveError> {
        let what = match &entry.kind {
            EntryKind::Directory => What::Directory,
            EntryKind::Symlink(target) => What::Symlink(target.clone()),
            EntryKind::File => {
                let missing = || ArchiveError::Internal("a file was not hashed");
                What::File(FileRecord {
                    size_bytes: entry.size_bytes,
                    modified_s: entry.modified_s,
                    sha256: *entry.digests.sha256.get().ok_or_else(missing)?,
                    blake3: *entry.digests.blake3.get().ok_or_else(missing)?,
                })
            }
        };
        Ok(Self { path: entry.path.clone(), what })
    }
}

/// Records on disk, because a large tree has more of them than memory should hold.
pub(crate) struct Spool {
    out: BufWriter<File>,
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) symlinks: u64,
    pub(crate) bytes: u64,
}

const WHAT: &str = "the list of entries";

impl Spool {
    pub(crate) fn new(file: File) -> Self {
        Self { out: BufWriter::new(file), files: 0, directories: 0, symlinks: 0, bytes: 0 }
    }

    pub(crate) fn push(&mut self, record: &Record) -> Result<(), ArchiveError> {
        match &record.what {
            What::File(file) => {
                self.files += 1;
                self.bytes += file.size_bytes;
            }
            What::Directory => self.directories += 1,
            What::Symlink(_) => self.symlinks += 1,
        }
        write(&mut self.out, record).map_err(ArchiveError::io("writing", WHAT.as_bytes()))
    }

    /// Passes every record to `each`, in order.
    pub(crate) fn replay(
        &mut self,
        mut each: impl FnMut(&Record) -> io::Result<()>,
    ) -> Result<(), ArchiveError> {
        let count = self.files + self.directories + self.symlinks;
        let mut replay = || -> io::Result<()> {
            self.out.flush()?;
            let mut file = self.out.get_ref().try_clone()?;
            file.rewind()?;
            let mut input = BufReader::new(file);
            for _ in 0..count {
                each(&read(&mut input)?)?;
            }
            Ok(())
        };
        replay().map_err(ArchiveError::io("going through", WHAT.as_bytes()))
    }
}

fn write(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let kind = match &record.what {
        What::File(_) => 0,
        What::Directory => 1,
        What::Symlink(_) => 2,
    };
    out.write_all(&[kind])?;
    text(out, &record.path)?;
    match &record.what {
        What::File(file) => {
            out.write_all(&file.size_bytes.to_le_bytes())?;
            out.write_all(&file.modified_s.to_le_bytes())?;
            out.write_all(&file.sha256)?;
            out.write_all(&file.blake3)
        }
        What::Directory => Ok(()),
        What::Symlink(target) => text(out, target),
    }
}

fn text(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(bytes)
}

fn read(input: &mut impl Read) -> io::Result<Record> {
    let [kind] = array(input)?;
    let path = bytes(input)?;
    let what = match kind {
        0 => What::File(FileRecord {
            size_bytes: u64::from_le_bytes(array(input)?),
            modified_s: i64::from_le_bytes(array(input)?),
            sha256: array(input)?,
            blake3: array(input)?,
        }),
        1 => What::Directory,
        _ => What::Symlink(bytes(input)?),
    };
    Ok(Record { path, what })
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut out = [0; N];
    input.read_exact(&mut out)?;
    Ok(out)
}

fn bytes(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let len = u64::from_le_bytes(array(input)?);
    let mut out = Vec::new();
    input.take(len).read_to_end(&mut out)?;
    Ok(out)
}
