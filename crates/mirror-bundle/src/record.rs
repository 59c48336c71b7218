//! Lines of a bundle's manifest and of `bundles.index.jsonl`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use mirror_types::{BundleNumber, MemberLocation, MirrorId, Sha256};
use serde::{Deserialize, Serialize};

use crate::error::{BundleError, at};
use crate::fault::BundleFault;

/// Format of the bundles that this version writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;
/// Longest line of a manifest or of the index, in bytes.
const MAX_LINE: usize = 64 << 10;

/// One line of a bundle's manifest: one member. The last five fields are not in manifests of the source
/// system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleMember {
    /// The address that it came from, readable form.
    #[serde(default)]
    pub url: String,
    /// Name of the crate.
    #[serde(rename = "crate", default)]
    pub crate_name: String,
    /// The bundle, in the form in which its directory was named; only the last part counts.
    pub bundle_path: String,
    /// Path of the member: that of the loose file.
    pub bundle_member: String,
    /// Bytes of the `.crate` file.
    pub size: u64,
    /// Its checksum.
    pub sha256: Sha256,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The offset in the bundle at which its frame begins, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_offset: Option<u64>,
    /// Length of its frame, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_len: Option<u64>,
    /// Format of the bundle; a missing one means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The mirror that the bundle belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorId>,
}

impl BundleMember {
    /// Returns the number in the name of its bundle.
    #[must_use]
    pub fn bundle_number(&self) -> Option<u32> {
        BundleNumber::of_path(&self.bundle_path).map(BundleNumber::get)
    }

    /// Returns the place of its frame, when the line has it; lines of the source system do not.
    #[must_use]
    pub fn location(&self) -> Option<MemberLocation> {
        Some(MemberLocation::tar(self.bundle_number()?, self.frame_offset?, self.frame_len?))
    }

    /// Returns the end of its frame, when it has one.
    pub(crate) fn frame_end(&self) -> Option<u64> {
        self.frame_offset?.checked_add(self.frame_len?)
    }
}

/// One line of `bundles.index.jsonl`: one sealed bundle. The last five fields are not in an index of the
/// source system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleIndexLine {
    /// The bundle, in the form in which its directory was named; only the last part counts.
    pub bundle_path: String,
    /// Its manifest, in the same form.
    pub manifest_path: String,
    /// First crate name, bytewise.
    pub crate_min: String,
    /// Last crate name, bytewise.
    pub crate_max: String,
    /// `crate_min` as in the name of the manifest.
    pub crate_min_label: String,
    /// `crate_max` as in the name of the manifest.
    pub crate_max_label: String,
    /// Members.
    pub entries: u64,
    /// Bytes of all members' data.
    pub size_bytes: u64,
    /// SHA-256 of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// BLAKE3 of the bundle, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Bytes of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed_bytes: Option<u64>,
    /// Format of the bundle; a missing one means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The mirror that the bundle belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorId>,
}

/// A line of one of the JSONL files beside bundles.
pub(crate) trait BundleLine: for<'a> Deserialize<'a> {
    /// The beginning of every line that this system writes.
    const HEAD: &'static [u8];
    /// Returns the format in the line.
    fn format(&self) -> Option<u32>;
}

impl BundleLine for BundleMember {
    const HEAD: &'static [u8] = b"{\"url\":";
    fn format(&self) -> Option<u32> {
        self.format
    }
}

impl BundleLine for BundleIndexLine {
    const HEAD: &'static [u8] = b"{\"bundle_path\":";
    fn format(&self) -> Option<u32> {
        self.format
    }
}

/// Appends `records` to `text`, one line each.
pub(crate) fn push_lines<T: Serialize>(text: &mut Vec<u8>, records: &[T]) -> Result<(), serde_json::Error> {
    for record in records {
        serde_json::to_writer(&mut *text, record)?;
        text.push(b'\n');
    }
    Ok(())
}

/// Passes every line of a JSONL file to `visit`, with the offset after it. A missing file has no lines. Leaves out a
/// last line without its newline. Returns the offset after the last line passed.
pub(crate) fn read_lines<T: BundleLine>(
    path: &Path,
    visit: &mut dyn FnMut(T, u64) -> Result<(), BundleError>,
) -> Result<u64, BundleError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(at("open", path)(error)),
    };
    let mut input = BufReader::with_capacity(256 << 10, file);
    let (mut line, mut number, mut offset) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let mut limited = std::io::Read::take(&mut input, MAX_LINE as u64);
        let n = limited.read_until(b'\n', &mut line).map_err(at("read", path))?;
        number += 1;
        let wrong = |reason: String| {
            BundleError::damaged(path, None, None, BundleFault::Line { line: number, reason })
        };
        if !line.ends_with(b"\n") {
            return if n < MAX_LINE { Ok(offset) } else { Err(wrong("it is too long".to_owned())) };
        }
        let record: T = serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
        if let Some(found) = record.format().filter(|found| *found > FORMAT) {
            return Err(BundleError::damaged(path, None, None, BundleFault::Newer { found, known: FORMAT }));
        }
        offset += n as u64;
        visit(record, offset)?;
    }
}

/// Passes every member in a bundle's manifest to `visit`, in the order of the file. Leaves out a torn last line.
/// Streams; blocks.
///
/// # Errors
/// When the file cannot be read or a line is no record; what `visit` returns.
pub fn read_manifest(
    path: &Path,
    visit: &mut dyn FnMut(BundleMember) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    read_lines(path, &mut |member, _| visit(member)).map(|_| ())
}

/// Returns the first member in a bundle's manifest; `None` when its first line is torn or no record. Blocks.
///
/// # Errors
/// When the file cannot be read.
pub fn first_member(manifest: &Path) -> Result<Option<BundleMember>, BundleError> {
    let file = File::open(manifest).map_err(at("open", manifest))?;
    let mut line = Vec::new();
    let mut limited = std::io::Read::take(BufReader::new(file), MAX_LINE as u64);
    limited.read_until(b'\n', &mut line).map_err(at("read", manifest))?;
    Ok(serde_json::from_slice(&line).ok())
}

/// Reads the lines of `bundles.index.jsonl` in a directory of bundles. A missing file has no lines. Blocks.
///
/// # Errors
/// When the file cannot be read or a line is no record.
pub fn read_index(dir: &Path) -> Result<Vec<BundleIndexLine>, BundleError> {
    let mut lines = Vec::new();
    read_lines(&dir.join(crate::names::INDEX), &mut |line, _| {
        lines.push(line);
        Ok(())
    })?;
    Ok(lines)
}
