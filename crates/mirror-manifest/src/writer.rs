use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use mirror_fs::{AppendLog, FileError, FileLock, Fs, LocalFs, LockFault, SyncMode};
use mirror_types::{Cause, MirrorId};
use serde::Serialize;

use crate::error::{ManifestError, at};
use crate::record::ManifestRecord;
use crate::shape::{ManifestShape, Tail, shape_of, tail};

/// Appends to a manifest. Existing records stay as they are.
#[derive(Debug)]
pub struct ManifestWriter {
    log: AppendLog,
    _lock: FileLock,
    mirror: MirrorId,
}

/// The findings of opening a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenReport {
    /// Bytes of a torn last line that were cut off.
    pub torn_bytes_cut: u64,
    /// Its length now, bytes.
    pub len: u64,
}

fn log_fault(error: FileError) -> ManifestError {
    at(error.doing, &error.path)(error.source)
}

impl ManifestWriter {
    /// Opens or creates the manifest of the mirror `mirror`, and keeps every other writer out until the value is
    /// dropped. Cuts a last line that has no newline or is no record; anything but a manifest stays byte for byte as it
    /// is.
    ///
    /// # Errors
    /// When the file is no manifest, its last record belongs to another mirror, another run holds it, or the disk
    /// refuses.
    pub fn open(path: &Path, mirror: MirrorId) -> Result<(Self, OpenReport), ManifestError> {
        Self::open_on(Arc::new(LocalFs::new(SyncMode::EachFile)), path, mirror)
    }

    /// Opens or makes a manifest as [`ManifestWriter::open`] does, and changes it through `fs`: for tests that simulate
    /// faults.
    ///
    /// # Errors
    /// As [`ManifestWriter::open`].
    pub fn open_on(
        fs: Arc<dyn Fs>,
        path: &Path,
        mirror: MirrorId,
    ) -> Result<(Self, OpenReport), ManifestError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            mirror_fs::make_root(dir).map_err(at("make the directory of", path))?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(ManifestError::NotAManifest {
                    path: path.to_owned(),
                    reason: "it is a directory",
                });
            }
            Ok(meta) if !meta.is_file() => return Err(ManifestError::Strange { path: path.to_owned() }),
            _ => {}
        }
        let mut file = fs.open_to_append(path).map_err(at("open", path))?;
        let lock = lock(&file, path)?;
        let found = file.seek(SeekFrom::End(0)).map_err(at("measure", path))?;
        let len = own_records(&mut file, found, path, mirror)?;
        file.seek(SeekFrom::Start(found)).map_err(at("find the end of", path))?;
        if found == 0 {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs.sync_dirs(dir, &[dir]).map_err(at("make durable the directory of", path))?;
        }
        let mut log = AppendLog::of(fs, file, path.to_owned()).map_err(log_fault)?;
        log.cut(len).map_err(log_fault)?;
        let report = OpenReport { torn_bytes_cut: found - len, len };
        Ok((Self { log, _lock: lock, mirror }, report))
    }

    /// Returns the path of the manifest, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.log.path()
    }

    /// Appends records with one write, marked as this mirror's; returns the new length. Not durable before
    /// [`ManifestWriter::sync`].
    ///
    /// # Errors
    /// When the disk refuses; a part of the last line may be there then, and the next open cuts it.
    pub fn append(&mut self, records: &[ManifestRecord]) -> Result<u64, ManifestError> {
        let mut text = Vec::with_capacity(records.len() * 640);
        for record in records {
            serde_json::to_writer(&mut text, &Owned { record, mirror: self.mirror })
                .map_err(|error| at("write", self.log.path())(error.into()))?;
            text.push(b'\n');
        }
        self.log.append(&text).map_err(log_fault)?;
        Ok(self.log.len())
    }

    /// Makes the appended records durable. A failure is final: the run must end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), ManifestError> {
        self.log.sync().map_err(log_fault)
    }
}

/// Keeps every other writer out for as long as the result lives.
fn lock(file: &File, path: &Path) -> Result<FileLock, ManifestError> {
    let own = lockable(file, path).map_err(at("open the lock of", path))?;
    FileLock::of(own, path).map_err(|fault| match fault {
        LockFault::Held { .. } => ManifestError::Busy { path: path.to_owned() },
        LockFault::Open(error) | LockFault::Lock(error) => at("lock", path)(error),
        other => at("lock", path)(io::Error::other(other)),
    })
}

#[cfg(unix)]
fn lockable(file: &File, _: &Path) -> io::Result<File> {
    file.try_clone()
}

/// Locks keep readers out here, even those of this process: a file beside the manifest is locked instead.
#[cfg(not(unix))]
fn lockable(_: &File, path: &Path) -> io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    mirror_fs::open_or_create(Path::new(&beside))
}

/// A record, and the mirror that it belongs to.
#[derive(Serialize)]
struct Owned<'a> {
    #[serde(flatten)]
    record: &'a ManifestRecord,
    mirror: MirrorId,
}

/// Returns the length up to the end of the last whole record, once the file is recognized as a manifest that this
/// mirror may append to.
fn own_records(file: &mut File, len: u64, path: &Path, mirror: MirrorId) -> Result<u64, ManifestError> {
    let not_one = |reason| ManifestError::NotAManifest { path: path.to_owned(), reason };
    match shape_of(file).map_err(at("read the beginning of", path))? {
        ManifestShape::Empty | ManifestShape::TornFirst => return Ok(0),
        ManifestShape::Records => {}
        ManifestShape::Foreign => return Err(not_one("its first line is no record")),
    }
    match tail(file, len).map_err(at("read the end of", path))? {
        Tail::Whole { mirror: Some(owner), .. } if owner != mirror => {
            Err(ManifestError::OthersManifest { path: path.to_owned(), owner, mirror })
        }
        Tail::Whole { len, .. } => Ok(len),
        Tail::Broken(offset) => Err(ManifestError::BadLine {
            path: path.to_owned(),
            offset,
            source: Cause::new("more than its last line is torn"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use mirror_fs::sim::{Loss, Simulator};
    use mirror_types::FaultKind;
    use proptest::prelude::*;

    use super::*;
    use crate::reader::read_from;

    const MIRROR: MirrorId = MirrorId::from_bytes([1; 16]);

    /// Returns a record as it is read back.
    fn owned(n: u64) -> ManifestRecord {
        ManifestRecord { mirror: Some(MIRROR), ..record(n) }
    }

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
        let (mut writer, _) = ManifestWriter::open(&whole, MIRROR).expect("open");
        let records: Vec<_> = (0..4).map(record).collect();
        writer.append(&records).expect("append");
        writer.sync().expect("sync");
        drop(writer);
        let records: Vec<_> = (0..4).map(owned).collect();
        let bytes = std::fs::read(&whole).expect("read");
        for cut in 0..=bytes.len() {
            let path = dir.path().join("cut");
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(&path, &bytes[..cut]).expect("write");
            let (mut writer, report) = ManifestWriter::open(&path, MIRROR).expect("open");
            let kept = bytes[..cut].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(all(&path), records[..kept], "cut at {cut}");
            assert_eq!(report.len + report.torn_bytes_cut, cut as u64);
            writer.append(&[record(9)]).expect("append");
            assert_eq!(all(&path).len(), kept + 1);
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's own files")]
    fn only_its_own_manifest_is_written() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        let open = |mirror| ManifestWriter::open(&path, mirror);
        for text in
            [&b"{\"my\":\"settings\"}"[..], b"1\n2\n3", &[0; 300_000], b"{\"name\":\"a\"}\n", b"\x1f\x8b\n\n"]
        {
            std::fs::write(&path, text).expect("write");
            let error = open(MIRROR).expect_err("no manifest");
            assert_eq!(error.kind(), FaultKind::Usage, "{error}");
            assert_eq!(std::fs::read(&path).expect("read"), text);
        }
        std::fs::write(&path, "").expect("write");
        let (mut writer, _) = open(MIRROR).expect("an empty file");
        assert_eq!(open(MIRROR).expect_err("in use").kind(), FaultKind::Locked);
        writer.append(&[record(1)]).expect("append");
        drop(writer);
        let before = std::fs::read(&path).expect("read");
        let error = open(MirrorId::from_bytes([2; 16])).expect_err("another mirror's");
        assert_eq!(error.kind(), FaultKind::Usage, "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), before);
        assert!(open(MIRROR).is_ok());
    }

    /// Checks the promise of a sync: whatever a crash takes afterwards, the records are there, and torn bytes behind
    /// them are cut.
    #[test]
    fn after_any_step_a_crash_keeps_what_was_synced() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        let sim = Simulator::new(dir.path(), Arc::new(LocalFs::unsynced())).expect("simulator");
        let mut promises = vec![(0, 0)];
        for run in 0..2 {
            let (mut writer, _) =
                ManifestWriter::open_on(Arc::new(sim.clone()), &path, MIRROR).expect("open");
            for batch in 0..2 {
                let kept = (run * 2 + batch) * 3;
                writer.append(&[record(kept), record(kept + 1)]).expect("append");
                writer.append(&[record(kept + 2)]).expect("append");
                writer.sync().expect("sync");
                promises.push((sim.count(), kept + 3));
            }
        }
        let steps = sim.steps();
        assert!(steps.len() > 12, "{steps:?}");
        let mut disk = sim.start();
        for (at, step) in steps.iter().enumerate() {
            disk.apply(step);
            let promised = promises.iter().filter(|(steps, _)| *steps <= at + 1).map(|(_, kept)| *kept).max();
            for loss in Loss::ALL {
                let left = tempfile::tempdir().expect("dir");
                disk.lay_down(loss, left.path()).expect("lay down");
                let path = left.path().join("m");
                drop(ManifestWriter::open(&path, MIRROR).expect("open again"));
                let found = all(&path);
                let what = format!("{loss:?} after step {at}: {step:?}");
                assert!(found.len() as u64 >= promised.unwrap_or(0), "{what}: {} records", found.len());
                assert!(found.into_iter().eq((0..).map(owned).take(all(&path).len())), "{what}");
            }
        }
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
