//! Writes a ZIP block by block, in one pass and without seeking: for receivers without tar.
//!
//! Nothing is compressed: releases are compressed already. A file that lies in one block is stored, its checksum before
//! it. Of a larger one the checksum is known only at its end, where readers of a stream must find that end: its bytes
//! are blocks of deflate that are not compressed, and a descriptor follows them.
//!
//! Libraries for ZIP keep a record of every file in memory until the end, and take names as text. A mirror has millions
//! of files, and a directory may have names that are not UTF-8; hence this writer.

mod fields;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, Write};

use sha2::Digest as _;

use crate::engine::{Block, Piece};
use crate::entry::{Entry, EntryKind};
use crate::error::ArchiveError;
use crate::tar::Packed;
use fields::{Ends, Member, Method};

const BUFFER_BYTES: usize = 256 * 1024;
/// Most bytes in a block of deflate that is not compressed.
const RAW_BLOCK_BYTES: usize = 65_535;

/// Writes a ZIP block by block, and hashes it.
pub(crate) struct Zipper {
    out: BufWriter<File>,
    sha256: sha2::Sha256,
    size_bytes: u64,
    /// The central directory so far: a large tree has more of it than memory should hold.
    directory: BufWriter<File>,
    members: u64,
    /// The file that earlier blocks began.
    open: Option<Open>,
}

/// A file of which not all was written.
struct Open {
    member: Member,
    crc: crc32fast::Hasher,
}

impl Zipper {
    /// Writes the ZIP to `out`, and spools its directory in `directory`; both are empty files.
    pub(crate) fn new(out: File, directory: File) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
            sha256: sha2::Sha256::new(),
            size_bytes: 0,
            directory: BufWriter::with_capacity(BUFFER_BYTES, directory),
            members: 0,
            open: None,
        }
    }

    /// Appends the contents of a block.
    pub(crate) fn block(&mut self, block: &Block) -> Result<(), ArchiveError> {
        for piece in &block.pieces {
            let failed = ArchiveError::io("writing the ZIP at", &piece.entry.path);
            self.piece(piece, &block.data()[piece.range.clone()]).map_err(failed)?;
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Piece, data: &[u8]) -> io::Result<()> {
        let entry = &piece.entry;
        match &entry.kind {
            EntryKind::Directory => return self.whole(entry, &[]),
            EntryKind::Symlink(target) => return self.whole(entry, target),
            EntryKind::File if piece.first && piece.last => return self.whole(entry, data),
            EntryKind::File => {}
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(entry)?,
        };
        open.crc.update(data);
        let before = self.size_bytes;
        let mut blocks = data.chunks(RAW_BLOCK_BYTES).peekable();
        while let Some(raw) = blocks.next() {
            self.raw_block(raw, piece.last && blocks.peek().is_none())?;
        }
        open.member.packed_bytes += self.size_bytes - before;
        open.member.size_bytes += data.len() as u64;
        if !piece.last {
            self.open = Some(open);
            return Ok(());
        }
        open.member.crc = open.crc.finalize();
        let descriptor = open.member.descriptor();
        self.put(&descriptor)?;
        self.list(&open.member)
    }

    /// Writes a member whose contents are at hand.
    fn whole(&mut self, entry: &Entry, data: &[u8]) -> io::Result<()> {
        let mut member = Member::new(entry, Method::Stored, self.size_bytes);
        member.crc = crc32fast::hash(data);
        (member.size_bytes, member.packed_bytes) = (data.len() as u64, data.len() as u64);
        let header = member.local_header();
        self.put(&header)?;
        self.put(data)?;
        self.list(&member)
    }

    fn begin(&mut self, entry: &Entry) -> io::Result<Open> {
        let member = Member::new(entry, Method::Deflated, self.size_bytes);
        let header = member.local_header();
        self.put(&header)?;
        Ok(Open { member, crc: crc32fast::Hasher::new() })
    }

    /// Writes a block of deflate (RFC 1951, section 3.2.4).
    fn raw_block(&mut self, data: &[u8], is_last: bool) -> io::Result<()> {
        let len = u16::try_from(data.len()).map_err(io::Error::other)?;
        let ([a, b], [c, d]) = (len.to_le_bytes(), (!len).to_le_bytes());
        self.put(&[u8::from(is_last), a, b, c, d])?;
        self.put(data)
    }

    /// Adds a member to the directory.
    fn list(&mut self, member: &Member) -> io::Result<()> {
        self.members += 1;
        self.directory.write_all(&member.central_header())
    }

    /// Writes the directory and what ends the file.
    pub(crate) fn finish(mut self) -> Result<Packed, ArchiveError> {
        if self.open.is_some() {
            return Err(ArchiveError::Internal("a file in the ZIP has no end"));
        }
        self.end().map_err(ArchiveError::io("writing the end of", b"the ZIP"))?;
        Ok(Packed { size_bytes: self.size_bytes, sha256: self.sha256.finalize().into() })
    }

    fn end(&mut self) -> io::Result<()> {
        self.directory.flush()?;
        let mut spooled = self.directory.get_ref().try_clone()?;
        spooled.rewind()?;
        let offset = self.size_bytes;
        io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, spooled), self)?;
        let ends = Ends { members: self.members, offset, size_bytes: self.size_bytes - offset };
        self.put(&ends.encode())?;
        self.out.flush()
    }

    fn put(&mut self, data: &[u8]) -> io::Result<()> {
        self.out.write_all(data)?;
        self.sha256.update(data);
        self.size_bytes += data.len() as u64;
        Ok(())
    }
}

impl Write for Zipper {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.put(data)?;
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
