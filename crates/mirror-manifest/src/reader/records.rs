use std::iter::FusedIterator;
use std::path::{Path, PathBuf};

use mirror_types::Cause;

use super::ManifestReader;
use crate::error::{ManifestError, at};
use crate::record::ManifestRecord;

/// Yields the records of a manifest in order. A line that is no record is a [`ManifestError::BadLine`], and the records
/// behind it follow; any other error is the last item. Leaves out blank lines, and a last line without its newline: the
/// run that writes it may still be running. Memory: one line. Blocks.
#[derive(Debug)]
pub struct ManifestRecords {
    reader: ManifestReader,
    path: PathBuf,
    failed: bool,
}

impl ManifestRecords {
    /// Opens a manifest.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        Self::open_at(path, 0)
    }

    /// Opens a manifest, to be read from byte `offset`, at which a line begins: 0, or the value of [`Self::end`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_at(path: &Path, offset: u64) -> Result<Self, ManifestError> {
        let reader = ManifestReader::open(path, offset).map_err(at("open", path))?;
        Ok(Self { reader, path: path.to_owned(), failed: false })
    }

    /// Returns the offset of the next line, bytes: a later reader can continue there.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.reader.end
    }

    fn read_next(&mut self) -> Result<Option<ManifestRecord>, ManifestError> {
        loop {
            let Some(line) = self.reader.next_line().map_err(at("read", &self.path))? else {
                return Ok(None);
            };
            if line.is_blank() {
                continue;
            }
            return line.record().map(Some).map_err(|error| ManifestError::BadLine {
                path: self.path.clone(),
                offset: line.offset,
                source: Cause::new(error),
            });
        }
    }
}

impl Iterator for ManifestRecords {
    type Item = Result<ManifestRecord, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read_next().transpose();
        self.failed = matches!(&next, Some(Err(error)) if !matches!(error, ManifestError::BadLine { .. }));
        next
    }
}

impl FusedIterator for ManifestRecords {}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).expect("write");
    }

    fn texts(records: &mut ManifestRecords) -> Vec<String> {
        let text = |item| match item {
            Ok(ManifestRecord { url, .. }) => url,
            Err(ManifestError::BadLine { offset, .. }) => format!("bad at {offset}"),
            Err(error) => panic!("{error}"),
        };
        records.map(text).collect()
    }

    #[test]
    fn a_bad_line_is_reported_and_survived() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        write(&path, "{\"url\":\"a\"}\n{\"ur\n \n\u{fffd}[]\n{\"url\":\"b\"}\n{\"url\":\"c");
        let mut records = ManifestRecords::open(&path).expect("open");
        assert_eq!(texts(&mut records), ["a", "bad at 12", "bad at 19", "b"]);
        // An incomplete line is read once it is complete.
        let end = records.end();
        write(&path, "{\"url\":\"a\"}\n{\"ur\n \n\u{fffd}[]\n{\"url\":\"b\"}\n{\"url\":\"c\"}\n");
        assert_eq!(texts(&mut ManifestRecords::open_at(&path, end).expect("open")), ["c"]);
    }

    #[test]
    fn an_unreadable_manifest_is_reported_once() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(matches!(ManifestRecords::open(&dir.path().join("none")), Err(ManifestError::Io { .. })));
        // A directory can be opened like a file, but not read.
        if let Ok(mut records) = ManifestRecords::open(dir.path()) {
            assert!(matches!(
                records.next(),
                Some(Err(ManifestError::Io { .. } | ManifestError::Strange { .. }))
            ));
            assert!(records.next().is_none());
        }
    }
}
