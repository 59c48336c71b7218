//! Tar headers: made in one form, and read in that form and in the one that Go's `archive/tar` writes.
//!
//! What is accepted means the same to GNU tar and to Python's tarfile; what they might read in two ways is
//! refused.

use std::io::{self, Read};

use mirror_types::{Layout, ReleaseId};

use crate::fault::{BundleFault, Trouble};
use crate::limits::BundleLimits;
use crate::names::member_of;

/// Everything in a tar file is made of blocks of so many bytes.
pub(crate) const BLOCK: usize = 512;
/// The end of an archive.
pub(crate) const END: [u8; 1024] = [0; 1024];
const NAME: usize = 100;
/// Longest PAX header that is read: a path and a few times.
const MAX_PAX: u64 = 4096;

/// A regular file of a bundle, its data following.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) id: ReleaseId,
    pub(crate) layout: Layout,
    pub(crate) size: u64,
}

/// The next part of an archive.
#[derive(Debug)]
pub(crate) enum Step {
    Member(Entry),
    /// Both blocks of zeros were read.
    End,
    /// Nothing stands there at all.
    Nothing,
}

/// Returns the number of bytes up to the next block.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// Returns the unpacked size of a frame in bytes: headers, data, padding.
pub(crate) fn framed_size(path: &str, size: u64) -> u64 {
    let mut headers = Vec::new();
    write_headers(&mut headers, path, size);
    headers.len() as u64 + size + padding(size) as u64
}

/// Appends the headers of a file to `out`.
pub(crate) fn write_headers(out: &mut Vec<u8>, path: &str, size: u64) {
    if path.len() > NAME {
        let record = pax_record("path", path);
        let name = format!("PaxHeaders.0/{}", &path[path.len() - 80..].replace('/', "_"));
        header(out, &name, b'x', record.len() as u64);
        out.extend_from_slice(record.as_bytes());
        out.resize(out.len() + padding(record.len() as u64), 0);
    }
    header(out, &path[..path.len().min(NAME)], b'0', size);
}

/// Returns `LEN KEY=VALUE\n`, where LEN counts itself.
fn pax_record(key: &str, value: &str) -> String {
    let body = key.len() + value.len() + 3;
    let mut len = body + 1;
    while len != body + len.to_string().len() {
        len = body + len.to_string().len();
    }
    format!("{len} {key}={value}\n")
}

fn header(out: &mut Vec<u8>, name: &str, kind: u8, size: u64) {
    let start = out.len();
    out.resize(start + BLOCK, 0);
    let block = &mut out[start..];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..337].copy_from_slice(b"0000000\0");
    block[337..345].copy_from_slice(b"0000000\0");
    let sum = checksum(block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Returns the sum of all bytes of a header, with the field of the checksum taken as spaces.
fn checksum(block: &[u8]) -> u32 {
    let whole: u32 = block.iter().map(|&b| u32::from(b)).sum();
    let field: u32 = block[148..156].iter().map(|&b| u32::from(b)).sum();
    whole - field + 8 * u32::from(b' ')
}

/// Reads up to the data of the next member. `input` must give whole blocks.
pub(crate) fn step(input: &mut impl Read, limits: &BundleLimits) -> Result<Step, Trouble> {
    let Some(block) = read_block(input)? else { return Ok(Step::Nothing) };
    if is_zero(&block) {
        return match read_block(input)? {
            Some(second) if is_zero(&second) => Ok(Step::End),
            _ => Err(BundleFault::MissingTrailer.into()),
        };
    }
    let first = Header::parse(&block)?;
    let (header, long) = if first.kind == b'x' {
        let pax = read_pax(input, first.size)?;
        let Some(block) = read_block(input)? else { return Err(BundleFault::Torn.into()) };
        (Header::parse(&block)?, Some(pax))
    } else {
        (first, None)
    };
    let path = match long {
        Some(pax) => pax.path_beside(&header)?,
        None => header.path,
    };
    let size = header.size;
    if let Err(fault) = kind_of(header.kind) {
        return Err(Trouble::Of(path, fault));
    }
    let (path, id, layout) = member_of(path).map_err(|(path, fault)| Trouble::Of(path, fault))?;
    let limit = limits.member_bytes;
    if size > limit {
        return Err(Trouble::Of(path, BundleFault::TooLarge { size, limit }));
    }
    Ok(Step::Member(Entry { path, id, layout, size }))
}

/// Reads what fills the block after data of `size` bytes.
pub(crate) fn skip_padding(input: &mut impl Read, size: u64) -> Result<(), Trouble> {
    let mut pad = [0; BLOCK];
    let pad = &mut pad[..padding(size)];
    input.read_exact(pad).map_err(torn)?;
    if is_zero(pad) { Ok(()) } else { Err(BundleFault::Padding.into()) }
}

/// Checks that only zeros follow the end of an archive.
pub(crate) fn only_zeros(input: &mut impl Read) -> Result<(), Trouble> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            n if is_zero(&buffer[..n]) => {}
            _ => return Err(BundleFault::TrailingData.into()),
        }
    }
}

pub(crate) fn torn(error: io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::UnexpectedEof { BundleFault::Torn.into() } else { error.into() }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

/// Reads one block; `None` at the end of the input.
fn read_block(input: &mut impl Read) -> Result<Option<[u8; BLOCK]>, Trouble> {
    let mut block = [0; BLOCK];
    let mut have = 0;
    while have < BLOCK {
        match input.read(&mut block[have..])? {
            0 if have == 0 => return Ok(None),
            0 => return Err(BundleFault::Torn.into()),
            n => have += n,
        }
    }
    Ok(Some(block))
}

fn kind_of(kind: u8) -> Result<(), BundleFault> {
    Err(match kind {
        b'0' | 0 => return Ok(()),
        b'1' | b'2' => BundleFault::Link,
        b'3' | b'4' => BundleFault::Device,
        b'5' | b'D' => BundleFault::Directory,
        b'6' => BundleFault::Fifo,
        b'L' | b'K' | b'N' => BundleFault::GnuLongName,
        b'S' => BundleFault::Sparse,
        b'g' => BundleFault::PaxGlobal,
        other => BundleFault::ForeignType(other),
    })
}

struct Header {
    path: String,
    kind: u8,
    size: u64,
}

impl Header {
    fn parse(block: &[u8; BLOCK]) -> Result<Self, BundleFault> {
        if number(&block[148..156]) != Some(u64::from(checksum(block))) {
            return Err(BundleFault::HeaderChecksum);
        }
        let kind = block[156];
        // Named before the form is looked at: GNU's own types come with GNU's own magic.
        if kind != b'x' {
            kind_of(kind)?;
        }
        if &block[257..265] != b"ustar\x0000" {
            return Err(BundleFault::Header("it is of another format"));
        }
        for field in [100..108, 108..116, 116..124, 136..148] {
            number(&block[field]).ok_or(BundleFault::Header("a number is not octal"))?;
        }
        // Of no meaning for files, yet Python ends the archive silently at a header where they are no numbers.
        for field in [329..337, 337..345] {
            if number(&block[field.clone()]).is_none() && !is_zero(&block[field]) {
                return Err(BundleFault::Header("a device number is not octal"));
            }
        }
        let size = number(&block[124..136]).ok_or(BundleFault::Header("its size is not octal"))?;
        if text(&block[157..257]) != Some("") {
            return Err(BundleFault::Header("it has the target of a link"));
        }
        let name = text(&block[..NAME]).ok_or(BundleFault::Header("its name is not plain ASCII"))?;
        let prefix = text(&block[345..500]).ok_or(BundleFault::Header("its prefix is not plain ASCII"))?;
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        Ok(Self { path, kind, size })
    }
}

/// Parses octal digits, followed only by spaces and zero bytes. Refuses base-256 numbers and signs.
fn number(field: &[u8]) -> Option<u64> {
    let digits = field.iter().take_while(|b| matches!(b, b'0'..=b'7')).count();
    if digits == 0 || field[digits..].iter().any(|b| !matches!(b, b' ' | 0)) {
        return None;
    }
    std::str::from_utf8(&field[..digits]).ok().and_then(|text| u64::from_str_radix(text, 8).ok())
}

/// Returns printable ASCII up to the first zero byte, behind which only zero bytes may follow.
fn text(field: &[u8]) -> Option<&str> {
    let len = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    let plain = field[..len].iter().all(|b| (0x20..0x7f).contains(b)) && is_zero(&field[len..]);
    plain.then(|| std::str::from_utf8(&field[..len]).ok()).flatten()
}

/// The statements of a PAX header about the member after it.
#[derive(Default)]
struct Pax {
    path: Option<String>,
    size: Option<u64>,
}

fn read_pax(input: &mut impl Read, size: u64) -> Result<Pax, Trouble> {
    if size == 0 || size > MAX_PAX {
        return Err(BundleFault::PaxMalformed.into());
    }
    let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
    input.read_exact(&mut data).map_err(torn)?;
    skip_padding(input, size)?;
    Ok(Pax::parse(&data)?)
}

impl Pax {
    fn parse(data: &[u8]) -> Result<Self, BundleFault> {
        let mut pax = Self::default();
        let mut rest = std::str::from_utf8(data).map_err(|_| BundleFault::PaxMalformed)?;
        while !rest.is_empty() {
            let (digits, _) = rest.split_once(' ').ok_or(BundleFault::PaxMalformed)?;
            let plain = !digits.is_empty() && digits.len() < 5 && !digits.starts_with('0');
            let len: usize = match digits.parse() {
                Ok(len) if plain && digits.bytes().all(|b| b.is_ascii_digit()) => len,
                _ => return Err(BundleFault::PaxMalformed),
            };
            let record = rest.get(digits.len() + 1..len).and_then(|r| r.strip_suffix('\n'));
            let (key, value) =
                record.and_then(|record| record.split_once('=')).ok_or(BundleFault::PaxMalformed)?;
            pax.take(key, value)?;
            rest = &rest[len..];
        }
        Ok(pax)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), BundleFault> {
        match key {
            "path" if self.path.is_none() && !value.contains(['\0', '\n']) => {
                self.path = Some(value.to_owned());
            }
            "size" if self.size.is_none() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.size = Some(value.parse().map_err(|_| BundleFault::PaxMalformed)?);
            }
            "path" | "size" => return Err(BundleFault::PaxMalformed),
            sparse if sparse.starts_with("GNU.sparse") => return Err(BundleFault::Sparse),
            "linkpath" => return Err(BundleFault::Link),
            other => return Err(BundleFault::PaxKey(other.chars().take(40).collect())),
        }
        Ok(())
    }

    /// Returns the path, when it is only longer than the header's and everything else is the same.
    fn path_beside(self, header: &Header) -> Result<String, BundleFault> {
        if self.size.is_some_and(|size| size != header.size) {
            return Err(BundleFault::PaxOverride("size"));
        }
        match self.path {
            None => Ok(header.path.clone()),
            Some(path) if path == header.path => Ok(path),
            // The header has the beginning of a path that is too long for it.
            Some(path) if path.len() > NAME && !header.path.is_empty() && path.starts_with(&header.path) => {
                Ok(path)
            }
            Some(_) => Err(BundleFault::PaxOverride("path")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(bytes: &[u8]) -> Result<Step, Trouble> {
        step(&mut &bytes[..], &BundleLimits::default())
    }

    #[test]
    fn a_header_is_the_one_that_the_tar_crate_writes() {
        let mut ours = Vec::new();
        write_headers(&mut ours, "s/er/serde-1.0.0.crate", 5);
        let mut theirs = tar::Header::new_ustar();
        theirs.set_path("s/er/serde-1.0.0.crate").expect("path");
        theirs.set_size(5);
        theirs.set_mode(0o644);
        theirs.set_uid(0);
        theirs.set_gid(0);
        theirs.set_mtime(0);
        theirs.set_device_major(0).expect("major");
        theirs.set_device_minor(0).expect("minor");
        theirs.set_entry_type(tar::EntryType::Regular);
        theirs.set_cksum();
        for (bytes, what) in [(&ours[..], "ours"), (&theirs.as_bytes()[..], "theirs")] {
            let Step::Member(entry) = one(bytes).expect(what) else { panic!("{what}") };
            assert_eq!((entry.path.as_str(), entry.size), ("s/er/serde-1.0.0.crate", 5));
        }
        let read = tar::Header::from_byte_slice(&ours);
        assert_eq!(read.mode().expect("mode"), 0o644);
        assert_eq!(read.cksum().expect("cksum"), checksum(&ours));
    }

    proptest! {
        #[test]
        fn headers_round_trip(name in "[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", version in "[0-9]\\.[0-9]\\.[0-9](-[a-z0-9]{0,150})?", size in 0_u64..1 << 30, cargo: bool) {
            let id = ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") };
            let path = if cargo { Layout::Cargo } else { Layout::Shard }.path(&id);
            let mut bytes = Vec::new();
            write_headers(&mut bytes, &path, size);
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            let Step::Member(entry) = one(&bytes).expect("ours") else { panic!("no member") };
            prop_assert_eq!(entry.path, path);
            prop_assert_eq!(entry.size, size);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = one(&bytes);
            let _ = Pax::parse(&bytes);
        }

        #[test]
        fn a_record_counts_itself(value in "[a-z]{1,1200}") {
            let record = pax_record("path", &value);
            let len: usize = record.split(' ').next().expect("len").parse().expect("number");
            prop_assert_eq!(len, record.len());
            prop_assert_eq!(Pax::parse(record.as_bytes()).expect("pax").path, Some(value));
        }
    }
}
