use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use mirror_fs::{AppendLog, Fs, LocalFs, SyncMode};
use mirror_types::FaultKind;

use super::format::{HEAD, file_of, generation_of};
use super::packer::PackedLines;
use super::reader::{LinesReader, at, log_fault};
use super::row::IndexFileRow;
use crate::catalogue::{Catalogue, LinesState};
use crate::error::ManifestError;

/// Below this, what is of no use is left where it is, bytes.
const LITTLE: u64 = 4 << 20;
/// Frames are written out when so much of them waits, bytes.
const AT_ONCE: usize = 1 << 20;

/// Appends the lines of index files. One at a time, under the lock of the mirror.
#[derive(Debug)]
pub struct LinesWriter {
    dir: PathBuf,
    log: AppendLog,
}

/// What was found when the file of lines was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinesReport {
    /// The file that the catalogue knows is gone, cut, or of another format: all is kept anew.
    pub lost: bool,
    /// Index files whose lines were damaged: they are kept anew.
    pub damaged: u64,
}

impl LinesWriter {
    /// Opens the file that the rows of the catalogue are of, below `dir`, the mirror's `.mirror`. When
    /// lines were never kept, or their file is gone, cut or of another format, everything is begun anew:
    /// the catalogue then has no row and no cursor, so that the run reads the whole index. A catalogue
    /// that was made anew itself gets its rows from the file that is there. `verify`: every frame is read
    /// and checked, too; what is damaged loses its row, and the cursor goes.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn open(
        dir: &Path,
        catalogue: &mut Catalogue,
        verify: bool,
    ) -> Result<(Self, LinesReport), ManifestError> {
        let mut report = LinesReport::default();
        let state = catalogue.lines_state()?;
        let known = state.map(|state| Self::reopen(dir, state)).transpose()?.flatten();
        let mut writer = match known {
            Some(writer) => writer,
            None => {
                report.lost = state.is_some();
                let found = if report.lost { None } else { newest(dir)? };
                Self::replace(dir, catalogue, found)?.0
            }
        };
        if verify && !report.lost {
            report.damaged = writer.verify(catalogue)?;
        }
        remove_others(dir, writer.log.path())?;
        Ok((writer, report))
    }

    /// The file as the catalogue knows it; what is behind the last row is cut.
    fn reopen(dir: &Path, state: LinesState) -> Result<Option<Self>, ManifestError> {
        let path = file_of(dir, state.generation);
        let file = match mirror_fs::open_to_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("open", &path)(error)),
        };
        let end = state.end.max(HEAD.len() as u64);
        if !LinesReader::of(file, &path, state.generation).holds(end)? {
            return Ok(None);
        }
        let mut log = AppendLog::open(disk(), path).map_err(log_fault)?;
        log.cut(end).map_err(log_fault)?;
        Ok(Some(Self { dir: dir.to_owned(), log }))
    }

    /// Begins a file of the next number with what is whole of `rows`, and lets the catalogue know it;
    /// gives the number of damaged ones.
    fn replace(
        dir: &Path,
        catalogue: &mut Catalogue,
        keep: Option<(LinesReader, Vec<IndexFileRow>)>,
    ) -> Result<(Self, u64), ManifestError> {
        let generation = generations(dir)?.into_iter().max().unwrap_or(0) + 1;
        let path = file_of(dir, generation);
        let log = AppendLog::create(disk(), path).map_err(log_fault)?;
        let mut writer = Self { dir: dir.to_owned(), log };
        writer.write(HEAD)?;
        let (mut rows, mut damaged, began_anew) = (Vec::new(), 0, keep.is_none());
        if let Some((reader, mut old)) = keep {
            old.sort_unstable_by_key(|row| row.frame_offset);
            let mut waiting = Vec::new();
            for mut row in old {
                let frame = reader.frame(&row).and_then(|frame| reader.unpack(&row, &frame).map(|_| frame));
                match frame {
                    Ok(frame) => {
                        row.frame_offset = writer.log.len() + waiting.len() as u64;
                        waiting.extend_from_slice(&frame);
                        rows.push(row);
                    }
                    Err(error) if error.kind() == FaultKind::Integrity => damaged += 1,
                    Err(error) => return Err(error),
                }
                if waiting.len() >= AT_ONCE {
                    writer.write(&waiting)?;
                    waiting.clear();
                }
            }
            writer.write(&waiting)?;
        }
        writer.sync()?;
        mirror_fs::sync_dir(dir).map_err(at("make durable the directory of", dir))?;
        let state = LinesState { generation, end: writer.log.len(), dead: 0 };
        catalogue.replace_lines(state, &rows, !began_anew && damaged == 0)?;
        Ok((writer, damaged))
    }

    /// Appends lines; they are durable on return. Gives the rows that speak of them, which are to be
    /// applied to the catalogue next.
    ///
    /// # Errors
    /// When the disk refuses. A failure is final: the run must end.
    pub fn append(&mut self, files: &[PackedLines]) -> Result<Vec<IndexFileRow>, ManifestError> {
        let mut rows = Vec::with_capacity(files.len());
        let mut waiting = Vec::new();
        for file in files {
            rows.push(IndexFileRow {
                path: file.path.clone(),
                digest: file.digest,
                size: file.size,
                frame_offset: self.log.len() + waiting.len() as u64,
                frame_len: file.packed_bytes(),
            });
            waiting.extend_from_slice(&file.frame);
            if waiting.len() >= AT_ONCE {
                self.write(&waiting)?;
                waiting.clear();
            }
        }
        self.write(&waiting)?;
        self.sync()?;
        Ok(rows)
    }

    /// Ends writing. When more than half of the file is of no use any more, the rest of it is written
    /// into a new one; whoever has the old one open can go on with the rows that they read before.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn finish(self, catalogue: &mut Catalogue) -> Result<(), ManifestError> {
        self.finish_above(LITTLE, catalogue)
    }

    fn finish_above(self, little: u64, catalogue: &mut Catalogue) -> Result<(), ManifestError> {
        match catalogue.lines_state()? {
            Some(state) if state.dead > little && state.dead > self.log.len() / 2 => self.compact(catalogue),
            _ => Ok(()),
        }
    }

    fn compact(self, catalogue: &mut Catalogue) -> Result<(), ManifestError> {
        let mut rows = Vec::new();
        catalogue.index_files(&mut |row| rows.push(row))?;
        let (writer, _) = Self::replace(&self.dir, catalogue, Some((self.reader()?, rows)))?;
        remove_others(&self.dir, writer.log.path())
    }

    /// Checks every frame on all processors; gives the number of damaged ones, which have no row any more.
    fn verify(&mut self, catalogue: &mut Catalogue) -> Result<u64, ManifestError> {
        let reader = self.reader()?;
        let mut rows = Vec::new();
        catalogue.index_files(&mut |row| rows.push(row))?;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let part = rows.len().div_ceil(threads).max(1);
        let whole = thread::scope(|scope| {
            let parts: Vec<_> =
                rows.chunks(part).map(|rows| scope.spawn(|| are_whole(&reader, rows))).collect();
            parts.into_iter().try_fold(true, |whole, part| {
                let failed = || at("check", self.log.path())(io::Error::other("a thread panicked"));
                Ok::<_, ManifestError>(part.join().map_err(|_| failed())?? && whole)
            })
        })?;
        if whole {
            return Ok(0);
        }
        let (writer, damaged) = Self::replace(&self.dir, catalogue, Some((reader, rows)))?;
        *self = writer;
        Ok(damaged)
    }

    /// Opened anew: where reading at an offset moves a position, it must not be the one of writing.
    fn reader(&self) -> Result<LinesReader, ManifestError> {
        let path = self.log.path();
        Ok(LinesReader::of(File::open(path).map_err(at("open", path))?, path, 0))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ManifestError> {
        self.log.append(bytes).map_err(log_fault)
    }

    fn sync(&self) -> Result<(), ManifestError> {
        self.log.sync().map_err(log_fault)
    }
}

/// Whether every one of `rows` has the frame that it speaks of.
fn are_whole(reader: &LinesReader, rows: &[IndexFileRow]) -> Result<bool, ManifestError> {
    for row in rows {
        match reader.read(row) {
            Ok(_) => {}
            Err(error) if error.kind() == FaultKind::Integrity => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The newest file that is there, with the rows that its frames make.
fn newest(dir: &Path) -> Result<Option<(LinesReader, Vec<IndexFileRow>)>, ManifestError> {
    let Some(generation) = generations(dir)?.into_iter().max() else { return Ok(None) };
    let path = file_of(dir, generation);
    let file = mirror_fs::open_to_read(&path).map_err(at("open", &path))?;
    let reader = LinesReader::of(file, &path, generation);
    if !reader.holds(0)? {
        return Ok(None);
    }
    let rows = reader.scan()?;
    Ok(Some((reader, rows)))
}

fn generations(dir: &Path) -> Result<Vec<u64>, ManifestError> {
    let named = |entry: io::Result<std::fs::DirEntry>| generation_of(entry.ok()?.file_name().to_str()?);
    Ok(std::fs::read_dir(dir).map_err(at("list the directory of", dir))?.filter_map(named).collect())
}

/// Removes the files of other generations, which no row speaks of.
fn remove_others(dir: &Path, own: &Path) -> Result<(), ManifestError> {
    for entry in std::fs::read_dir(dir).map_err(at("list the directory of", dir))?.flatten() {
        let path = entry.path();
        if path != own && entry.file_name().to_str().is_some_and(|name| generation_of(name).is_some()) {
            mirror_fs::remove(&path).map_err(at("remove", &path))?;
        }
    }
    Ok(())
}

fn disk() -> Arc<dyn Fs> {
    Arc::new(LocalFs::new(SyncMode::EachFile))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests damage files of their own")]
mod tests {
    use super::super::{LinePacker, TextDigest};
    use super::*;
    use crate::{Change, IndexCursor};

    struct Mirror {
        dir: tempfile::TempDir,
        catalogue: Catalogue,
    }

    fn text(name: &str, n: usize) -> Vec<u8> {
        format!("{{\"name\":\"{name}\",\"vers\":\"0.0.{n}\",\"x\":1.50}}\n").repeat(n % 7 + 1).into_bytes()
    }

    impl Mirror {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("dir");
            let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("catalogue");
            Self { dir, catalogue }
        }

        fn open(&mut self, verify: bool) -> (LinesWriter, LinesReport) {
            LinesWriter::open(self.dir.path(), &mut self.catalogue, verify).expect("open")
        }

        fn keep(&mut self, writer: &mut LinesWriter, files: &[(&str, Vec<u8>)]) {
            let mut packer = LinePacker::new().expect("packer");
            let pack =
                |(path, text): &(&str, Vec<u8>)| packer.pack(path, TextDigest::of(text), text).expect("pack");
            let packed: Vec<_> = files.iter().map(pack).collect();
            let rows = writer.append(&packed).expect("append");
            self.catalogue
                .apply(&rows.into_iter().map(Change::IndexFile).collect::<Vec<_>>())
                .expect("apply");
        }

        fn set_cursor(&mut self) {
            let cursor = IndexCursor {
                tree: "here".to_owned(),
                selection: String::new(),
                selected: 1,
                yanked_skipped: 0,
                bad_files: [].into(),
            };
            self.catalogue.set_cursor(&cursor).expect("cursor");
        }

        fn read(&self, path: &str) -> Option<Vec<u8>> {
            let reader = LinesReader::open(self.dir.path(), &self.catalogue).expect("open")?;
            let row = self.catalogue.index_file(path).expect("row")?;
            reader.read(&row).ok()
        }

        fn file(&self) -> PathBuf {
            file_of(self.dir.path(), self.catalogue.lines_state().expect("state").expect("some").generation)
        }
    }

    #[test]
    fn what_was_kept_is_read_byte_for_byte() {
        let mut mirror = Mirror::new();
        let (mut writer, report) = mirror.open(false);
        assert_eq!(report, LinesReport::default());
        mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
        mirror.keep(&mut writer, &[("1/a", text("a", 10)), ("2/ab", Vec::new())]);
        assert_eq!(mirror.read("se/rd/serde"), Some(text("serde", 3)));
        assert_eq!(mirror.read("1/a"), Some(text("a", 10)));
        assert_eq!(mirror.read("2/ab"), Some(Vec::new()));
        assert_eq!(mirror.read("2/cd"), None);
        drop(writer);
        assert_eq!(mirror.open(true).1, LinesReport::default());
        assert_eq!(mirror.read("1/a"), Some(text("a", 10)));
    }

    #[test]
    fn a_file_cut_anywhere_is_begun_anew_and_a_torn_tail_does_no_harm() {
        let mut mirror = Mirror::new();
        let (mut writer, _) = mirror.open(false);
        mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
        mirror.set_cursor();
        let whole = std::fs::read(mirror.file()).expect("read");
        // Behind the last row there may be anything.
        std::fs::write(mirror.file(), [whole.as_slice(), b"torn"].concat()).expect("write");
        drop(writer);
        assert_eq!(mirror.open(false).1, LinesReport::default());
        assert_eq!(std::fs::read(mirror.file()).expect("read"), whole);
        assert!(mirror.catalogue.cursor().expect("cursor").is_some());
        for len in 0..whole.len() {
            let path = mirror.file();
            std::fs::write(&path, &whole[..len]).expect("write");
            let (mut writer, report) = mirror.open(false);
            assert!(report.lost, "cut at {len}");
            assert_eq!(mirror.read("1/a"), None);
            assert_eq!(mirror.catalogue.cursor().expect("cursor"), None);
            assert!(!path.exists());
            mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
            assert_eq!(mirror.read("1/a"), Some(text("a", 9)));
            mirror.set_cursor();
        }
        std::fs::remove_file(mirror.file()).expect("remove");
        assert!(mirror.open(false).1.lost);
    }

    #[test]
    fn a_damaged_frame_is_noticed() {
        let mut mirror = Mirror::new();
        let (mut writer, _) = mirror.open(false);
        mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
        mirror.set_cursor();
        drop(writer);
        let row = mirror.catalogue.index_file("1/a").expect("row").expect("some");
        let mut bytes = std::fs::read(mirror.file()).expect("read");
        for at in row.frame_offset..row.frame_offset + row.frame_len {
            let at = usize::try_from(at).expect("offset");
            bytes[at] ^= 0x55;
            std::fs::write(mirror.file(), &bytes).expect("write");
            assert_eq!(mirror.read("1/a"), None, "byte {at}");
            bytes[at] ^= 0x55;
        }
        *bytes.last_mut().expect("byte") ^= 1;
        std::fs::write(mirror.file(), &bytes).expect("write");
        assert_eq!(mirror.open(false).1.damaged, 0, "lengths alone are looked at");
        assert_eq!(mirror.open(true).1.damaged, 1);
        assert_eq!(mirror.catalogue.cursor().expect("cursor"), None);
        assert_eq!(mirror.catalogue.index_file("1/a").expect("row"), None);
        assert_eq!(mirror.read("se/rd/serde"), Some(text("serde", 3)));
    }

    #[test]
    fn a_catalogue_that_was_made_anew_gets_its_rows_from_the_file() {
        let mut mirror = Mirror::new();
        let (mut writer, _) = mirror.open(false);
        let large = text("large", 5).repeat(60_000);
        mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
        mirror.keep(
            &mut writer,
            &[("1/a", text("a", 10)), ("2/ab", Vec::new()), ("la/rg/large", large.clone())],
        );
        drop(writer);
        let torn =
            [std::fs::read(mirror.file()).expect("read").as_slice(), &[0x28, 0xb5, 0x2f, 0xfd, 4]].concat();
        std::fs::write(mirror.file(), torn).expect("write");
        mirror.catalogue = Catalogue::open(&mirror.dir.path().join("other.sqlite")).expect("catalogue");
        assert_eq!(mirror.open(false).1, LinesReport::default());
        assert_eq!(mirror.read("se/rd/serde"), Some(text("serde", 3)));
        assert_eq!(mirror.read("1/a"), Some(text("a", 10)), "the newest counts");
        assert_eq!(mirror.read("la/rg/large"), Some(large));
        assert_eq!(mirror.read("2/ab"), None, "nothing says whose it was");
    }

    #[test]
    fn what_is_dead_is_left_behind_and_readers_go_on() {
        let mut mirror = Mirror::new();
        let (mut writer, _) = mirror.open(false);
        for n in 0..40 {
            mirror.keep(&mut writer, &[("1/a", text("a", n))]);
        }
        mirror.keep(&mut writer, &[("1/b", text("b", 1))]);
        mirror.set_cursor();
        let old = LinesReader::open(mirror.dir.path(), &mirror.catalogue).expect("open").expect("some");
        let row = mirror.catalogue.index_file("1/a").expect("row").expect("some");
        let before = std::fs::metadata(mirror.file()).expect("file").len();
        writer.finish_above(0, &mut mirror.catalogue).expect("finish");
        assert!(std::fs::metadata(mirror.file()).expect("file").len() < before / 5);
        assert_eq!(old.read(&row).expect("old"), text("a", 39));
        assert_eq!(mirror.read("1/a"), Some(text("a", 39)));
        assert_eq!(mirror.read("1/b"), Some(text("b", 1)));
        assert!(mirror.catalogue.cursor().expect("cursor").is_some());
        let state = mirror.catalogue.lines_state().expect("state").expect("some");
        assert_eq!((state.generation, state.dead), (2, 0));
        let (writer, report) = mirror.open(true);
        assert_eq!(report, LinesReport::default());
        writer.finish(&mut mirror.catalogue).expect("finish");
        assert_eq!(mirror.catalogue.lines_state().expect("state").expect("some").generation, 2);
    }
}
