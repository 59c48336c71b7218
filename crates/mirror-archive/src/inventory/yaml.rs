//! The inventory as YAML: block style, every text double-quoted, one form only.

use std::io::{self, Read, Write};

use sha2::Digest as _;

use super::head::{Head, SCHEMA_VERSION, date};
use crate::error::ArchiveError;
use crate::hashes::{HashKind, hex};
use crate::names::{key, quoted, text};
use crate::record::{Record, Spool, What};

/// YAML parsers look for a key's colon within 1,024 characters; a longer key is marked with `?`.
pub(super) const MAX_SIMPLE_KEY_CHARS: usize = 1000;
/// The digests, in the groups of the source system.
pub(super) const GROUPS: [(&str, &[HashKind]); 3] = [
    (
        "Main hashes",
        &[HashKind::Kangaroo12, HashKind::Blake3, HashKind::Sha3, HashKind::Blake2b, HashKind::Sha512],
    ),
    ("Less common checksums", &[HashKind::Whirlpool, HashKind::Ripemd160, HashKind::Xxh3]),
    ("Additional hashes", &[HashKind::Sha256, HashKind::Xxh64, HashKind::Murmur3]),
];

/// Counts and hashes the bytes that it passes on.
struct Tee<W> {
    out: W,
    sha256: sha2::Sha256,
    written_bytes: u64,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.out.write_all(data)?;
        self.sha256.update(data);
        self.written_bytes += data.len() as u64;
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the inventory without a signature; returns the offset at which the signature block belongs.
pub(crate) fn write_yaml(out: &mut impl Write, head: &Head, spool: &mut Spool) -> Result<u64, ArchiveError> {
    let failed = || ArchiveError::io("writing", b"the inventory");
    let mut out = Tee { out, sha256: sha2::Sha256::new(), written_bytes: 0 };
    write_head(&mut out, head).map_err(failed())?;
    let signature_at = out.written_bytes;

    out.write_all(if head.files == 0 { b"files: {}\n" } else { b"files:\n" }).map_err(failed())?;
    spool.replay(|record| write_file(&mut out, record))?;
    let empty = head.directories == 0;
    out.write_all(if empty { b"\ndirectories: []\n" } else { b"\ndirectories:\n" }).map_err(failed())?;
    spool.replay(|record| match record.what {
        What::Directory => writeln!(out, "  - {}", quoted(&key(&record.path).0)),
        _ => Ok(()),
    })?;
    let empty = head.symlinks == 0;
    out.write_all(if empty { b"\nsymlinks: {}\n" } else { b"\nsymlinks:\n" }).map_err(failed())?;
    spool.replay(|record| write_symlink(&mut out, record))?;
    out.write_all(b"\n").map_err(failed())?;

    let sum = hex(&out.sha256.finalize());
    write!(out.out, "checksum:\n  sha256: {}\n", quoted(&sum)).map_err(failed())?;
    Ok(signature_at)
}

fn write_head(out: &mut impl Write, head: &Head) -> io::Result<()> {
    let date = quoted(&head.date);
    write!(out, "# Generated on: {}\nschemaVersion: {SCHEMA_VERSION}\n", head.date)?;
    write!(out, "generator: {}\n\ndirectory:\n", quoted(&head.generator))?;
    let (name, escaped) = text(&head.name);
    writeln!(out, "  name: {}", quoted(&name))?;
    if escaped {
        writeln!(out, "  name_escaped: true")?;
    }
    writeln!(out, "  total_files: {}\n  total_directories: {}", head.files, head.directories)?;
    writeln!(out, "  total_symlinks: {}\n  total_size_bytes: {}", head.symlinks, head.bytes)?;
    write!(out, "  inventory_date: {date}\n\n")?;
    write_hashes(out, &head.hashes)?;
    if let Some(tar) = &head.tar {
        writeln!(out, "\ntar:\n  name: {}\n  size: {}", quoted(&tar.name), tar.size_bytes)?;
        writeln!(out, "  sha256: {}\n  toml: {}", quoted(&hex(&tar.sha256)), quoted(&tar.toml))?;
        writeln!(out, "  toml_size: {}", tar.toml_size_bytes)?;
        writeln!(out, "  toml_sha256: {}", quoted(&hex(&tar.toml_sha256)))?;
    }
    if let Some(zip) = &head.zip {
        writeln!(out, "\nzip:\n  name: {}\n  size: {}", quoted(&zip.name), zip.size_bytes)?;
        writeln!(out, "  sha256: {}", quoted(&hex(&zip.sha256)))?;
    }
    writeln!(out)
}

fn write_hashes(out: &mut impl Write, hashes: &[(HashKind, String)]) -> io::Result<()> {
    if hashes.is_empty() {
        return writeln!(out, "hashes: {{}}");
    }
    writeln!(out, "hashes:")?;
    for (title, kinds) in GROUPS {
        let mut of_group = hashes.iter().filter(|(kind, _)| kinds.contains(kind)).peekable();
        if of_group.peek().is_some() {
            writeln!(out, "  # {title}")?;
        }
        for (kind, digest) in of_group {
            writeln!(out, "  {}: {}", kind.key(), quoted(digest))?;
        }
    }
    Ok(())
}

fn write_file(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let What::File(file) = &record.what else { return Ok(()) };
    let modified =
        date(file.modified_s).ok_or_else(|| io::Error::other("a time outside the years 0 to 9999"))?;
    let (name, escaped) = key(&record.path);
    let first = begin(out, &quoted(&name))?;
    writeln!(out, "{first}size: {}\n    modified: {}", file.size_bytes, quoted(&modified))?;
    writeln!(out, "    sha256: {}", quoted(&hex(&file.sha256)))?;
    writeln!(out, "    blake3: {}", quoted(&hex(&file.blake3)))?;
    if escaped { writeln!(out, "    escaped: true") } else { Ok(()) }
}

fn write_symlink(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let What::Symlink(target) = &record.what else { return Ok(()) };
    let (name, escaped) = key(&record.path);
    let (target, target_escaped) = text(target);
    let first = begin(out, &quoted(&name))?;
    writeln!(out, "{first}target: {}", quoted(&target))?;
    if target_escaped {
        writeln!(out, "    target_escaped: true")?;
    }
    if escaped { writeln!(out, "    escaped: true") } else { Ok(()) }
}

/// Writes the key of a mapping; returns the prefix of the first line of its value.
fn begin(out: &mut impl Write, key: &str) -> io::Result<&'static str> {
    if key.chars().count() > MAX_SIMPLE_KEY_CHARS {
        writeln!(out, "  ? {key}")?;
        Ok("  : ")
    } else {
        writeln!(out, "  {key}:")?;
        Ok("    ")
    }
}

/// Returns the signature block, which precedes `files`.
fn signature_block(key_id: &str, fingerprint: &str, armored: &str) -> String {
    let mut block = format!(
        "signature:\n  gpg_key_id: {}\n  gpg_fingerprint: {}\n  gpg_signature: |\n",
        quoted(key_id),
        quoted(fingerprint)
    );
    for line in armored.lines() {
        if !line.is_empty() {
            block.push_str("    ");
            block.push_str(line);
        }
        block.push('\n');
    }
    block.push('\n');
    block
}

/// Copies an inventory and inserts the signature block at `at`.
pub(crate) fn insert_signature(
    unsigned: &mut impl Read,
    at: u64,
    key_id: &str,
    fingerprint: &str,
    armored: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    io::copy(&mut unsigned.by_ref().take(at), out)?;
    out.write_all(signature_block(key_id, fingerprint, armored).as_bytes())?;
    io::copy(unsigned, out)?;
    Ok(())
}
