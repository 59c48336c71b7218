use std::fs::File;
use std::io::{self, BufWriter, Write};

use sha2::Digest as _;

use super::header::{DIRECTORY, FILE, Header, SYMLINK, UNIT_BYTES};
use crate::engine::Block;
use crate::entry::{Entry, EntryKind};
use crate::error::ArchiveError;

const BUFFER_BYTES: usize = 256 * 1024;

/// Writes a tar as its contents come by, and hashes it.
pub(crate) struct Packer {
    out: BufWriter<File>,
    sha256: sha2::Sha256,
    size_bytes: u64,
}

/// A tar that is complete, not yet synced.
pub(crate) struct Packed {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
}

impl Packer {
    pub(crate) fn new(file: File) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, file), sha256: sha2::Sha256::new(), size_bytes: 0 }
    }

    /// Takes the next contents.
    pub(crate) fn block(&mut self, block: &Block) -> Result<(), ArchiveError> {
        for piece in &block.pieces {
            let failed = ArchiveError::io("writing the tar at", &piece.entry.path);
            let mut piece = || -> io::Result<()> {
                if piece.first {
                    self.write_all(&header(&piece.entry).encode())?;
                }
                self.write_all(&block.data()[piece.range.clone()])?;
                if piece.last { self.pad() } else { Ok(()) }
            };
            piece().map_err(failed)?;
        }
        Ok(())
    }

    /// Adds a file whose contents `write` produces; they must have `size_bytes`.
    pub(crate) fn file(
        &mut self,
        name: &[u8],
        size_bytes: u64,
        modified_s: i64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let header = Header {
            name: name.to_vec(),
            target: Vec::new(),
            size_bytes,
            modified_s,
            mode: 0o644,
            kind: FILE,
        };
        self.write_all(&header.encode()).map_err(ArchiveError::io("writing the tar at", name))?;
        let begin = self.size_bytes;
        write(self)?;
        if self.size_bytes - begin != size_bytes {
            return Err(ArchiveError::Internal("a file of the tar has another size than its header says"));
        }
        self.pad().map_err(ArchiveError::io("writing the tar at", name))
    }

    /// Writes the end mark.
    pub(crate) fn finish(mut self) -> Result<Packed, ArchiveError> {
        let done = self.write_all(&[0; 2 * UNIT_BYTES]).and_then(|()| self.out.flush());
        done.map_err(ArchiveError::io("writing the end of", b"the tar"))?;
        Ok(Packed { size_bytes: self.size_bytes, sha256: self.sha256.finalize().into() })
    }

    fn pad(&mut self) -> io::Result<()> {
        let unit = UNIT_BYTES as u64;
        let beyond = usize::try_from(self.size_bytes % unit).unwrap_or(0);
        if beyond == 0 { Ok(()) } else { self.write_all(&[0; UNIT_BYTES][beyond..]) }
    }
}

impl Write for Packer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.out.write_all(data)?;
        self.sha256.update(data);
        self.size_bytes += data.len() as u64;
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn header(entry: &Entry) -> Header {
    let (kind, target, mode) = match &entry.kind {
        EntryKind::File => (FILE, Vec::new(), entry.mode),
        EntryKind::Directory => (DIRECTORY, Vec::new(), entry.mode),
        EntryKind::Symlink(target) => (SYMLINK, target.clone(), 0o777),
    };
    let mut name = entry.path.clone();
    if kind == DIRECTORY {
        name.push(b'/');
    }
    Header { name, target, size_bytes: entry.size_bytes, modified_s: entry.modified_s, mode, kind }
}
