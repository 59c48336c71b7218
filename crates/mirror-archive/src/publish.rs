//! The few files that a run writes: a temporary name, a sync, a rename. Nothing else here writes.
#![expect(
    clippy::disallowed_methods,
    reason = "the outputs of this crate are no mirror files; this module alone writes them"
)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::ArchiveError;

/// A file that has not its final name yet; it goes when it is dropped before that.
#[derive(Debug)]
pub(crate) struct Temp {
    file: File,
    at: PathBuf,
    published: bool,
}

impl Temp {
    /// A new file beside `target`, readable by its owner alone when it holds a secret.
    pub(crate) fn beside(target: &Path, secret: bool) -> Result<Self, ArchiveError> {
        let at = temporary(target);
        let failed = ArchiveError::io_at("creating", &at);
        let file = remove(&at).and_then(|()| options(secret).open(&at)).map_err(failed)?;
        Ok(Self { file, at, published: false })
    }

    /// Another handle of the same file.
    pub(crate) fn handle(&self) -> Result<File, ArchiveError> {
        self.file.try_clone().map_err(ArchiveError::io_at("sharing", &self.at))
    }

    /// Makes it durable; it keeps its temporary name.
    pub(crate) fn sync(&self) -> Result<(), ArchiveError> {
        self.file.sync_all().map_err(ArchiveError::io_at("syncing", &self.at))
    }

    /// Gives it its final name. It must have been synced.
    pub(crate) fn publish(mut self, target: &Path) -> Result<(), ArchiveError> {
        std::fs::rename(&self.at, target).map_err(ArchiveError::io_at("publishing", target))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.published {
            let _ = remove(&self.at);
        }
    }
}

fn temporary(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.partial"))
}

/// Removes what a run that was killed left of this file.
pub(crate) fn remove_leftover(target: &Path) -> Result<(), ArchiveError> {
    let at = temporary(target);
    remove(&at).map_err(ArchiveError::io_at("removing what an earlier run left at", &at))
}

fn options(secret: bool) -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = secret;
    options
}

/// Removes a file; that it is not there is fine.
pub(crate) fn remove(at: &Path) -> io::Result<()> {
    match std::fs::remove_file(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(crate) fn sync_directory(at: &Path) -> Result<(), ArchiveError> {
    File::open(at).and_then(|directory| directory.sync_all()).map_err(ArchiveError::io_at("syncing", at))
}

/// Makes the names in a directory durable: this system does so by itself.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_: &Path) -> Result<(), ArchiveError> {
    Ok(())
}

/// Makes the directory of the outputs.
pub(crate) fn make_directory(at: &Path) -> Result<(), ArchiveError> {
    std::fs::create_dir_all(at).map_err(ArchiveError::io_at("creating the directory", at))
}

/// One writer per set of outputs.
#[derive(Debug)]
pub(crate) struct Lock {
    at: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock, or fails at once.
    pub(crate) fn take(directory: &Path, prefix: &str) -> Result<Self, ArchiveError> {
        let at = directory.join(format!(".{prefix}.lock"));
        loop {
            let failed = || ArchiveError::io_at("opening the lock", &at);
            let mut options = File::options();
            options.write(true).create(true).truncate(false);
            let file =
                mirror_fs::open(&at, &mut options).map_err(|error| match mirror_fs::not_plain(&error) {
                    Some(_) => ArchiveError::Strange(at.clone()),
                    None => failed()(error),
                })?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ArchiveError::Locked(at)),
                Err(TryLockError::Error(error)) => return Err(failed()(error)),
            }
            // Whoever held it before may have removed the name that was just opened.
            let ours = file.metadata().map_err(failed())?;
            match std::fs::symlink_metadata(&at) {
                Ok(named) if disk::Stamp::of(&named) == disk::Stamp::of(&ours) => {
                    return Ok(Self { at, _file: file });
                }
                _ => {}
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = remove(&self.at);
    }
}
