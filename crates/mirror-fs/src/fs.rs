use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::patient;
use crate::sync::SyncMode;

/// The changes of which a commit consists. [`LocalFs`] makes them; a `Simulator` (feature `simulator`) also records
/// them, makes one of them fail, and shows what a power cut leaves after each. Blocking.
///
/// Cleaning up files without a final name is no part of it: the next run removes what a crash leaves there.
pub trait Fs: fmt::Debug + Send + Sync {
    /// Creates a file with these bytes where none exists; leaves nothing behind on failure. Not durable.
    ///
    /// # Errors
    /// When the disk refuses.
    fn write_new(&self, path: &Path, data: &[u8]) -> io::Result<()>;

    /// Creates an empty file where none exists, to be read and [appended](Fs::append) to.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create_new(&self, path: &Path) -> io::Result<File>;

    /// Opens a file to be read and [appended](Fs::append) to, at its end; creates it if it does not exist.
    ///
    /// # Errors
    /// [`NotPlain`](crate::NotPlain) when a link or anything but a regular file is there; when the disk refuses.
    fn open_to_append(&self, path: &Path) -> io::Result<File>;

    /// Writes bytes at the position of the file, which must be its end. Not durable.
    ///
    /// # Errors
    /// When the disk refuses; a part of the bytes may be there then.
    fn append(&self, file: &File, path: &Path, data: &[u8]) -> io::Result<()>;

    /// Cuts a file to `len` bytes and moves to its end. Not durable.
    ///
    /// # Errors
    /// When the disk refuses.
    fn cut(&self, file: &File, path: &Path, len: u64) -> io::Result<()>;

    /// Makes the bytes and the length of an open file durable. A failure is final.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()>;

    /// Makes `files` below `root`, already written, durable. A failure is final.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_files(&self, root: &Path, files: &[&Path]) -> io::Result<()>;

    /// Creates a directory where nothing exists. Its name is durable once its parent is synced.
    ///
    /// # Errors
    /// `AlreadyExists` when anything is there; when the disk refuses.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing an existing one. Durable once both directories are synced.
    ///
    /// # Errors
    /// When the disk refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable once its directory is synced.
    ///
    /// # Errors
    /// `NotFound` when nothing is there; when the disk refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `dirs`, which are `root` or below it, durable. A failure is final.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_dirs(&self, root: &Path, dirs: &[&Path]) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy)]
pub struct LocalFs {
    /// The way of syncing; `None` syncs nothing.
    mode: Option<SyncMode>,
}

impl LocalFs {
    /// Makes batches durable in the way of `mode`.
    #[must_use]
    pub const fn new(mode: SyncMode) -> Self {
        Self { mode: Some(mode) }
    }

    /// Makes nothing durable: for tests that simulate thousands of power cuts themselves.
    #[cfg(any(test, feature = "simulator"))]
    #[must_use]
    pub const fn unsynced() -> Self {
        Self { mode: None }
    }
}

impl Fs for LocalFs {
    fn write_new(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let written = patient(|| File::create_new(path)).and_then(|mut file| file.write_all(data));
        if written.is_err() {
            let _ = fs::remove_file(path);
        }
        written
    }

    fn create_new(&self, path: &Path) -> io::Result<File> {
        patient(|| crate::create_new(path))
    }

    fn open_to_append(&self, path: &Path) -> io::Result<File> {
        let mut file = patient(|| crate::open_or_create(path))?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    }

    fn append(&self, mut file: &File, _: &Path, data: &[u8]) -> io::Result<()> {
        file.write_all(data)
    }

    fn cut(&self, mut file: &File, _: &Path, len: u64) -> io::Result<()> {
        file.set_len(len)?;
        file.seek(SeekFrom::Start(len)).map(drop)
    }

    fn sync_file(&self, file: &File, _: &Path) -> io::Result<()> {
        self.mode.map_or(Ok(()), |_| file.sync_data())
    }

    fn sync_files(&self, root: &Path, files: &[&Path]) -> io::Result<()> {
        self.mode.map_or(Ok(()), |mode| mode.files(root, files))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dirs(&self, root: &Path, dirs: &[&Path]) -> io::Result<()> {
        self.mode.map_or(Ok(()), |mode| mode.dirs(root, dirs))
    }
}
