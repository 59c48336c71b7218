//! One update at a time.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::disk;
use super::error::UpdateError;

/// Held until dropped; it belongs to the open file, so that it ends with the process however that
/// ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// Said aloud: a process that was just forked holds the same open file until it runs its program.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// For updates of the repository whose common directory this is.
    pub(crate) fn of_repository(dir: &Path, common_dir: &Path) -> Result<Self, UpdateError> {
        Self::take(dir, &common_dir.join("mirror-update.lock"))
    }

    /// For clones, in a directory that is made for it and goes with it.
    pub(crate) fn of_clone(dir: &Path, beside: &Path) -> Result<Self, UpdateError> {
        loop {
            disk::make_dir(beside)?;
            let path = beside.join("lock");
            let lock = match Self::take(dir, &path) {
                // Somebody else was done just now and took the directory with him.
                Err(UpdateError::Storage { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    continue;
                }
                other => other?,
            };
            if lock.stands() {
                return Ok(lock);
            }
        }
    }

    /// Ends it, with the directory that was made for it. Somebody may take the place of the file at
    /// any moment; then the directory is his.
    pub(crate) fn give_up(self, beside: &Path) {
        let _ = disk::remove_file(&self.path);
        let _ = disk::remove_empty_dir(beside);
    }

    fn take(dir: &Path, path: &Path) -> Result<Self, UpdateError> {
        let mut file = disk::open_lock(path).map_err(UpdateError::storage("open the lock", path))?;
        match file.try_lock() {
            Ok(()) => {
                let _ = file.set_len(0);
                let _ = write!(file, "{}", std::process::id());
                Ok(Self { file, path: path.to_owned() })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let known = !pid.is_empty() && pid.len() < 12 && pid.bytes().all(|b| b.is_ascii_digit());
                let holder = if known { format!(" (process {pid})") } else { String::new() };
                Err(UpdateError::Locked { dir: dir.to_owned(), holder })
            }
            Err(TryLockError::Error(error)) => Err(UpdateError::storage("lock", path)(error)),
        }
    }

    /// Whether the file that is locked is still the one at its path.
    #[cfg(unix)]
    fn stands(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let (Ok(held), Ok(named)) = (self.file.metadata(), std::fs::metadata(&self.path)) else {
            return false;
        };
        (held.dev(), held.ino()) == (named.dev(), named.ino())
    }

    /// An open file cannot be removed there.
    #[cfg(not(unix))]
    fn stands(&self) -> bool {
        self.file.metadata().is_ok() && self.path.exists()
    }
}
