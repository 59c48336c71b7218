use std::fs;
use std::io;
use std::time::SystemTime;

use crate::error::{StoreError, at};
use crate::path::below;
use crate::store::Store;
use crate::times::nanos;

/// The times of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirTimes {
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The time of the last change of any attribute, the times included: restoring the old modification time cannot
    /// hide a change. 0 where the system has no such time.
    pub ctime_ns: i64,
}

/// The files of one directory.
#[derive(Debug, Clone)]
pub struct DirListing {
    /// Names of the regular files that are valid UTF-8.
    pub files: Vec<String>,
    /// Times of the directory before it was listed.
    pub times: DirTimes,
    /// The time of the listing, nanoseconds since 1970.
    pub listed_ns: i64,
}

impl Store {
    /// Lists the names of the files below a directory of `.mirror`, with `/` between their parts, sorted. A missing
    /// directory counts as an empty one.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn list_state(&self, rel: &str) -> Result<Vec<String>, StoreError> {
        let root = below(&self.state_dir(), rel)?;
        self.check_dirs(&format!(".mirror/{rel}/file"))?;
        let (mut found, mut dirs) = (Vec::new(), vec![String::new()]);
        while let Some(dir) = dirs.pop() {
            let path = root.join(&dir);
            let entries = match mirror_fs::patient(|| fs::read_dir(&path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(at("list", &path))?,
            };
            for entry in entries {
                let entry = entry.map_err(at("list", &path))?;
                let kind = entry.file_type().map_err(at("look at", &entry.path()))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let name = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                if kind.is_dir() {
                    dirs.push(name);
                } else if kind.is_file() {
                    found.push(name);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Returns the times of a directory; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be looked at, or is no directory.
    pub fn dir_times(&self, rel: &str) -> Result<Option<DirTimes>, StoreError> {
        let path = below(self.root(), rel)?;
        match fs::symlink_metadata(&path) {
            Ok(meta) if !meta.is_dir() => Err(StoreError::Strange { path, expected: "a directory" }),
            Ok(meta) => {
                let mtime_ns = nanos(meta.modified().map_err(at("look at", &path))?);
                Ok(Some(DirTimes { mtime_ns, ctime_ns: ctime_ns(&meta) }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("look at", &path)(error)),
        }
    }

    /// Lists a directory; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not a directory.
    pub fn list_dir(&self, rel: &str) -> Result<Option<DirListing>, StoreError> {
        let Some(times) = self.dir_times(rel)? else { return Ok(None) };
        let path = below(self.root(), rel)?;
        let listed_ns = nanos(SystemTime::now());
        let mut files = Vec::new();
        for entry in mirror_fs::patient(|| fs::read_dir(&path)).map_err(at("list", &path))? {
            let entry = entry.map_err(at("list", &path))?;
            let regular = entry.file_type().map_err(at("look at", &entry.path()))?.is_file();
            if let (true, Ok(name)) = (regular, entry.file_name().into_string()) {
                files.push(name);
            }
        }
        Ok(Some(DirListing { files, times, listed_ns }))
    }

    /// Returns the names of the regular files in a directory of the tree, `""` for its root. Blocks.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn list_files(&self, rel: &str) -> Result<Vec<String>, StoreError> {
        if !rel.is_empty() {
            return Ok(self.list_dir(rel)?.map_or_else(Vec::new, |listing| listing.files));
        }
        let path = self.root();
        let mut files = Vec::new();
        for entry in mirror_fs::patient(|| fs::read_dir(path)).map_err(at("list", path))? {
            let entry = entry.map_err(at("list", path))?;
            let regular = entry.file_type().map_err(at("look at", &entry.path()))?.is_file();
            if let (true, Ok(name)) = (regular, entry.file_name().into_string()) {
                files.push(name);
            }
        }
        Ok(files)
    }

    /// Lists the directories in a directory of the tree, `""` for its root, as paths below the root. Leaves out links,
    /// `.mirror`, and names that occur in no layout.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn list_dirs(&self, rel: &str) -> Result<Vec<String>, StoreError> {
        let path = if rel.is_empty() { self.root().to_owned() } else { below(self.root(), rel)? };
        let mut dirs = Vec::new();
        for entry in mirror_fs::patient(|| fs::read_dir(&path)).map_err(at("list", &path))? {
            let entry = entry.map_err(at("list", &path))?;
            let is_dir = entry.file_type().map_err(at("look at", &entry.path()))?.is_dir();
            if let (true, Ok(name)) = (is_dir, entry.file_name().into_string())
                && name != ".mirror"
                && below(self.root(), &name).is_ok()
            {
                dirs.push(if rel.is_empty() { name } else { format!("{rel}/{name}") });
            }
        }
        Ok(dirs)
    }
}

#[cfg(unix)]
fn ctime_ns(meta: &fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec())
}

#[cfg(not(unix))]
fn ctime_ns(_: &fs::Metadata) -> i64 {
    0
}
