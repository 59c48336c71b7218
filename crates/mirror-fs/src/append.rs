use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Fs;

/// An operation on a file that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {}", path.display())]
pub struct FileError {
    /// The operation that failed, as in `append to`.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub source: io::Error,
}

/// A file that is only written at its end. The caller must see to it that only one value at a time writes it.
#[derive(Debug)]
pub struct AppendLog {
    fs: Arc<dyn Fs>,
    file: File,
    path: PathBuf,
    len: u64,
}

impl AppendLog {
    /// Opens a file, creating it if it does not exist. Its name is durable once the directory is synced.
    ///
    /// # Errors
    /// [`NotPlain`](crate::NotPlain) when a link or anything but a regular file is there; when the disk refuses.
    pub fn open(fs: Arc<dyn Fs>, path: PathBuf) -> Result<Self, FileError> {
        match fs.open_to_append(&path) {
            Ok(file) => Self::of(fs, file, path),
            Err(source) => Err(FileError { doing: "open", path, source }),
        }
    }

    /// Creates a file that does not exist yet. Its name is durable once the directory is synced.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(fs: Arc<dyn Fs>, path: PathBuf) -> Result<Self, FileError> {
        match fs.create_new(&path) {
            Ok(file) => Self::of(fs, file, path),
            Err(source) => Err(FileError { doing: "create", path, source }),
        }
    }

    /// Wraps a file that [`Fs::open_to_append`] opened. Its position must be at its end.
    ///
    /// # Errors
    /// When the system does not report its length.
    pub fn of(fs: Arc<dyn Fs>, file: File, path: PathBuf) -> Result<Self, FileError> {
        match file.metadata() {
            Ok(meta) => Ok(Self { fs, file, path, len: meta.len() }),
            Err(source) => Err(FileError { doing: "look at", path, source }),
        }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length in bytes, without asking the system.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the file is empty, without asking the system.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes. Not durable before [`AppendLog::sync`]. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; a part of the bytes may be there then, and the log cannot be used any more.
    pub fn append(&mut self, data: &[u8]) -> Result<(), FileError> {
        self.fs.append(&self.file, &self.path, data).map_err(|source| self.error("append to", source))?;
        self.len += data.len() as u64;
        Ok(())
    }

    /// Cuts the file to `len` bytes when it is longer. Not durable before [`AppendLog::sync`]. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn cut(&mut self, len: u64) -> Result<(), FileError> {
        if len < self.len {
            self.fs.cut(&self.file, &self.path, len).map_err(|source| self.error("cut", source))?;
            self.len = len;
        }
        Ok(())
    }

    /// Makes everything that was appended or cut durable. A failure is final. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), FileError> {
        self.fs.sync_file(&self.file, &self.path).map_err(|source| self.error("make durable", source))
    }

    fn error(&self, doing: &'static str, source: io::Error) -> FileError {
        FileError { doing, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LocalFs, SyncMode};

    #[test]
    fn a_log_goes_on_at_its_end() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        let fs: Arc<dyn Fs> = Arc::new(LocalFs::new(SyncMode::EachFile));
        let open = || AppendLog::open(Arc::clone(&fs), path.clone()).expect("open");
        let mut log = open();
        assert!(log.is_empty());
        log.append(b"one, two").expect("append");
        log.sync().expect("sync");
        drop(log);
        let mut log = open();
        assert_eq!(log.len(), 8);
        log.cut(20).expect("longer than it is");
        log.cut(5).expect("cut");
        log.append(b"three").expect("append");
        assert_eq!((log.len(), std::fs::read(&path).expect("read")), (10, b"one, three".to_vec()));
        let error = AppendLog::create(fs, path.clone()).expect_err("it is there");
        assert_eq!((error.doing, error.source.kind()), ("create", io::ErrorKind::AlreadyExists));
        assert_eq!(error.to_string(), format!("could not create {}", path.display()));
    }
}
