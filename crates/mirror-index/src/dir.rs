use std::fs;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::IndexError;
use crate::oversize;
use crate::record::IndexFile;
use crate::source::{Visit, holds_index_files, is_index_file};

/// A plain directory of index files.
#[derive(Debug)]
pub struct DirIndex {
    root: PathBuf,
    max_file_bytes: usize,
}

impl DirIndex {
    pub(crate) fn new(root: &Path, max_file_bytes: usize) -> Self {
        Self { root: root.to_owned(), max_file_bytes }
    }

    pub(crate) fn scan(&self, visit: &mut dyn FnMut(IndexFile) -> ControlFlow<()>) -> Result<(), IndexError> {
        walk(&self.root, "", &mut |path| {
            let data = self.read(path)?;
            Ok(visit(IndexFile { path: path.to_owned(), data }))
        })
        .map(drop)
    }

    /// On several threads, each of which takes directories at the top.
    pub(crate) fn scan_unordered<'v>(
        &self,
        threads: usize,
        visitor: &(dyn Fn() -> Visit<'v> + Sync),
    ) -> Result<(), IndexError> {
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

    /// Returns one file; what is no plain file is none, as in a scan.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Vec<u8>>, IndexError> {
        let is_none = |error: &io::Error| {
            error.kind() == io::ErrorKind::NotFound || mirror_fs::not_plain(error).is_some()
        };
        match self.read(path) {
            Err(IndexError::Io { source, .. }) if is_none(&source) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Returns a small file and its size; only the size of one that is larger than `most` bytes.
    pub(crate) fn small_file(&self, path: &str, most: u64) -> Result<Option<(u64, Vec<u8>)>, IndexError> {
        let path = self.root.join(path);
        let mut data = Vec::new();
        match read_within(&path, most, &mut data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(|size| Some((size, data))).map_err(fail(&path)),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, IndexError> {
        let mut data = Vec::new();
        self.read_into(path, &mut data).map(|()| data)
    }

    /// Reads a plain file, or puts down what stands in for one that is too large.
    fn read_into(&self, path: &str, data: &mut Vec<u8>) -> Result<(), IndexError> {
        let path = self.root.join(path);
        data.clear();
        let max_bytes = self.max_file_bytes as u64;
        let size = read_within(&path, max_bytes, data).map_err(fail(&path))?;
        if size > max_bytes {
            *data = oversize::large(size, self.max_file_bytes);
        }
        Ok(())
    }

    fn lost(&self) -> IndexError {
        fail(&self.root)(io::Error::other("a thread that read it ended badly"))
    }
}

/// Reads a plain file, unless it is larger than `most` bytes, and returns its size. It may grow meanwhile.
fn read_within(path: &Path, most: u64, data: &mut Vec<u8>) -> io::Result<u64> {
    let file = mirror_fs::open_to_read(path)?;
    let size = file.metadata()?.len();
    if size > most { Ok(size) } else { Ok(file.take(most + 1).read_to_end(data)? as u64) }
}

fn fail(path: &Path) -> impl FnOnce(io::Error) -> IndexError {
    let path = path.to_owned();
    move |source| IndexError::Io { path, source }
}

/// Gives the path of every index file below `dir`, in the order of git's trees. Links are not followed.
fn walk(
    dir: &Path,
    prefix: &str,
    visit: &mut dyn FnMut(&str) -> Result<ControlFlow<()>, IndexError>,
) -> Result<ControlFlow<()>, IndexError> {
    for name in list(dir, prefix)? {
        let shown = format!("{prefix}{name}");
        let flow = if name.ends_with('/') { walk(&dir.join(&name), &shown, visit)? } else { visit(&shown)? };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The names in a directory, as far as they can belong to an index, as git sorts them: a directory's as if it
/// ended in `/`, and here it does.
fn list(dir: &Path, prefix: &str) -> Result<Vec<String>, IndexError> {
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
