//! Reads an inventory: exactly what [`super::write_yaml`] writes and nothing else, so that a document
//! has only one meaning. Memory is bounded, whatever the file contains.

use std::cmp::Ordering;
use std::fs::File;
use std::io::Read;
use std::iter::Peekable;
use std::path::Path;

use sha2::Digest as _;

use super::head::{Head, SCHEMA_VERSION, TarFacts, ZipFacts, undate};
use super::lines::{Lines, Part};
use super::yaml::{GROUPS, MAX_SIMPLE_KEY_CHARS};
use crate::error::{ArchiveError, Given};
use crate::hashes::{hex, unhex};
use crate::names::{unkey, unpercent, unquoted, walk_order};
use crate::record::{FileRecord, Record, What};

/// Longest signature that is accepted, bytes.
const MAX_SIGNATURE_BYTES: usize = 64 * 1024;

/// A whole inventory; its entries stay on disk.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) head: Head,
    pub(crate) signed: Option<Signed>,
    part: Part,
    len_bytes: u64,
    sections: [Section; 3],
}

/// The signature block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) key_id: String,
    pub(crate) fingerprint: String,
    pub(crate) armored: String,
    /// Its beginning and its end in the document.
    range: (u64, u64),
}

/// The part of the document that lists one kind of entry.
#[derive(Debug, Clone, Copy)]
struct Section {
    kind: Kind,
    at: u64,
    end: u64,
    line: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Files,
    Directories,
    Symlinks,
}

impl Inventory {
    /// Reads and checks a whole inventory: its form, its order, its totals, its checksum.
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path).map_err(ArchiveError::open(Given::Inventory, path))?;
        let metadata = file.metadata().map_err(ArchiveError::input("looking at the inventory", path))?;
        if !metadata.is_file() {
            return Err(ArchiveError::WrongKind { given: Given::Inventory, path: path.to_owned() });
        }
        let part = Part::new(file, metadata.len());
        let mut lines = Lines::new(part.clone(), 0);
        lines.sha256 = Some(sha2::Sha256::new());
        let head = read_head(&mut lines)?;
        // Neither the checksum nor the signature covers the signature block.
        let before = lines.sha256.clone();
        let begin = lines.offset();
        let signed = read_signature(&mut lines, begin)?;
        if signed.is_some() {
            lines.sha256 = before;
        }
        let counted = Counted::default();
        let (files, counted) = read_section(&mut lines, Kind::Files, counted)?;
        let (directories, counted) = read_section(&mut lines, Kind::Directories, counted)?;
        let (symlinks, counted) = read_section(&mut lines, Kind::Symlinks, counted)?;
        let stated = Counted {
            files: head.files,
            directories: head.directories,
            symlinks: head.symlinks,
            bytes: head.bytes,
        };
        if stated != counted {
            return Err(
                lines.fault(format!("the totals are {stated:?}, but the entries add up to {counted:?}"))
            );
        }
        let sum = lines.sha256.take().map(|sha256| hex(&sha256.finalize())).unwrap_or_default();
        lines.expect("checksum:")?;
        if unquoted(&lines.field("  sha256: ")?).as_deref() != Some(&sum) {
            return Err(lines.fault("the checksum does not match the lines above it"));
        }
        if !lines.ended()? {
            return Err(lines.fault("something follows the checksum"));
        }
        Ok(Self { head, signed, part, len_bytes: metadata.len(), sections: [files, directories, symlinks] })
    }

    /// Returns all entries in the order of the walk.
    pub(crate) fn records(&self) -> Records {
        Records { sections: self.sections.map(|section| self.entries(section).peekable()) }
    }

    fn entries(&self, section: Section) -> Entries {
        let lines = Lines::new(self.part.range(section.at, section.end), section.line);
        Entries { lines, kind: section.kind, last: Vec::new() }
    }

    /// Returns the whole document, which the detached signature covers.
    pub(crate) fn document(&self) -> impl Read + use<> {
        self.part.range(0, self.len_bytes)
    }

    /// Returns the document without the signature block: the bytes that the signature in it covers.
    pub(crate) fn unsigned_document(&self) -> impl Read + use<> {
        let (begin, end) = self.signed.as_ref().map_or((0, 0), |signed| signed.range);
        self.part.range(0, begin).chain(self.part.range(end, self.len_bytes))
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counted {
    files: u64,
    directories: u64,
    symlinks: u64,
    bytes: u64,
}

fn text_field(lines: &mut Lines, key: &str) -> Result<String, ArchiveError> {
    let value = lines.field(key)?;
    unquoted(&value).ok_or_else(|| lines.fault(format!("{:?} lacks a quoted text", key.trim())))
}

fn number_field(lines: &mut Lines, key: &str) -> Result<u64, ArchiveError> {
    let value = lines.field(key)?;
    let number = value.parse::<u64>().ok().filter(|number| number.to_string() == value);
    number.ok_or_else(|| lines.fault(format!("{:?} lacks a number", key.trim())))
}

fn digest_field(lines: &mut Lines, key: &str) -> Result<[u8; 32], ArchiveError> {
    let value = lines.field(key)?;
    let digest = unquoted(&value).and_then(|text| unhex(&text));
    digest.ok_or_else(|| lines.fault(format!("{:?} lacks a digest", key.trim())))
}

fn read_head(lines: &mut Lines) -> Result<Head, ArchiveError> {
    let date = lines.field("# Generated on: ")?;
    if undate(&date).is_none() {
        return Err(lines.fault("no date"));
    }
    lines.expect(&format!("schemaVersion: {SCHEMA_VERSION}"))?;
    let generator = text_field(lines, "generator: ")?;
    lines.expect("")?;
    lines.expect("directory:")?;
    let name = text_field(lines, "  name: ")?;
    let name = if lines.optional("  name_escaped: true")? {
        unpercent(&name).ok_or_else(|| lines.fault("a name with another escaping than ours"))?
    } else {
        name.into_bytes()
    };
    let files = number_field(lines, "  total_files: ")?;
    let directories = number_field(lines, "  total_directories: ")?;
    let symlinks = number_field(lines, "  total_symlinks: ")?;
    let bytes = number_field(lines, "  total_size_bytes: ")?;
    if text_field(lines, "  inventory_date: ")? != date {
        return Err(lines.fault("the date differs from the first line"));
    }
    lines.expect("")?;
    let hashes = read_hashes(lines)?;
    lines.expect("")?;
    let (tar, zip) = (None, None);
    let mut head = Head { date, generator, name, files, directories, symlinks, bytes, hashes, tar, zip };
    if lines.optional("tar:")? {
        head.tar = Some(TarFacts {
            name: text_field(lines, "  name: ")?,
            size_bytes: number_field(lines, "  size: ")?,
            sha256: digest_field(lines, "  sha256: ")?,
            toml: text_field(lines, "  toml: ")?,
            toml_size_bytes: number_field(lines, "  toml_size: ")?,
            toml_sha256: digest_field(lines, "  toml_sha256: ")?,
        });
        lines.expect("")?;
    }
    if lines.optional("zip:")? {
        head.zip = Some(ZipFacts {
            name: text_field(lines, "  name: ")?,
            size_bytes: number_field(lines, "  size: ")?,
            sha256: digest_field(lines, "  sha256: ")?,
        });
        lines.expect("")?;
    }
    Ok(head)
}

fn read_hashes(lines: &mut Lines) -> Result<Vec<(crate::HashKind, String)>, ArchiveError> {
    if lines.optional("hashes: {}")? {
        return Ok(Vec::new());
    }
    lines.expect("hashes:")?;
    let mut hashes = Vec::new();
    for (title, kinds) in GROUPS {
        if !lines.optional(&format!("  # {title}"))? {
            continue;
        }
        let before = hashes.len();
        for kind in kinds {
            let Some(value) = lines.optional_field(&format!("  {kind}: "))? else { continue };
            let digest = unquoted(&value).filter(|text| {
                text.len() == 2 * kind.len_bytes()
                    && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
            });
            let digest = digest.ok_or_else(|| lines.fault(format!("{kind} lacks its digest")))?;
            hashes.push((*kind, digest));
        }
        if hashes.len() == before {
            return Err(lines.fault("a group without digests"));
        }
    }
    Ok(hashes)
}

fn read_signature(lines: &mut Lines, begin: u64) -> Result<Option<Signed>, ArchiveError> {
    if !lines.optional("signature:")? {
        return Ok(None);
    }
    let key_id = text_field(lines, "  gpg_key_id: ")?;
    let fingerprint = text_field(lines, "  gpg_fingerprint: ")?;
    lines.expect("  gpg_signature: |")?;
    let mut armored = String::new();
    loop {
        let line = lines.next()?;
        let text = match line.strip_prefix("    ") {
            Some(text) if !text.is_empty() => text,
            None if line.is_empty() => "",
            _ => return Err(lines.fault("expected a line of the signature")),
        };
        armored.push_str(text);
        armored.push('\n');
        if armored.len() > MAX_SIGNATURE_BYTES {
            return Err(lines.fault("the signature is too long"));
        }
        if text == "-----END PGP SIGNATURE-----" {
            break;
        }
    }
    lines.expect("")?;
    Ok(Some(Signed { key_id, fingerprint, armored, range: (begin, lines.offset()) }))
}

fn read_section(
    lines: &mut Lines,
    kind: Kind,
    mut counted: Counted,
) -> Result<(Section, Counted), ArchiveError> {
    let (name, empty) = match kind {
        Kind::Files => ("files:", "files: {}"),
        Kind::Directories => ("directories:", "directories: []"),
        Kind::Symlinks => ("symlinks:", "symlinks: {}"),
    };
    if lines.optional(empty)? {
        let at = lines.offset();
        lines.expect("")?;
        return Ok((Section { kind, at, end: at, line: lines.number() }, counted));
    }
    lines.expect(name)?;
    let (at, line) = (lines.offset(), lines.number());
    let mut last = Vec::new();
    let mut entries = 0_u64;
    loop {
        let end = lines.offset();
        if lines.optional("")? {
            if entries == 0 {
                return Err(lines.fault("a section without entries"));
            }
            return Ok((Section { kind, at, end, line }, counted));
        }
        let record = read_record(lines, kind)?;
        in_order(lines, &last, &record.path)?;
        match &record.what {
            What::File(file) => {
                counted.files += 1;
                let sum = counted.bytes.checked_add(file.size_bytes);
                counted.bytes =
                    sum.ok_or_else(|| lines.fault("the sizes add up to more than 64 bits hold"))?;
            }
            What::Directory => counted.directories += 1,
            What::Symlink(_) => counted.symlinks += 1,
        }
        last = record.path;
        entries += 1;
    }
}

fn in_order(lines: &Lines, last: &[u8], path: &[u8]) -> Result<(), ArchiveError> {
    match walk_order(last, path) {
        Ordering::Less => Ok(()),
        _ => Err(lines.fault("a repeated entry, or one out of order")),
    }
}

fn read_record(lines: &mut Lines, kind: Kind) -> Result<Record, ArchiveError> {
    if kind == Kind::Directories {
        let key = lines.field("  - ")?;
        let path = path(lines, &key)?;
        return Ok(Record { path, what: What::Directory });
    }
    let line = lines.next()?;
    let (key, first) = match line.strip_prefix("  ? ") {
        Some(key) => (key, "  : "),
        None => (line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')).unwrap_or_default(), "    "),
    };
    let path = path(lines, key)?;
    if (key.chars().count() > MAX_SIMPLE_KEY_CHARS) != (first == "  : ") {
        return Err(lines.fault("a key in another form than ours"));
    }
    let what = if kind == Kind::Files {
        What::File(read_file(lines, first)?)
    } else {
        let target = text_field(lines, &format!("{first}target: "))?;
        let escaped = lines.optional("    target_escaped: true")?;
        let target = if escaped { unpercent(&target) } else { Some(target.into_bytes()) };
        What::Symlink(target.ok_or_else(|| lines.fault("a target with another escaping than ours"))?)
    };
    if std::str::from_utf8(&path).is_err() {
        lines.expect("    escaped: true")?;
    }
    Ok(Record { path, what })
}

fn path(lines: &Lines, key: &str) -> Result<Vec<u8>, ArchiveError> {
    let path = unquoted(key).and_then(|key| unkey(&key));
    path.ok_or_else(|| lines.fault("expected a quoted relative path"))
}

fn read_file(lines: &mut Lines, first: &str) -> Result<FileRecord, ArchiveError> {
    let size_bytes = number_field(lines, &format!("{first}size: "))?;
    let modified = text_field(lines, "    modified: ")?;
    let modified_s = undate(&modified).ok_or_else(|| lines.fault("no date"))?;
    let sha256 = digest_field(lines, "    sha256: ")?;
    let blake3 = digest_field(lines, "    blake3: ")?;
    Ok(FileRecord { size_bytes, modified_s, sha256, blake3 })
}

/// The entries of one section.
struct Entries {
    lines: Lines,
    kind: Kind,
    last: Vec<u8>,
}

impl Iterator for Entries {
    type Item = Result<Record, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.lines.ended() {
            Ok(true) => return None,
            Ok(false) => {}
            Err(error) => return Some(Err(error)),
        }
        Some(read_record(&mut self.lines, self.kind).and_then(|record| {
            in_order(&self.lines, &self.last, &record.path)?;
            self.last.clone_from(&record.path);
            Ok(record)
        }))
    }
}

/// The entries of all sections, merged into the order of the walk.
pub(crate) struct Records {
    sections: [Peekable<Entries>; 3],
}

impl Iterator for Records {
    type Item = Result<Record, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first: Option<(usize, Vec<u8>)> = None;
        for (at, section) in self.sections.iter_mut().enumerate() {
            match section.peek() {
                None => {}
                Some(Err(_)) => return section.next(),
                Some(Ok(record)) => {
                    let less = |(_, path): &(usize, Vec<u8>)| walk_order(&record.path, path).is_lt();
                    if first.as_ref().is_none_or(less) {
                        first = Some((at, record.path.clone()));
                    }
                }
            }
        }
        let (at, _) = first?;
        self.sections[at].next()
    }
}
