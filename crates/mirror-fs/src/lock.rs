use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The reason why a lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockFault {
    /// Another open file holds it.
    #[error("it is locked{holder}")]
    Held {
        /// ` (process N)` when the holder has recorded that, else empty.
        holder: String,
    },
    /// The file cannot be opened.
    #[error("could not open the lock")]
    Open(#[source] io::Error),
    /// The system cannot lock the file.
    #[error("could not lock")]
    Lock(#[source] io::Error),
}

/// A lock on a file. It belongs to the open file, so it ends with the process in every case.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Opens a file, creating it if it does not exist, locks it, and writes the number of this process into it. Does
    /// not wait for another holder.
    ///
    /// The last holder may have removed the file since it was opened; where holders remove it, call
    /// [`FileLock::is_current`] or use [`FileLock::take_current`].
    ///
    /// # Errors
    /// `Held` when another holder has it; otherwise the error of the system, [`NotPlain`](crate::NotPlain) for a link
    /// or anything but a regular file.
    pub fn take(path: &Path) -> Result<Self, LockFault> {
        let mut file = crate::open_or_create(path).map_err(LockFault::Open)?;
        match try_lock(&file) {
            Ok(()) => {
                let _ = file.set_len(0);
                let _ = write!(file, "{}", std::process::id());
                Ok(Self { file, path: path.to_owned() })
            }
            Err(LockFault::Held { .. }) => Err(LockFault::Held { holder: holder_of(&mut file) }),
            Err(fault) => Err(fault),
        }
    }

    /// Takes the lock like [`FileLock::take`], but never returns the lock of a file that another holder has just
    /// removed.
    ///
    /// # Errors
    /// As [`FileLock::take`].
    pub fn take_current(path: &Path) -> Result<Self, LockFault> {
        loop {
            let lock = Self::take(path)?;
            if lock.is_current() {
                return Ok(lock);
            }
        }
    }

    /// Locks an open file; writes nothing into it. Dropping the lock unlocks the file for all handles of the same open
    /// file.
    ///
    /// # Errors
    /// `Held` when another holder has it, without naming the holder; otherwise the error of the system.
    pub fn of(file: File, path: &Path) -> Result<Self, LockFault> {
        try_lock(&file)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Returns whether the locked file is still the one at its path.
    #[must_use]
    pub fn is_current(&self) -> bool {
        is_at(&self.file, &self.path)
    }
}

/// Unlocks explicitly: a freshly forked child shares the descriptor until it execs.
impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Locks an open file, without waiting for another holder.
///
/// # Errors
/// `Held` when another open file has the lock, without naming the holder; otherwise the error of the system.
pub fn try_lock(file: &File) -> Result<(), LockFault> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(LockFault::Held { holder: String::new() }),
        Err(TryLockError::Error(error)) => Err(LockFault::Lock(error)),
    }
}

fn holder_of(file: &mut File) -> String {
    const LONGEST: usize = 11;
    let mut pid = String::new();
    let _ = file.read_to_string(&mut pid);
    let is_known = (1..=LONGEST).contains(&pid.len()) && pid.bytes().all(|b| b.is_ascii_digit());
    if is_known { format!(" (process {pid})") } else { String::new() }
}

/// Returns whether an open file is the one at `path`; a link there is another file.
#[cfg(unix)]
#[must_use]
pub fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|own| fs::symlink_metadata(path).is_ok_and(|there| same(own, there)))
}

/// Returns whether a file is at `path`: on this system, an open file can be neither renamed nor removed.
#[cfg(not(unix))]
#[must_use]
pub fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok() && fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_it_is_named() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("lock");
        let lock = FileLock::take(&path).expect("free");
        let LockFault::Held { holder } = FileLock::take(&path).expect_err("held") else { panic!("held") };
        if cfg!(unix) {
            assert_eq!(holder, format!(" (process {})", std::process::id()));
        }
        drop(lock);
        let _again = FileLock::take(&path).expect("free again");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_process_number_is_not_shown() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("lock");
        let lock = FileLock::take(&path).expect("free");
        for text in ["", "x", "12 ", "-1", "123456789012", "\u{1b}[31m"] {
            fs::write(&path, text).expect("write");
            let LockFault::Held { holder } = FileLock::take(&path).expect_err("held") else { panic!("held") };
            assert_eq!(holder, "", "{text:?}");
        }
        drop(lock);
    }

    #[cfg(unix)]
    #[test]
    fn a_removed_file_is_not_the_lock_any_more() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("lock");
        let lock = FileLock::take(&path).expect("free");
        assert!(lock.is_current());
        fs::remove_file(&path).expect("remove");
        assert!(!lock.is_current());
        let other = FileLock::take_current(&path).expect("another file");
        assert!(other.is_current() && !lock.is_current());
        fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink("elsewhere", &path).expect("link");
        assert!(!other.is_current());
        assert!(matches!(FileLock::take_current(&path), Err(LockFault::Open(_))));
    }

    #[test]
    fn a_lock_of_an_open_file_ends_with_it() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("data");
        let open = || crate::open_or_create(&path).expect("open");
        let file = open();
        let lock = FileLock::of(file.try_clone().expect("handle"), &path).expect("free");
        assert!(matches!(try_lock(&open()), Err(LockFault::Held { .. })));
        drop(lock);
        try_lock(&open()).expect("free");
        assert_eq!(fs::read(&path).expect("read"), b"", "nothing is written into it");
    }
}
