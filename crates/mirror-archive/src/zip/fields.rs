//! The records of a ZIP, as PKWARE's APPNOTE 6.3 defines them, with the extra fields for times and large sizes.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::entry::{Entry, EntryKind};

/// The value of a field whose number is in the extra field for large sizes.
const ELSEWHERE: u32 = u32::MAX;
/// A file of this size has the form for large sizes from the beginning: with the heads of its deflate blocks, it may
/// end beyond the 32 bits.
const LARGE_BYTES: u64 = 0xf000_0000;
/// Version 4.5 of the format, which knows large sizes.
const VERSION: u16 = 45;
/// The attributes are those of Unix.
const UNIX: u16 = 3 << 8;
/// The name is UTF-8.
const UTF8: u16 = 1 << 11;
/// A descriptor with checksum and sizes follows the contents.
const DESCRIBED: u16 = 1 << 3;
/// The attribute of a directory in MS-DOS.
const DOS_DIRECTORY: u32 = 0x10;

/// The form in which the contents of a member are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// As they are; checksum and sizes are before them.
    Stored,
    /// As deflate; checksum and sizes are behind them.
    Deflated,
}

/// A member, as its headers describe it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    name: Vec<u8>,
    method: Method,
    modified_s: i64,
    attributes: u32,
    /// The offset of its header.
    offset: u64,
    /// True if its sizes have 64 bits behind its contents.
    is_large: bool,
    pub(super) crc: u32,
    pub(super) size_bytes: u64,
    pub(super) packed_bytes: u64,
}

impl Member {
    /// Describes an entry whose header is at `offset`; sizes and checksum are not known yet.
    pub(super) fn new(entry: &Entry, method: Method, offset: u64) -> Self {
        let (mut name, mut dos) = (entry.path.clone(), 0);
        let kind = match entry.kind {
            EntryKind::File => 0o100_000,
            EntryKind::Directory => {
                name.push(b'/');
                dos = DOS_DIRECTORY;
                0o040_000
            }
            EntryKind::Symlink(_) => 0o120_777,
        };
        Self {
            name,
            method,
            modified_s: entry.modified_s,
            attributes: (kind | (entry.mode & 0o7777)) << 16 | dos,
            offset,
            is_large: entry.size_bytes >= LARGE_BYTES,
            crc: 0,
            size_bytes: 0,
            packed_bytes: 0,
        }
    }

    /// Returns the header before the contents.
    pub(super) fn local_header(&self) -> Vec<u8> {
        let mut out = b"PK\x03\x04".to_vec();
        let mut extra = self.time_field();
        let (mut size, mut packed) = (small(self.size_bytes), small(self.packed_bytes));
        if self.method == Method::Deflated && self.is_large {
            (size, packed) = (ELSEWHERE, ELSEWHERE);
            // The sizes follow in the descriptor; the field says that they have 64 bits there.
            large_field(&mut extra, &[0, 0]);
        }
        self.begin_header(&mut out);
        put_u32s(&mut out, &[packed, size]);
        put_u16s(&mut out, &[len(&self.name), len(&extra)]);
        out.extend(&self.name);
        out.extend(&extra);
        out
    }

    /// Returns what follows contents whose header does not have their sizes.
    pub(super) fn descriptor(&self) -> Vec<u8> {
        let mut out = b"PK\x07\x08".to_vec();
        put_u32s(&mut out, &[self.crc]);
        if self.is_large {
            put_u64s(&mut out, &[self.packed_bytes, self.size_bytes]);
        } else {
            put_u32s(&mut out, &[small(self.packed_bytes), small(self.size_bytes)]);
        }
        out
    }

    /// Returns the header in the directory at the end.
    pub(super) fn central_header(&self) -> Vec<u8> {
        let mut out = b"PK\x01\x02".to_vec();
        put_u16s(&mut out, &[UNIX | VERSION]);
        let numbers = [self.size_bytes, self.packed_bytes, self.offset];
        let large: Vec<u64> = numbers.into_iter().filter(|number| small(*number) == ELSEWHERE).collect();
        let mut extra = self.time_field();
        if !large.is_empty() {
            large_field(&mut extra, &large);
        }
        self.begin_header(&mut out);
        put_u32s(&mut out, &[small(self.packed_bytes), small(self.size_bytes)]);
        // Neither a comment nor a disk number nor an internal attribute.
        put_u16s(&mut out, &[len(&self.name), len(&extra), 0, 0, 0]);
        put_u32s(&mut out, &[self.attributes, small(self.offset)]);
        out.extend(&self.name);
        out.extend(&extra);
        out
    }

    /// Appends what both headers have: version, flags, method, time and checksum.
    fn begin_header(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if !self.name.is_ascii() && std::str::from_utf8(&self.name).is_ok() {
            flags |= UTF8;
        }
        let method = match self.method {
            Method::Stored => 0,
            Method::Deflated => {
                flags |= DESCRIBED;
                8
            }
        };
        let [time, date] = dos_time(self.modified_s);
        put_u16s(out, &[VERSION, flags, method, time, date]);
        put_u32s(out, &[self.crc]);
    }

    /// Returns the extra field with the time in seconds since 1970, where 32 bits hold it.
    fn time_field(&self) -> Vec<u8> {
        let Ok(seconds) = i32::try_from(self.modified_s) else { return Vec::new() };
        let mut out = b"UT\x05\x00\x01".to_vec();
        out.extend(seconds.to_le_bytes());
        out
    }
}

/// The end of a ZIP: the place of the directory and the number of members in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) members: u64,
    pub(super) offset: u64,
    pub(super) size_bytes: u64,
}

impl Ends {
    pub(super) fn encode(self) -> Vec<u8> {
        let Self { members, offset, size_bytes } = self;
        let mut out = Vec::new();
        let count = u16::try_from(members).unwrap_or(u16::MAX);
        if count == u16::MAX || small(offset) == ELSEWHERE || small(size_bytes) == ELSEWHERE {
            out.extend(b"PK\x06\x06");
            // The length of what follows in this record.
            put_u64s(&mut out, &[44]);
            put_u16s(&mut out, &[UNIX | VERSION, VERSION]);
            put_u32s(&mut out, &[0, 0]);
            put_u64s(&mut out, &[members, members, size_bytes, offset]);
            out.extend(b"PK\x06\x07");
            put_u32s(&mut out, &[0]);
            put_u64s(&mut out, &[offset + size_bytes]);
            put_u32s(&mut out, &[1]);
        }
        out.extend(b"PK\x05\x06");
        put_u16s(&mut out, &[0, 0, count, count]);
        put_u32s(&mut out, &[small(size_bytes), small(offset)]);
        put_u16s(&mut out, &[0]);
        out
    }
}

/// Returns a number for a field of 32 bits, or the mark that it is elsewhere.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(ELSEWHERE)
}

/// Returns the length of a name, which is bounded, or of an extra field, which is short.
fn len(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

fn large_field(extra: &mut Vec<u8>, numbers: &[u64]) {
    put_u16s(extra, &[1, u16::try_from(8 * numbers.len()).unwrap_or(0)]);
    put_u64s(extra, numbers);
}

/// Returns time and date as MS-DOS has them, in UTC: from 1980 to 2107, with two seconds for each step.
fn dos_time(modified_s: i64) -> [u16; 2] {
    let Ok(time) = Timestamp::from_second(modified_s) else { return [0, 1 << 5 | 1] };
    let time = time.to_zoned(TimeZone::UTC).datetime();
    let Ok(years @ 0..=127) = u16::try_from(time.year() - 1980) else { return [0, 1 << 5 | 1] };
    let part = |number: i8| u16::try_from(number).unwrap_or(0);
    [
        part(time.hour()) << 11 | part(time.minute()) << 5 | (part(time.second()) / 2),
        years << 9 | part(time.month()) << 5 | part(time.day()),
    ]
}

fn put_u16s(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put_u32s(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put_u64s(out: &mut Vec<u8>, numbers: &[u64]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}
