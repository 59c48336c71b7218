//! What a bundle does to the disk, step by step, so that tests can watch the order and stop between any two
//! steps.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{SyncMode, patient};
use crate::error::{StoreError, at};

pub(crate) trait BundleDisk: std::fmt::Debug + Send + Sync {
    /// Opens a file to append to it; makes it when it is not there.
    fn open(&self, path: &Path) -> io::Result<File>;
    fn append(&self, file: &mut File, path: &Path, data: &[u8]) -> io::Result<()>;
    fn cut(&self, file: &File, path: &Path, len: u64) -> io::Result<()>;
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The disk as it is.
#[derive(Debug)]
pub(crate) struct Real;

impl BundleDisk for Real {
    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = patient(|| mirror_fs::open(path, &mut options))?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    }
    fn append(&self, file: &mut File, _: &Path, data: &[u8]) -> io::Result<()> {
        file.write_all(data)
    }
    fn cut(&self, file: &File, _: &Path, len: u64) -> io::Result<()> {
        file.set_len(len)?;
        let mut file = file;
        file.seek(SeekFrom::Start(len)).map(|_| ())
    }
    fn sync(&self, file: &File, _: &Path) -> io::Result<()> {
        file.sync_all()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        use crate::disk::Disk as _;
        SyncMode::EachFile.sync_dirs(dir, &[dir.to_owned()])
    }
}

/// A file that only grows. Its length is known without asking.
#[derive(Debug)]
pub(super) struct Growth {
    disk: Arc<dyn BundleDisk>,
    file: File,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

impl Growth {
    pub(super) fn open(disk: &Arc<dyn BundleDisk>, path: PathBuf) -> Result<Self, StoreError> {
        let file = disk.open(&path).map_err(at("open", &path))?;
        let len = file.metadata().map_err(at("look at", &path))?.len();
        Ok(Self { disk: disk.clone(), file, path, len })
    }

    pub(super) fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.disk.append(&mut self.file, &self.path, data).map_err(at("append to", &self.path))?;
        self.len += data.len() as u64;
        Ok(())
    }

    pub(super) fn cut(&mut self, len: u64) -> Result<(), StoreError> {
        if len < self.len {
            self.disk.cut(&self.file, &self.path, len).map_err(at("cut", &self.path))?;
            self.len = len;
        }
        Ok(())
    }

    /// Makes durable what was appended. A failure is final.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.disk.sync(&self.file, &self.path).map_err(at("make durable", &self.path))
    }
}
