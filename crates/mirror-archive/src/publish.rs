//! Writes the files of a run: under a temporary name, synced, then renamed. No other module writes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use mirror_fs::{FileLock, LockFault, TempFile, not_plain};

use crate::error::ArchiveError;

/// A file under a temporary name. Dropping it before it is published removes it.
#[derive(Debug)]
pub(crate) struct Temp(TempFile);

impl Temp {
    /// Creates a file beside `target`, readable only by its owner if it holds a secret.
    pub(crate) fn beside(target: &Path, secret: bool) -> Result<Self, ArchiveError> {
        let at = temporary(target);
        let mode = if secret { 0o600 } else { 0o644 };
        TempFile::create_with_mode(&at, mode).map(Self).map_err(ArchiveError::io_at("creating", &at))
    }

    /// Returns another handle of the same file.
    pub(crate) fn handle(&self) -> Result<File, ArchiveError> {
        self.0.file().try_clone().map_err(ArchiveError::io_at("sharing", self.0.path()))
    }

    /// Syncs the file; it keeps its temporary name.
    pub(crate) fn sync(&self) -> Result<(), ArchiveError> {
        self.0.sync().map_err(ArchiveError::io_at("syncing", self.0.path()))
    }

    /// Renames it to its final name. It must have been synced.
    pub(crate) fn publish(self, target: &Path) -> Result<(), ArchiveError> {
        self.0.publish(target).map_err(ArchiveError::io_at("publishing", target))
    }
}

fn temporary(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.partial"))
}

/// Removes the temporary file that a killed run left.
pub(crate) fn remove_leftover(target: &Path) -> Result<(), ArchiveError> {
    let at = temporary(target);
    remove(&at).map_err(ArchiveError::io_at("removing what an earlier run left at", &at))
}

/// Removes a file; succeeds if there is none.
pub(crate) fn remove(at: &Path) -> io::Result<()> {
    mirror_fs::remove(at)
}

/// Syncs a directory, so that the names in it are durable.
pub(crate) fn sync_directory(at: &Path) -> Result<(), ArchiveError> {
    mirror_fs::sync_dir(at).map_err(ArchiveError::io_at("syncing", at))
}

/// Creates the directory for the outputs.
pub(crate) fn make_directory(at: &Path) -> Result<(), ArchiveError> {
    mirror_fs::make_dir_all(at).map_err(ArchiveError::io_at("creating the directory", at))
}

/// The lock of a set of outputs: one run writes them at a time.
#[derive(Debug)]
pub(crate) struct Lock {
    at: PathBuf,
    _file: FileLock,
}

impl Lock {
    /// Takes the lock, or fails at once.
    pub(crate) fn take(directory: &Path, prefix: &str) -> Result<Self, ArchiveError> {
        let at = directory.join(format!(".{prefix}.lock"));
        // The last holder of the lock removes its file.
        match FileLock::take_current(&at) {
            Ok(file) => Ok(Self { at, _file: file }),
            Err(LockFault::Held { .. }) => Err(ArchiveError::Locked(at)),
            Err(LockFault::Open(error)) if not_plain(&error).is_some() => Err(ArchiveError::Strange(at)),
            Err(LockFault::Open(error) | LockFault::Lock(error)) => {
                Err(ArchiveError::io_at("opening the lock", &at)(error))
            }
            Err(other) => Err(ArchiveError::io_at("locking", &at)(io::Error::other(other))),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = remove(&self.at);
    }
}
