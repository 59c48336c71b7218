//! One update at a time.

use std::io;
use std::path::{Path, PathBuf};

use mirror_fs::{FileLock, LockFault};

use super::disk;
use super::error::{INDEX, UpdateError};

/// A lock, held until it is dropped. It belongs to the open file, so it ends with the process in every case.
#[derive(Debug)]
pub(crate) struct Lock {
    file: FileLock,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock for updates of the repository whose common directory this is.
    pub(crate) fn of_repository(dir: &Path, common_dir: &Path) -> Result<Self, UpdateError> {
        Self::take(dir, &common_dir.join("mirror-update.lock"))
    }

    /// Takes the lock for clones, in a directory that is made for it and removed with it.
    pub(crate) fn of_clone(dir: &Path, beside: &Path) -> Result<Self, UpdateError> {
        loop {
            disk::make_dir(beside)?;
            let path = beside.join("lock");
            let lock = match Self::take(dir, &path) {
                // Another process finished just now and removed the directory.
                Err(UpdateError::Storage { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    continue;
                }
                other => other?,
            };
            if lock.file.is_current() {
                return Ok(lock);
            }
        }
    }

    /// Releases the lock, and removes the directory that was made for it. If another process takes the place of the
    /// file meanwhile, the directory is that process's to remove.
    pub(crate) fn give_up(self, beside: &Path) {
        let _ = disk::remove_file(&self.path);
        let _ = disk::remove_empty_dir(beside);
    }

    fn take(dir: &Path, path: &Path) -> Result<Self, UpdateError> {
        let file = FileLock::take(path).map_err(|fault| match fault {
            LockFault::Held { holder } => UpdateError::Locked { what: INDEX, dir: dir.to_owned(), holder },
            LockFault::Open(error) => UpdateError::storage("open the lock", path)(error),
            LockFault::Lock(error) => UpdateError::storage("lock", path)(error),
            other => UpdateError::storage("lock", path)(io::Error::other(other)),
        })?;
        Ok(Self { file, path: path.to_owned() })
    }
}
