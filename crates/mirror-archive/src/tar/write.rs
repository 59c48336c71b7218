use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use mirror_tar::{BLOCK_BYTES, END, EntryType, Header, MODE, padding};
use sha2::Digest as _;

use crate::engine::Block;
use crate::entry::{Entry, EntryKind};
use crate::error::ArchiveError;

const BUFFER_BYTES: usize = 256 * 1024;

/// Writes a tar block by block, and hashes it.
pub(crate) struct Packer {
    out: BufWriter<File>,
    sha256: sha2::Sha256,
    size_bytes: u64,
}

/// A complete tar, not yet synced.
pub(crate) struct Packed {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
}

impl Packer {
    pub(crate) fn new(file: File) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, file), sha256: sha2::Sha256::new(), size_bytes: 0 }
    }

    /// Appends the contents of a block.
    pub(crate) fn block(&mut self, block: &Block) -> Result<(), ArchiveError> {
        for piece in &block.pieces {
            let failed = ArchiveError::io("writing the tar at", &piece.entry.path);
            let mut piece = || -> io::Result<()> {
                if piece.first {
                    self.write_all(&encode(&header(&piece.entry)))?;
                }
                self.write_all(&block.data()[piece.range.clone()])?;
                if piece.last { self.pad() } else { Ok(()) }
            };
            piece().map_err(failed)?;
        }
        Ok(())
    }

    /// Adds a file whose contents `write` produces; they must be `size_bytes` long.
    pub(crate) fn file(
        &mut self,
        name: &[u8],
        size_bytes: u64,
        modified_s: i64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let header = Header {
            name: Cow::Borrowed(name),
            target: Cow::Borrowed(b""),
            size_bytes,
            modified_s,
            mode: MODE,
            kind: EntryType::Regular,
        };
        self.write_all(&encode(&header)).map_err(ArchiveError::io("writing the tar at", name))?;
        let begin = self.size_bytes;
        write(self)?;
        if self.size_bytes - begin != size_bytes {
            return Err(ArchiveError::Internal("the size of a file in the tar differs from its header"));
        }
        self.pad().map_err(ArchiveError::io("writing the tar at", name))
    }

    /// Writes the end mark.
    pub(crate) fn finish(mut self) -> Result<Packed, ArchiveError> {
        let done = self.write_all(&END).and_then(|()| self.out.flush());
        done.map_err(ArchiveError::io("writing the end of", b"the tar"))?;
        Ok(Packed { size_bytes: self.size_bytes, sha256: self.sha256.finalize().into() })
    }

    fn pad(&mut self) -> io::Result<()> {
        self.write_all(&[0; BLOCK_BYTES][..padding(self.size_bytes)])
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

/// Encodes a header with its PAX records, which are named after the member, below `PaxHeaders`.
fn encode(header: &Header<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK_BYTES);
    header.encode_into(&mut out, |name| [b"PaxHeaders/", name].concat());
    out
}

fn header(entry: &Entry) -> Header<'_> {
    let (kind, target, mode) = match &entry.kind {
        EntryKind::File => (EntryType::Regular, &[][..], entry.mode),
        EntryKind::Directory => (EntryType::Directory, &[][..], entry.mode),
        EntryKind::Symlink(target) => (EntryType::Symlink, target.as_slice(), 0o777),
    };
    let name = match kind {
        EntryType::Directory => Cow::Owned([&entry.path[..], b"/"].concat()),
        _ => Cow::Borrowed(entry.path.as_slice()),
    };
    let (size_bytes, modified_s) = (entry.size_bytes, entry.modified_s);
    Header { name, target: Cow::Borrowed(target), size_bytes, modified_s, mode, kind }
}
