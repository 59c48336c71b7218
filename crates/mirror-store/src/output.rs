use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::patient;
use crate::error::{StoreError, at};

/// A single file that is written under another name and gets its own when it is whole: what was there
/// before is replaced at one moment. One process at a time writes it. Dropped unpublished, it leaves
/// nothing behind; what a crash leaves is written over by the next run.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    path: PathBuf,
    partial: PathBuf,
    published: bool,
}

impl OutputFile {
    /// Begins to write what will be at `path`; meanwhile it is `path` with `.partial` behind it.
    ///
    /// # Errors
    /// When another process writes it, something other than a file is there, or the disk refuses.
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
            fs::create_dir_all(dir).map_err(at("create", dir))?;
        }
        let file = loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let file = patient(|| mirror_fs::open(&partial, &mut options)).map_err(at("create", &partial))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked { root: path.to_owned(), holder: String::new() });
                }
                Err(fs::TryLockError::Error(error)) => return Err(at("lock", &partial)(error)),
            }
            // Whoever had it may have given it its final name since it was opened.
            if is_at(&file, &partial) {
                break file;
            }
        };
        let output = Self { file, path: path.to_owned(), partial, published: false };
        output.set_len(0)?;
        Ok(output)
    }

    /// Makes it `len` bytes long.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.file.set_len(len).map_err(at("set the length of", &self.partial))
    }

    /// Writes `data` at `offset`. Several threads may write at a time. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        write_all_at(&self.file, offset, data).map_err(at("write", &self.partial))
    }

    /// Makes it durable and gives it its name. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; what was there before is there then, or this file whole.
    pub fn publish(mut self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(at("make durable", &self.partial))?;
        fs::rename(&self.partial, &self.path).map_err(at("publish", &self.path))?;
        self.published = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        crate::disk::one_dir(dir).map_err(at("make durable", dir))
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, offset)
}

#[cfg(not(unix))]
fn write_all_at(file: &File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, data, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = &data[written..];
        offset += written as u64;
    }
    Ok(())
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|own| fs::symlink_metadata(path).is_ok_and(|there| same(own, there)))
}

/// An open file cannot be renamed by another process here.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
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
        assert!(!path.exists());
        assert_eq!(OutputFile::begin(&path).expect_err("busy").kind(), FaultKind::Locked);
        output.publish().expect("publish");
        assert_eq!(fs::read(&path).expect("read"), b"abcd");
        // Given up: what was there stays, and nothing lies about.
        begin().write_at(0, b"other").expect("write");
        assert_eq!(fs::read(&path).expect("read"), b"abcd");
        assert_eq!(fs::read_dir(dir.path().join("a")).expect("list").count(), 1);
        // What a crash left is no part of the next one.
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
