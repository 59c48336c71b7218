//! Distinguishes a manifest from any other file, before anything is written to it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use mirror_types::MirrorId;
use serde::Deserialize;

use crate::error::{ManifestError, at};
use crate::reader::first_line;

/// Longest record that is recognized, bytes; those of this system stay below 8 KiB.
const MAX_RECORD_BYTES: u64 = 1 << 20;
/// The beginning of every record, ours and those of the source system.
const HEAD: &[u8] = b"{\"schema_version\":";

/// The contents of a file that was named as a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestShape {
    /// No file, or an empty one.
    Empty,
    /// The beginning of a first record and nothing else: what a killed run leaves.
    TornFirst,
    /// Records.
    Records,
    /// Anything else.
    Foreign,
}

/// The fields by which a line is recognized as a record of a manifest, schema 1 or 2.
#[derive(Deserialize)]
pub(crate) struct Known {
    schema_version: u32,
    /// The mirror that it belongs to, where the record names it.
    #[serde(default)]
    pub(crate) mirror: Option<MirrorId>,
    #[expect(dead_code, reason = "every record has it")]
    url: String,
    #[expect(dead_code, reason = "every record has it")]
    ok: bool,
}

/// Reads a line as a record, if it is one.
pub(crate) fn record_of(line: &[u8]) -> Option<Known> {
    let known: Known = serde_json::from_slice(line).ok()?;
    (1..=crate::SCHEMA_VERSION).contains(&known.schema_version).then_some(known)
}

/// Looks at the first line of the file at `path`. Writes nothing; blocks.
///
/// # Errors
/// When something is there that cannot be read. A missing file is no error.
pub fn manifest_shape(path: &Path) -> Result<ManifestShape, ManifestError> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Ok(ManifestShape::Foreign),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ManifestShape::Empty),
        Err(error) => return Err(at("look at", path)(error)),
    }
    let mut file = File::open(path).map_err(at("open", path))?;
    shape_of(&mut file).map_err(at("read the beginning of", path))
}

/// Looks at the first line of a file. Reads at most [`MAX_RECORD_BYTES`].
pub(crate) fn shape_of(file: &mut File) -> io::Result<ManifestShape> {
    file.seek(SeekFrom::Start(0))?;
    let line = first_line(file, MAX_RECORD_BYTES)?;
    Ok(match line.split_last() {
        None => ManifestShape::Empty,
        Some((b'\n', line)) if record_of(line).is_some() => ManifestShape::Records,
        Some((b'\n', _)) => ManifestShape::Foreign,
        Some(_) if (line.len() as u64) < MAX_RECORD_BYTES && begins_like_a_record(&line) => {
            ManifestShape::TornFirst
        }
        Some(_) => ManifestShape::Foreign,
    })
}

/// Returns whether a line without an end is the beginning of a record. After a power cut, the rest of it may be zeros.
fn begins_like_a_record(line: &[u8]) -> bool {
    let text = line.iter().rposition(|byte| *byte != 0).map_or(&[][..], |last| &line[..=last]);
    let common = text.len().min(HEAD.len());
    !text.is_empty()
        && text[..common] == HEAD[..common]
        && text.get(HEAD.len()).is_none_or(|digit| matches!(digit, b'1' | b'2'))
}

/// The end of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// There is a last whole record, or no record.
    Whole {
        /// The length up to its end.
        len: u64,
        /// The mirror that it belongs to.
        mirror: Option<MirrorId>,
    },
    /// Not only the last line is no record; this is the offset of the line before it.
    Broken(u64),
}

/// Finds the end of the last whole record of a file of `len` bytes. Leaves out a last line that has no newline or is no
/// record. Reads the end of the file backwards, each byte at most twice, in constant memory; fails when the line before
/// a torn one is no record either.
pub(crate) fn tail(file: &mut File, len: u64) -> io::Result<Tail> {
    let mut end = match newline_before(file, len)? {
        Some(at) => at + 1,
        None => return Ok(Tail::Whole { len: 0, mirror: None }),
    };
    // The very last line may be damaged: a power cut can leave its end without its beginning. The line before it was
    // synced first.
    for _ in 0..2 {
        let start = newline_before(file, end - 1)?.map_or(0, |at| at + 1);
        if end - 1 - start <= MAX_RECORD_BYTES {
            let mut line = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            io::Read::by_ref(file).take(end - 1 - start).read_to_end(&mut line)?;
            if let Some(Known { mirror, .. }) = record_of(&line) {
                return Ok(Tail::Whole { len: end, mirror });
            }
        }
        if start == 0 {
            return Ok(Tail::Whole { len: 0, mirror: None });
        }
        end = start;
    }
    Ok(Tail::Broken(end))
}

/// Returns the offset of the last newline before `end`.
fn newline_before(file: &mut File, end: u64) -> io::Result<Option<u64>> {
    const STEP: u64 = 64 << 10;
    let mut buffer = Vec::new();
    let mut end = end;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        buffer.clear();
        io::Read::by_ref(file).take(end - start).read_to_end(&mut buffer)?;
        if let Some(at) = memchr::memrchr(b'\n', &buffer) {
            return Ok(Some(start + at as u64));
        }
        end = start;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const RECORD: &str = r#"{"schema_version":2,"url":"u","size":1,"ok":true,"status":"downloaded"}"#;

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(text).expect("write");
        file
    }

    #[test]
    fn a_manifest_is_known_by_its_first_line() {
        use ManifestShape::{Empty, Foreign, Records, TornFirst};
        let whole = format!("{RECORD}\n");
        for (text, shape) in [
            ("", Empty),
            (whole.as_str(), Records),
            (
                r#"{"schema_version":1,"url":"u","ok":false,"status":"error"}
"#,
                Records,
            ),
            (&whole[..30], TornFirst),
            (RECORD, TornFirst),
            ("{\"sch", TornFirst),
            ("{\"schema_version\":2\0\0\0", TornFirst),
            ("{", TornFirst),
            ("{\"my\":\"settings\"", Foreign),
            ("{\"my\":\"settings\"}\n", Foreign),
            ("{\"schema_version\":9,\"url\":\"u\",\"ok\":true}\n", Foreign),
            ("{\"schema_version\":7", Foreign),
            ("1\n2\n", Foreign),
            ("\0\0\0\0", Foreign),
            ("\n", Foreign),
        ] {
            assert_eq!(shape_of(&mut file(text.as_bytes())).expect("read"), shape, "{text:?}");
        }
    }

    #[test]
    fn the_end_of_a_manifest_is_found_whatever_is_behind_it() {
        let whole = format!("{RECORD}\n{RECORD}\n");
        let len = whole.len() as u64;
        for behind in ["", "{\"sche", "\0\0\0", "half a record\"}\n", &"x".repeat(3 << 20)] {
            let text = format!("{whole}{behind}");
            let found = tail(&mut file(text.as_bytes()), text.len() as u64).expect("read");
            let whole = Tail::Whole { len, mirror: None };
            assert_eq!(found, whole, "{:?}", &behind[..behind.len().min(20)]);
        }
        let text = format!("{whole}no record\nnor this\n");
        let found = tail(&mut file(text.as_bytes()), text.len() as u64).expect("read");
        assert!(matches!(found, Tail::Broken(_)), "{found:?}");
    }
}
