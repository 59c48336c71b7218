use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::error::ManifestError;
use crate::record::ManifestRecord;

/// Appends to a manifest. What was there stays.
#[derive(Debug)]
pub struct ManifestWriter {
    file: File,
    path: PathBuf,
    len: u64,
}

/// What was found when a manifest was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenReport {
    /// Bytes of a torn last line that were cut off.
    pub torn_bytes_cut: u64,
    /// Length now, in bytes.
    pub len: u64,
}

pub(crate) fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ManifestError + 'a {
    move |source| match mirror_fs::not_plain(&source) {
        Some(_) => ManifestError::Strange { path: path.to_owned() },
        None => ManifestError::Io { doing, path: path.to_owned(), source },
    }
}

impl ManifestWriter {
    /// Opens or makes a manifest; a last line without its newline, or that is no record, is cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(path: &Path) -> Result<(Self, OpenReport), ManifestError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            #[expect(clippy::disallowed_methods, reason = "the manifest may stand outside the mirror")]
            std::fs::create_dir_all(dir).map_err(at("make the directory of", path))?;
        }
        #[expect(clippy::disallowed_methods, reason = "the manifest is this crate's own file")]
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(at("open", path))?;
        let found = file.seek(SeekFrom::End(0)).map_err(at("measure", path))?;
        let len = whole_lines(&mut file, found).map_err(at("read the end of", path))?;
        if len < found {
            file.set_len(len).map_err(at("cut", path))?;
        }
        file.seek(SeekFrom::Start(len)).map_err(at("find the end of", path))?;
        let report = OpenReport { torn_bytes_cut: found - len, len };
        Ok((Self { file, path: path.to_owned(), len }, report))
    }

    /// Appends records with one write; gives the new length. Not durable before
    /// [`ManifestWriter::sync`].
    ///
    /// # Errors
    /// When the disk refuses; a part of the last line may then be there, and is cut by the next
    /// open.
    pub fn append(&mut self, records: &[ManifestRecord]) -> Result<u64, ManifestError> {
        let mut text = Vec::with_capacity(records.len() * 640);
        for record in records {
            serde_json::to_writer(&mut text, record)
                .map_err(|error| at("write", &self.path)(error.into()))?;
            text.push(b'\n');
        }
        self.file.write_all(&text).map_err(at("append to", &self.path))?;
        self.len += text.len() as u64;
        Ok(self.len)
    }

    /// Makes what was appended durable. A failure is final: the run must end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), ManifestError> {
        self.file.sync_data().map_err(at("make durable", &self.path))
    }
}

/// Length up to the end of the last whole line that is a record.
fn whole_lines(file: &mut File, len: u64) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut tail: Vec<u8> = Vec::new();
    let mut begin = len;
    // Read backwards until the last whole line is in the tail.
    while begin > 0 && tail.iter().filter(|&&b| b == b'\n').count() < 2 {
        let step = STEP.min(begin);
        begin -= step;
        file.seek(SeekFrom::Start(begin))?;
        let mut more = Vec::new();
        io::Read::by_ref(file).take(step).read_to_end(&mut more)?;
        more.extend_from_slice(&tail);
        tail = more;
    }
    let Some(end) = tail.iter().rposition(|&b| b == b'\n') else { return Ok(begin) };
    let start = tail[..end].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let good = serde_json::from_slice::<ManifestRecord>(&tail[start..end]).is_ok();
    Ok(begin + if good { end + 1 } else { start } as u64)
}

/// Gives every record from byte `offset` on to `visit`, with the offset behind it. A last line
/// without newline is left out. Streams; blocks.
///
/// # Errors
/// When the file cannot be read or a line is no record. No file is no error.
pub fn read_from<E: From<ManifestError>>(
    path: &Path,
    offset: u64,
    visit: &mut dyn FnMut(u64, ManifestRecord) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("open", path)(error).into()),
    };
    file.seek(SeekFrom::Start(offset)).map_err(at("read", path))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut here = offset;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(at("read", path))?;
        if line.pop() != Some(b'\n') {
            return Ok(());
        }
        let record = serde_json::from_slice(&line).map_err(|error| ManifestError::BadLine {
            path: path.to_owned(),
            offset: here,
            reason: error.to_string(),
        })?;
        here += read as u64;
        visit(here, record)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(n: u64) -> ManifestRecord {
        ManifestRecord {
            schema_version: 2,
            url: format!("u{n}"),
            size: n,
            ok: true,
            ..ManifestRecord::default()
        }
    }

    fn all(path: &Path) -> Vec<ManifestRecord> {
        let mut records = Vec::new();
        read_from::<ManifestError>(path, 0, &mut |_, record| {
            records.push(record);
            Ok(())
        })
        .expect("readable");
        records
    }

    #[test]
    fn a_manifest_cut_anywhere_keeps_its_whole_records() {
        let dir = tempfile::tempdir().expect("dir");
        let whole = dir.path().join("whole");
        let (mut writer, _) = ManifestWriter::open(&whole).expect("open");
        let records: Vec<_> = (0..4).map(record).collect();
        writer.append(&records).expect("append");
        writer.sync().expect("sync");
        let bytes = std::fs::read(&whole).expect("read");
        for cut in 0..=bytes.len() {
            let path = dir.path().join("cut");
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(&path, &bytes[..cut]).expect("write");
            let (mut writer, report) = ManifestWriter::open(&path).expect("open");
            let kept = bytes[..cut].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(all(&path), records[..kept], "cut at {cut}");
            assert_eq!(report.len + report.torn_bytes_cut, cut as u64);
            writer.append(&[record(9)]).expect("append");
            assert_eq!(all(&path).len(), kept + 1);
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, "{\"url\":\"a\"}\n{\"ur\n{\"url\":\"b\"}\n").expect("write");
        let error = read_from::<ManifestError>(&path, 0, &mut |_, _| Ok(())).expect_err("bad line");
        assert!(error.to_string().contains("byte 12"), "{error}");
        assert_eq!(error.kind(), crate::ManifestFault::Integrity);
    }

    proptest! {
        #[test]
        fn records_round_trip(url in "\\PC*", size: u64, retries: u32, error in proptest::option::of("\\PC*")) {
            let record = ManifestRecord { url, size, retries, error, ..ManifestRecord::default() };
            let text = serde_json::to_string(&record).expect("json");
            prop_assert_eq!(serde_json::from_str::<ManifestRecord>(&text).expect("record"), record);
        }
    }
}
