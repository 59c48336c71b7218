//! Reads the members of a tar as blocks, to check them. Strict: anything that [`super::Packer`] does
//! not write is damage. Writes nothing, and uses no name as a path.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use mirror_tar::{BLOCK_BYTES as UNIT_BYTES, CheckedBlock, EntryType, HeaderFault, RecordFault, is_zero};

use crate::engine::{BLOCK_BYTES, Block, Piece, Source};
use crate::entry::{Digests, Entry, EntryKind};
use crate::error::ArchiveError;
use crate::monitor::Monitor;
use crate::names::{MAX_PATH_BYTES, is_plain};
use crate::source::Sink;

/// Longest PAX records of one member, bytes: its path and the target of a link.
const MAX_PAX_BYTES: u64 = 2 * MAX_PATH_BYTES as u64 + 1024;

enum Expect {
    Header,
    /// PAX records, with their size and padding.
    Pax {
        left: usize,
        size: usize,
    },
    /// Contents and their padding.
    Content {
        entry: Arc<Entry>,
        left: u64,
        begun: bool,
    },
    /// The second unit of zeros.
    Zeros,
    /// Nothing more.
    End,
    /// Damage was found; the rest is only hashed.
    Lost,
}

/// Reads a tar.
pub(crate) struct Unpacker<'a, S> {
    file: File,
    /// Name of the member that is no part of the directory.
    metadata: Vec<u8>,
    expect: Expect,
    pax: Option<Vec<u8>>,
    /// The offset of the next unit in the tar.
    offset: u64,
    /// The first fault, and its offset.
    pub(crate) damage: Option<(u64, &'static str)>,
    ended: bool,
    monitor: &'a Monitor,
    pub(crate) sink: S,
}

impl<'a, S: Sink> Unpacker<'a, S> {
    pub(crate) fn new(file: File, metadata: &str, monitor: &'a Monitor, sink: S) -> Self {
        Self {
            file,
            metadata: metadata.as_bytes().to_vec(),
            expect: Expect::Header,
            pax: None,
            offset: 0,
            damage: None,
            ended: false,
            monitor,
            sink,
        }
    }

    fn lost(&mut self, why: &'static str) {
        self.damage.get_or_insert((self.offset, why));
        self.expect = Expect::Lost;
    }

    /// Takes one unit, which begins at `at` in the block.
    fn unit(&mut self, block: &mut Block, at: usize) {
        let mut unit = [0; UNIT_BYTES];
        unit.copy_from_slice(&block.data()[at..at + UNIT_BYTES]);
        match &mut self.expect {
            Expect::Header => match self.header(&unit) {
                Ok(expect) => {
                    // An empty member has no units.
                    if let Expect::Content { entry, left: 0, .. } = expect {
                        block.pieces.push(Piece { entry, range: at..at, first: true, last: true });
                        self.expect = Expect::Header;
                    } else {
                        self.expect = expect;
                    }
                }
                Err(why) => self.lost(why),
            },
            Expect::Pax { left, size } => {
                let pax = self.pax.get_or_insert_default();
                pax.extend_from_slice(&unit);
                *left -= UNIT_BYTES;
                if *left == 0 {
                    let padding = pax.split_off(*size);
                    self.expect = Expect::Header;
                    if !is_zero(&padding) {
                        self.lost("padding that is not zero");
                    }
                }
            }
            Expect::Content { entry, left, begun } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(UNIT_BYTES);
                *left -= taken as u64;
                let last = *left == 0;
                let range = at..at + taken;
                match block.pieces.last_mut() {
                    Some(piece) if Arc::ptr_eq(&piece.entry, entry) => {
                        piece.range.end = range.end;
                        piece.last = last;
                    }
                    _ => {
                        let first = !std::mem::replace(begun, true);
                        block.pieces.push(Piece { entry: Arc::clone(entry), range, first, last });
                    }
                }
                if last {
                    self.expect = Expect::Header;
                    if !is_zero(&unit[taken..]) {
                        self.lost("padding that is not zero");
                    }
                }
            }
            Expect::Zeros if is_zero(&unit) => self.expect = Expect::End,
            Expect::Zeros => self.lost("half an end mark"),
            Expect::End => self.lost("bytes after the end mark"),
            Expect::Lost => {}
        }
        self.offset += UNIT_BYTES as u64;
    }

    fn header(&mut self, unit: &[u8; UNIT_BYTES]) -> Result<Expect, &'static str> {
        if is_zero(unit) {
            return if self.pax.is_some() { Err("PAX records without a member") } else { Ok(Expect::Zeros) };
        }
        let block = CheckedBlock::new(unit).map_err(unlike_ours)?;
        let mut header = block.header().map_err(unlike_ours)?;
        if header.kind == EntryType::XHeader {
            if self.pax.is_some() || header.size_bytes == 0 || header.size_bytes > MAX_PAX_BYTES {
                return Err("PAX records of an unsupported size");
            }
            let size = usize::try_from(header.size_bytes).unwrap_or(0);
            return Ok(Expect::Pax { left: size.next_multiple_of(UNIT_BYTES), size });
        }
        if let Some(records) = self.pax.take() {
            header.apply(&records).map_err(|fault| match fault {
                RecordFault::Key => "an unsupported PAX record",
                _ => "damaged PAX records",
            })?;
        }
        let (mut name, target) = (header.name.into_owned(), header.target.into_owned());
        let kind = match header.kind {
            EntryType::Regular if !block.is_of_old_kind() => EntryKind::File,
            EntryType::Directory if name.pop() == Some(b'/') => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink(target),
            _ => return Err("a member of an unsupported kind"),
        };
        if !is_plain(&name) || (kind != EntryKind::File && header.size_bytes != 0) {
            return Err("a member of an unsupported form");
        }
        let entry = Entry {
            is_metadata: name == self.metadata,
            path: name,
            kind,
            size_bytes: header.size_bytes,
            modified_s: header.modified_s,
            mode: header.mode,
            digests: Digests::default(),
        };
        Ok(Expect::Content { left: entry.size_bytes, entry: Arc::new(entry), begun: false })
    }
}

fn unlike_ours(fault: HeaderFault) -> &'static str {
    match fault {
        HeaderFault::Checksum => "a header with a wrong checksum",
        HeaderFault::Format => "a header that is not POSIX tar",
        HeaderFault::Size => "a size that is not a number",
        HeaderFault::Name => "a name that continues after its end",
        _ => "a mode, an owner or a time that is not a number",
    }
}

impl<S: Sink> Source for Unpacker<'_, S> {
    fn fill(&mut self, block: &mut Block) -> Result<bool, ArchiveError> {
        while !self.ended && block.len() < BLOCK_BYTES {
            match self.file.read(block.room()) {
                Ok(0) => self.ended = true,
                Ok(bytes) => block.filled(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::io("reading", b"the tar")(error)),
            }
        }
        let units = block.len() / UNIT_BYTES;
        for number in 0..units {
            self.unit(block, number * UNIT_BYTES);
        }
        if self.ended && (!block.len().is_multiple_of(UNIT_BYTES) || !matches!(self.expect, Expect::End)) {
            self.lost("the tar ends too early, or in the middle of a unit");
        }
        Ok(block.len() > 0)
    }

    fn retire(&mut self, block: &Block) -> Result<(), ArchiveError> {
        let mut files = 0;
        for piece in block.pieces.iter().filter(|piece| piece.last) {
            files += u64::from(piece.entry.is_file());
            self.sink.entry(&piece.entry)?;
        }
        self.monitor.add(files, block.len() as u64);
        Ok(())
    }
}
