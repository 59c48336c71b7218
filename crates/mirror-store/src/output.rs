use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mirror_fs::{LockFault, TempFile, patient};

use crate::error::{StoreError, at};

/// A single file that is written under a temporary name and gets its own when it is whole, replacing an old file
/// atomically. One process at a time writes it. If it is dropped unpublished, nothing remains; the next run overwrites
/// what a crash leaves.
#[derive(Debug)]
pub struct OutputFile {
    temp: TempFile,
    path: PathBuf,
}

impl OutputFile {
    /// Begins to write the file for `path`; until it is published, its name is `path` with `.partial` appended.
    ///
    /// # Errors
    /// When another process is writing it, something other than a file is there, or the disk refuses.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        for path in [path, &partial] {
            if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
                return Err(StoreError::Strange { path: path.to_owned(), expected: "a regular file" });
            }
        }
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            mirror_fs::make_dir_all(dir).map_err(at("create", dir))?;
        }
        let file = loop {
            let file = patient(|| mirror_fs::open_or_create(&partial)).map_err(at("create", &partial))?;
            match mirror_fs::try_lock(&file) {
                Ok(()) => {}
                Err(LockFault::Held { holder }) => {
                    return Err(StoreError::Locked { root: path.to_owned(), holder });
                }
                Err(LockFault::Open(error) | LockFault::Lock(error)) => {
                    return Err(at("lock", &partial)(error));
                }
                Err(other) => return Err(at("lock", &partial)(io::Error::other(other))),
            }
            // Another process may have published it since it was opened.
            if mirror_fs::is_at(&file, &partial) {
                break file;
            }
        };
        let output = Self { temp: TempFile::of(file, &partial), path: path.to_owned() };
        output.set_len(0)?;
        Ok(output)
    }

    /// Sets its length to `len` bytes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.temp.file().set_len(len).map_err(at("set the length of", self.temp.path()))
    }

    /// Writes `data` at `offset`. Several threads may write at the same time. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        mirror_fs::write_all_at(self.temp.file(), data, offset).map_err(at("write", self.temp.path()))
    }

    /// Reads what was written at `offset`, as much as `out` holds. Several threads may read at the same time. Blocks.
    ///
    /// # Errors
    /// When there is less, or the disk refuses.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        mirror_fs::read_exact_at(self.temp.file(), out, offset).map_err(at("read", self.temp.path()))
    }

    /// Makes it durable and publishes it under its name. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; the old file is there then, or this one as a whole.
    pub fn publish(self) -> Result<(), StoreError> {
        let Self { temp, path } = self;
        temp.sync().map_err(at("make durable", temp.path()))?;
        temp.publish(&path).map_err(at("publish", &path))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        mirror_fs::sync_dir(dir).map_err(at("make durable", dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_types::FaultKind;

    #[test]
    fn it_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a/out.jsonl");
        let begin = || OutputFile::begin(&path).expect("begin");
        let output = begin();
        output.write_at(2, b"cd").expect("write");
        output.write_at(0, b"ab").expect("write");
        let mut read = [0; 3];
        output.read_at(1, &mut read).expect("read");
        assert_eq!(&read, b"bcd");
        assert!(output.read_at(2, &mut read).is_err(), "only two bytes are left");
        assert!(!path.exists());
        assert_eq!(OutputFile::begin(&path).expect_err("busy").kind(), FaultKind::Locked);
        output.publish().expect("publish");
        assert_eq!(fs::read(&path).expect("read"), b"abcd");
        // Dropped: the old file stays, and nothing is left over.
        begin().write_at(0, b"other").expect("write");
        assert_eq!(fs::read(&path).expect("read"), b"abcd");
        assert_eq!(fs::read_dir(dir.path().join("a")).expect("list").count(), 1);
        // The remains of a crash are no part of the next file.
        fs::write(dir.path().join("a/out.jsonl.partial"), b"a long left-over").expect("write");
        let output = begin();
        output.write_at(0, b"new").expect("write");
        output.publish().expect("publish");
        assert_eq!(fs::read(&path).expect("read"), b"new");
    }

    #[test]
    fn it_replaces_only_files() {
        let dir = tempfile::tempdir().expect("dir");
        assert_eq!(OutputFile::begin(dir.path()).expect_err("directory").kind(), FaultKind::Integrity);
    }
}
