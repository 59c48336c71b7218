use std::fs;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::DirError;
use crate::oversize;
use crate::paths::{holds_index_files, is_index_file};
use crate::record::{IndexFile, Visit};

/// A plain directory of index files.
#[derive(Debug)]
pub struct DirIndex {
    root: PathBuf,
    max_file_bytes: usize,
}

impl DirIndex {
    /// Makes the index below `root`. Files of more than `max_file_bytes` are not read. Does no I/O.
    #[must_use]
    pub fn new(root: &Path, max_file_bytes: usize) -> Self {
        Self { root: root.to_owned(), max_file_bytes }
    }

    /// Passes every file to `visit`, in bytewise order of paths, until it breaks. One file is in memory at a time.
    /// Blocks.
    ///
    /// # Errors
    /// When a directory or a file cannot be read.
    pub fn scan(&self, visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), DirError> {
        walk(&self.root, "", &mut |path| {
            let data = self.read(path)?;
            Ok(visit(IndexFile { path: path.to_owned(), data }))
        })
        .map(drop)
    }

    /// Passes every file to visitors, one of which `visitor` makes for each of `threads` threads, until one of them
    /// breaks. The threads share the directories at the top. Blocks.
    ///
    /// # Errors
    /// When a directory or a file cannot be read.
    pub fn scan_unordered<'v>(
        &self,
        threads: usize,
        visitor: &(dyn Fn() -> Visit<'v> + Sync),
    ) -> Result<(), DirError> {
        let tops = list(&self.root, "")?;
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let mut visit = visitor();
            let mut data = Vec::new();
            let mut give = |path: &str| {
                if stop.load(Ordering::Relaxed) {
                    return Ok(ControlFlow::Break(()));
                }
                self.read_into(path, &mut data)?;
                Ok(visit(path, &data))
            };
            while let Some(top) = tops.get(next.fetch_add(1, Ordering::Relaxed)) {
                let flow = match top.ends_with('/') {
                    true => walk(&self.root.join(top), top, &mut give),
                    false => give(top),
                };
                if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                    stop.store(true, Ordering::Relaxed);
                    return flow.map(drop);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            others
                .into_iter()
                .fold(own, |done, other| done.and(other.join().unwrap_or_else(|_| Err(self.lost()))))
        })
    }

    /// Returns one file; `None` for anything but a plain file, as in a scan. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, DirError> {
        let is_none = |error: &io::Error| {
            error.kind() == io::ErrorKind::NotFound || mirror_fs::not_plain(error).is_some()
        };
        match self.read(path) {
            Err(DirError { source, .. }) if is_none(&source) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Returns a small file and its size; for a file of more than `most` bytes only the size. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn small_file(&self, path: &str, most: u64) -> Result<Option<(u64, Vec<u8>)>, DirError> {
        let path = self.root.join(path);
        let mut data = Vec::new();
        match read_within(&path, most, &mut data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(|size| Some((size, data))).map_err(fail(&path)),
        }
    }

    /// Returns the directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, DirError> {
        let mut data = Vec::new();
        self.read_into(path, &mut data).map(|()| data)
    }

    /// Reads a plain file, or writes the stand-in for one that is too large into `data`.
    fn read_into(&self, path: &str, data: &mut Vec<u8>) -> Result<(), DirError> {
        let path = self.root.join(path);
        data.clear();
        let max_bytes = self.max_file_bytes as u64;
        let size = read_within(&path, max_bytes, data).map_err(fail(&path))?;
        if size > max_bytes {
            *data = oversize::large(size, self.max_file_bytes);
        }
        Ok(())
    }

    fn lost(&self) -> DirError {
        fail(&self.root)(io::Error::other("a thread that read it ended badly"))
    }
}

/// Reads a plain file, unless it is larger than `most` bytes, and returns its size. The file may grow meanwhile.
fn read_within(path: &Path, most: u64, data: &mut Vec<u8>) -> io::Result<u64> {
    let file = mirror_fs::open_to_read(path)?;
    let size = file.metadata()?.len();
    if size > most { Ok(size) } else { Ok(file.take(most + 1).read_to_end(data)? as u64) }
}

fn fail(path: &Path) -> impl FnOnce(io::Error) -> DirError {
    let path = path.to_owned();
    move |source| DirError { path, source }
}

/// Passes on the path of every index file below `dir`, in the order of git's trees. Follows no links.
fn walk(
    dir: &Path,
    prefix: &str,
    visit: &mut dyn FnMut(&str) -> Result<ControlFlow<()>, DirError>,
) -> Result<ControlFlow<()>, DirError> {
    for name in list(dir, prefix)? {
        let shown = format!("{prefix}{name}");
        let flow = if name.ends_with('/') { walk(&dir.join(&name), &shown, visit)? } else { visit(&shown)? };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Lists the names in a directory that can belong to an index, sorted as in git: a directory as if its name ended in
/// `/`, which it does here.
fn list(dir: &Path, prefix: &str) -> Result<Vec<String>, DirError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail(dir))? {
        let entry = entry.map_err(fail(dir))?;
        let kind = entry.file_type().map_err(fail(&entry.path()))?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        if kind.is_dir() && holds_index_files(&path) {
            name.push('/');
        } else if !(kind.is_file() && is_index_file(&path)) {
            continue;
        }
        entries.push(name);
    }
    entries.sort_unstable();
    Ok(entries)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests make an index to read")]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::glance::Glance;

    /// Largest file that the tests read, bytes.
    const MOST: usize = 16;

    fn index(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("dir");
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        }
        dir
    }

    #[test]
    fn both_scans_pass_every_index_file_and_nothing_else() {
        let dir = index(&[
            ("se/rd/serde", "serde"),
            ("1/a", "a"),
            ("a-/_b/a-_b", "a-_b"),
            ("config.json", "{}"),
            (".git/aa/bb/aabb", "no"),
            ("se/rd/other", "no"),
            ("la/rg/large", "more than 16 bytes"),
        ]);
        let index = DirIndex::new(dir.path(), MOST);
        let mut ordered = Vec::new();
        let scanned = index.scan(&mut |file| {
            ordered.push((file.path, file.data));
            ControlFlow::Continue(())
        });
        scanned.expect("read");
        let large = oversize::large(18, MOST);
        let expected = [
            ("1/a", &b"a"[..]),
            ("a-/_b/a-_b", b"a-_b"),
            ("la/rg/large", large.as_slice()),
            ("se/rd/serde", b"serde"),
        ]
        .map(|(path, data)| (path.to_owned(), data.to_vec()));
        assert_eq!(ordered, expected);

        let unordered = Mutex::new(Vec::new());
        let visitor = || -> Visit<'_> {
            Box::new(|path, data| {
                unordered.lock().expect("files").push((path.to_owned(), data.to_vec()));
                ControlFlow::Continue(())
            })
        };
        index.scan_unordered(3, &visitor).expect("read");
        let mut unordered = unordered.into_inner().expect("files");
        unordered.sort_unstable();
        assert_eq!(unordered, expected);
    }

    #[test]
    fn an_absent_file_is_none_and_an_absent_index_an_error() {
        let dir = index(&[("1/a", "a"), ("config.json", "{\"dl\":\"x\"}")]);
        let index = DirIndex::new(dir.path(), MOST);
        assert_eq!(index.file("1/a").expect("read").as_deref(), Some(&b"a"[..]));
        assert_eq!(index.file("1/b").expect("read"), None);
        assert_eq!(
            index.small_file("config.json", 10).expect("read"),
            Some((10, b"{\"dl\":\"x\"}".to_vec()))
        );
        assert_eq!(index.small_file("config.json", 9).expect("read"), Some((10, Vec::new())));
        assert_eq!(index.small_file("none.json", 9).expect("read"), None);

        let absent = dir.path().join("absent");
        let error =
            DirIndex::new(&absent, MOST).scan(&mut |_| ControlFlow::Continue(())).expect_err("absent");
        assert_eq!(error.path, absent);
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_glance_ends_at_the_first_line_of_an_index() {
        let glance = |files: &[(&str, &str)]| {
            let dir = index(files);
            let index = DirIndex::new(dir.path(), 1 << 10);
            let mut read = 0;
            let glance = Glance::of(|visit| {
                index.scan(&mut |file| {
                    read += 1;
                    visit(file)
                })
            });
            (glance.expect("read"), read)
        };
        let line = r#"{"name":"b","vers":"1.0.0"}"#;
        assert_eq!(glance(&[]), (Glance::Empty, 0));
        assert_eq!(glance(&[("1/a", "text"), ("1/b", line), ("1/c", "text")]), (Glance::Index, 2));
        let foreign = Glance::Foreign { files: 2, path: "1/a".to_owned(), what: "a web page" };
        assert_eq!(glance(&[("1/a", "<html>"), ("1/b", "text")]), (foreign, 2));
    }
}
