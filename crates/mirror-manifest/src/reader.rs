mod records;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use mirror_types::{Cause, CrateName, VersionText};
use serde::Deserialize;

use crate::error::{ManifestError, at};
use crate::record::ManifestRecord;
pub use records::ManifestRecords;

/// Bytes of a manifest that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Reads a manifest line by line. Leaves out a last line without its newline: the run that writes it may still be
/// running. Errors do not name the path, which the caller knows. Memory: one line. Blocks.
#[derive(Debug)]
pub struct ManifestReader {
    input: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    end: u64,
    torn: bool,
}

/// A line of a manifest, whether it is a record or not.
#[derive(Debug, Clone, Copy)]
pub struct ManifestLine<'a> {
    /// The line with its newline.
    whole: &'a [u8],
    /// The number of the line among those that were read, from 1.
    pub number: u64,
    /// The offset in the manifest at which it begins, bytes.
    pub offset: u64,
    /// The offset in the manifest at which the next line begins, bytes.
    pub end: u64,
}

/// The reason why a line is no record.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidRecord(#[from] serde_json::Error);

impl ManifestReader {
    /// Opens a manifest, to be read from byte `offset`, at which a line begins.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let input = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Self { input, line: Vec::new(), number: 0, end: offset, torn: false })
    }

    /// Returns the next line; `None` after the last one.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<ManifestLine<'_>>> {
        self.line.clear();
        let read = self.input.read_until(b'\n', &mut self.line)?;
        if !self.line.ends_with(b"\n") {
            self.torn = read > 0;
            return Ok(None);
        }
        let offset = self.end;
        self.number += 1;
        self.end += read as u64;
        Ok(Some(ManifestLine { whole: &self.line, number: self.number, offset, end: self.end }))
    }

    /// Returns, after the last line, whether one without its newline was left out.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.torn
    }
}

impl<'a> ManifestLine<'a> {
    /// Returns the line as it is in the manifest, with its newline.
    #[must_use]
    pub const fn whole(&self) -> &'a [u8] {
        self.whole
    }

    fn text(&self) -> &'a [u8] {
        self.whole.strip_suffix(b"\n").unwrap_or(self.whole)
    }

    /// Returns whether the line is only white space. Such a line is no record.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.whole.iter().all(u8::is_ascii_whitespace)
    }

    /// Reads the record.
    ///
    /// # Errors
    /// When the line is none.
    pub fn record(&self) -> Result<ManifestRecord, InvalidRecord> {
        Ok(serde_json::from_slice(self.text())?)
    }

    /// Reads only the fields of the record about where its release is held.
    ///
    /// # Errors
    /// When the line is no record.
    pub fn holding(&self) -> Result<HoldingRecord<'a>, InvalidRecord> {
        Ok(serde_json::from_slice(self.text())?)
    }
}

/// Returns the first line that is read, with its newline when it has one; at most `max_bytes` of it.
pub(crate) fn first_line(input: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(input.take(max_bytes)).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Passes every record from byte `offset` on to `visit`, with the offset of the next one. Leaves out a last line
/// without newline. Streams; blocks.
///
/// # Errors
/// When the file cannot be read or a line is no record. A missing file is no error.
pub fn read_from<E: From<ManifestError>>(
    path: &Path,
    offset: u64,
    visit: &mut dyn FnMut(u64, ManifestRecord) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = match ManifestReader::open(path, offset) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("open", path)(error).into()),
    };
    while let Some(line) = reader.next_line().map_err(at("read", path))? {
        let record = line.record().map_err(|error| ManifestError::BadLine {
            path: path.to_owned(),
            offset: line.offset,
            source: Cause::new(error),
        })?;
        visit(line.end, record)?;
    }
    Ok(())
}

/// The fields of a record, of schema 1 or 2, about where its release is held. An empty text counts as missing.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct HoldingRecord<'a> {
    /// True if the release is held now.
    pub ok: bool,
    /// The status, as in [`ManifestRecord::status`].
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    storage: Cow<'a, str>,
    #[serde(borrow)]
    bundle_path: OptionalText<'a>,
    #[serde(borrow)]
    bundle_member: OptionalText<'a>,
    #[serde(borrow, rename = "crate")]
    name: OptionalText<'a>,
    #[serde(borrow)]
    version: OptionalText<'a>,
}

impl Default for HoldingRecord<'_> {
    fn default() -> Self {
        let none = || Cow::Borrowed("");
        Self {
            ok: false,
            status: none(),
            url: none(),
            storage: none(),
            bundle_path: OptionalText(None),
            bundle_member: OptionalText(None),
            name: OptionalText(None),
            version: OptionalText(None),
        }
    }
}

impl HoldingRecord<'_> {
    /// Returns name and version of the release: those of the record, or in schema 1 those of its URL.
    #[must_use]
    pub fn release(&self) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
        match (self.name.get(), self.version.get()) {
            (Some(name), Some(version)) => Some((name.into(), version.into())),
            _ => release_of_url(&self.url),
        }
    }

    /// Returns how it is held: `filesystem`, `bundle`, `filesystem+bundle` or `object`.
    #[must_use]
    pub fn storage(&self) -> Option<&str> {
        Some(&*self.storage).filter(|text| !text.is_empty())
    }

    /// Returns the bundle that holds it.
    #[must_use]
    pub fn bundle_path(&self) -> Option<&str> {
        self.bundle_path.get()
    }

    /// Returns its name in the bundle.
    #[must_use]
    pub fn bundle_member(&self) -> Option<&str> {
        self.bundle_member.get()
    }
}

/// Returns the release that a download URL of the source system names: `…/{name}/{name}-{version}.crate`.
fn release_of_url(url: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let (rest, file) = url.rsplit_once('/')?;
    let name = rest.rsplit_once('/').map_or(rest, |(_, name)| name);
    let version = file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".crate")?;
    let version: Cow<'_, str> = if version.contains('%') {
        version.replace("%2B", "+").replace("%2b", "+").into()
    } else {
        version.into()
    };
    (CrateName::is_valid(name) && VersionText::is_valid(&version)).then_some((name.into(), version))
}

/// A text that may be missing, or null; borrowed where it can be.
#[derive(Debug, Default)]
struct OptionalText<'a>(Option<Cow<'a, str>>);

impl OptionalText<'_> {
    /// Returns the text, unless it is empty.
    fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for OptionalText<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = OptionalText<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or null")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(OptionalText(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OptionalText(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(OptionalText(None))
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::FaultKind;

    use super::*;

    fn file(dir: &tempfile::TempDir, text: &str) -> std::path::PathBuf {
        let path = dir.path().join("m");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, text).expect("write");
        path
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named() {
        let dir = tempfile::tempdir().expect("dir");
        let path = file(&dir, "{\"url\":\"a\"}\n{\"ur\n{\"url\":\"b\"}\n");
        let error = read_from::<ManifestError>(&path, 0, &mut |_, _| Ok(())).expect_err("bad line");
        assert!(error.to_string().contains("byte 12"), "{error}");
        assert_eq!(error.kind(), FaultKind::Integrity);
    }

    #[test]
    fn a_reader_may_continue_after_a_bad_line() {
        let dir = tempfile::tempdir().expect("dir");
        let path = file(&dir, "{\"url\":\"a\"}\n{\"ur\n \n{\"url\":\"b\"}\n{\"url\":\"c");
        for (offset, numbers) in [(0, [1, 2, 3, 4].as_slice()), (12, &[1, 2, 3]), (31, &[])] {
            let mut reader = ManifestReader::open(&path, offset).expect("open");
            let mut found = Vec::new();
            while let Some(line) = reader.next_line().expect("read") {
                let url = line.record().ok().map(|record| record.url);
                assert!(line.whole().ends_with(b"\n"));
                found.push((line.number, line.offset, line.end, line.is_blank(), url));
            }
            assert!(reader.is_torn());
            assert_eq!(
                found.iter().map(|(number, ..)| *number).collect::<Vec<_>>(),
                numbers,
                "from {offset}"
            );
            let all = [
                (0, 12, false, Some("a".to_owned())),
                (12, 17, false, None),
                (17, 19, true, None),
                (19, 31, false, Some("b".to_owned())),
            ];
            for (found, wanted) in found.into_iter().rev().zip(all.into_iter().rev()) {
                assert_eq!((found.1, found.2, found.3, found.4), wanted);
            }
        }
        let mut whole = ManifestReader::open(&file(&dir, "{}\n"), 0).expect("open");
        while whole.next_line().expect("read").is_some() {}
        assert!(!whole.is_torn());
        assert!(ManifestReader::open(&dir.path().join("none"), 0).is_err());
        read_from::<ManifestError>(&dir.path().join("none"), 0, &mut |_, _| Ok(())).expect("no records");
    }

    #[test]
    fn records_of_both_schemas_say_where_a_release_is_held() {
        let say = |text: &'static str| {
            let line = ManifestLine { whole: text.as_bytes(), number: 1, offset: 0, end: 0 };
            let found = line.holding().expect("a record");
            // The fields that both have are equal.
            let whole = line.record().expect("a record");
            assert_eq!((found.ok, &*found.status), (whole.ok, whole.status.as_str()));
            assert_eq!(found.bundle_path(), whole.bundle_path.as_deref().filter(|text| !text.is_empty()));
            assert_eq!(found.bundle_member(), whole.bundle_member.as_deref());
            let release = found.release().map(|(name, version)| format!("{name} {version}"));
            (release, found.storage().map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        for (text, release, storage) in [
            (
                r#"{"url":"http://h/crates/serde/serde-1.0.0%2Bb.crate","ok":true,"storage":"filesystem"}"#,
                some("serde 1.0.0+b"),
                some("filesystem"),
            ),
            (
                r#"{"crate":"a","version":"1.0.0\u002bx","url":"","ok":true,"storage":"bundle","status":"downloaded",
                    "bundle_path":"b\\b","bundle_member":null}"#,
                some("a 1.0.0+x"),
                some("bundle"),
            ),
            (r#"{"crate":"a","version":"","url":"x/a/b-1.crate","bundle_path":""}"#, None, None),
            (r#"{"url":"x/../..-1.crate"}"#, None, None),
            ("{}", None, None),
        ] {
            assert_eq!(say(text), (release, storage), "{text}");
        }
        for text in ["", "[]x", "{\"ok\":7}", "{\"version\":1}"] {
            let line = ManifestLine { whole: text.as_bytes(), number: 1, offset: 0, end: 0 };
            assert!(line.holding().is_err() && line.record().is_err(), "{text}");
        }
    }
}
