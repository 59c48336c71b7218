//! The members of a bundle's tar: made in one form, and read in that form and in the one that Go's `archive/tar`
//! writes.
//!
//! What is accepted means the same to GNU tar and to Python's tarfile; what they might read in two ways is
//! refused.

use std::borrow::Cow;
use std::io::{self, Read};

pub(crate) use mirror_tar::{BLOCK_BYTES as BLOCK, END, padding};
use mirror_tar::{CheckedBlock, EntryType, Header, HeaderFault, MODE, NAME_BYTES, is_zero, records};
use mirror_types::{Layout, ReleaseId};

use crate::fault::{BundleFault, Trouble};
use crate::limits::BundleLimits;
use crate::names::member_of;

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

/// Returns the unpacked size of a frame in bytes: headers, data, padding.
pub(crate) fn framed_size(path: &str, size: u64) -> u64 {
    header(path, size).encoded_bytes() as u64 + size + padding(size) as u64
}

/// Appends the headers of a file to `out`.
pub(crate) fn write_headers(out: &mut Vec<u8>, path: &str, size: u64) {
    header(path, size).encode_into(out, |name| {
        let end = &name[name.len().saturating_sub(80)..];
        let flat = end.iter().map(|byte| if *byte == b'/' { b'_' } else { *byte });
        b"PaxHeaders.0/".iter().copied().chain(flat).collect()
    });
}

fn header(path: &str, size: u64) -> Header<'_> {
    Header {
        name: Cow::Borrowed(path.as_bytes()),
        target: Cow::Borrowed(b""),
        size_bytes: size,
        modified_s: 0,
        mode: MODE,
        kind: EntryType::Regular,
    }
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
    let first = Described::parse(&block)?;
    let (header, long) = if first.kind == EntryType::XHeader {
        let pax = read_pax(input, first.size)?;
        let Some(block) = read_block(input)? else { return Err(BundleFault::Torn.into()) };
        (Described::parse(&block)?, Some(pax))
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

fn kind_of(kind: EntryType) -> Result<(), BundleFault> {
    Err(match kind {
        EntryType::Regular => return Ok(()),
        EntryType::Link | EntryType::Symlink => BundleFault::Link,
        EntryType::Char | EntryType::Block => BundleFault::Device,
        EntryType::Directory => BundleFault::Directory,
        EntryType::Fifo => BundleFault::Fifo,
        EntryType::GNULongName | EntryType::GNULongLink => BundleFault::GnuLongName,
        EntryType::GNUSparse => BundleFault::Sparse,
        EntryType::XGlobalHeader => BundleFault::PaxGlobal,
        // GNU's directories with their contents listed, and its older long names.
        other => match other.as_byte() {
            b'D' => BundleFault::Directory,
            b'N' => BundleFault::GnuLongName,
            byte => BundleFault::ForeignType(byte),
        },
    })
}

/// The description of a member in its header.
struct Described {
    path: String,
    kind: EntryType,
    size: u64,
}

impl Described {
    fn parse(block: &[u8; BLOCK]) -> Result<Self, BundleFault> {
        let block = CheckedBlock::new(block)?;
        let kind = block.kind();
        // Named before the form is looked at: GNU's own types come with GNU's own magic.
        if kind != EntryType::XHeader {
            kind_of(kind)?;
        }
        let header = block.header()?;
        if !header.target.is_empty() {
            return Err(BundleFault::Header("it has the target of a link"));
        }
        let path = String::from_utf8(header.name.into_owned()).ok();
        let path = path.filter(|path| path.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        let path = path.ok_or(BundleFault::Header(NOT_PLAIN))?;
        Ok(Self { path, kind, size: header.size_bytes })
    }
}

const NOT_PLAIN: &str = "its name is not plain ASCII";

impl From<HeaderFault> for BundleFault {
    fn from(fault: HeaderFault) -> Self {
        Self::Header(match fault {
            HeaderFault::Checksum => return Self::HeaderChecksum,
            HeaderFault::Size => "its size is not octal",
            HeaderFault::Number => "a number is not octal",
            HeaderFault::Device => "a device number is not octal",
            HeaderFault::Name => NOT_PLAIN,
            _ => "it is of another format",
        })
    }
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
        for record in records(data) {
            let (key, value) = record.map_err(|_| BundleFault::PaxMalformed)?;
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| BundleFault::PaxMalformed);
            pax.take(text(key)?, text(value)?)?;
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
    fn path_beside(self, header: &Described) -> Result<String, BundleFault> {
        if self.size.is_some_and(|size| size != header.size) {
            return Err(BundleFault::PaxOverride("size"));
        }
        match self.path {
            None => Ok(header.path.clone()),
            Some(path) if path == header.path => Ok(path),
            // The header has the beginning of a path that is too long for it.
            Some(path)
                if path.len() > NAME_BYTES && !header.path.is_empty() && path.starts_with(&header.path) =>
            {
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

    /// Bundles are appended to and compared by their checksum: every version frames a member in the same bytes.
    #[test]
    fn the_headers_of_a_long_path_stay_as_they_are() {
        let path = format!("s/er/serde-1.0.0-{}.crate", "a".repeat(100));
        let mut bytes = Vec::new();
        write_headers(&mut bytes, &path, 5);
        assert_eq!(framed_size(&path, 5), bytes.len() as u64 + 512);
        assert_eq!(bytes.len(), 3 * BLOCK);
        let name = format!("PaxHeaders.0/{}", &path[path.len() - 80..]);
        assert!(bytes.starts_with(name.as_bytes()) && is_zero(&bytes[name.len()..100]));
        assert_eq!(&bytes[124..156], b"00000000205\x0000000000000\x00030605\0 ");
        assert!(bytes[BLOCK..].starts_with(format!("133 path={path}\n\0").as_bytes()));
        assert_eq!(&bytes[2 * BLOCK..][..101], format!("{}0", &path[..100]).as_bytes());
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
    }
}
