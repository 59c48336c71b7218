//! The files of a database, before SQLite sees them.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{ManifestError, at};

/// A database, with what SQLite keeps beside it.
pub(super) fn remove_all(path: &Path) -> Result<(), ManifestError> {
    files_of(path).iter().try_for_each(|file| mirror_fs::remove(file).map_err(at("remove the old", file)))
}

/// Refuses what is no database of SQLite, which may take a file of a few bytes for an empty one, and one that claims
/// to be of a later SQLite for one that cannot be written. An empty file is what a run leaves that was killed while it
/// made the catalogue.
pub(super) fn check_head(path: &Path) -> Result<(), ManifestError> {
    const HEAD_BYTES: usize = 100;
    const MAGIC: &[u8] = b"SQLite format 3\0";
    /// Bytes that say how the file is written and read: with a rollback journal (1) or a log (2).
    const VERSIONS: Range<usize> = 18..20;
    let mut head = Vec::new();
    let read = mirror_fs::open_to_read(path).and_then(|file| {
        let len = file.metadata()?.len();
        file.take(HEAD_BYTES as u64).read_to_end(&mut head).map(|_| len)
    });
    let len = match read {
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("look at", path)(error)),
    };
    // What a process left that was killed while it wrote is taken back by SQLite, whatever it looks like.
    if std::fs::symlink_metadata(&files_of(path)[3]).is_ok_and(|journal| journal.len() > 0) {
        return Ok(());
    }
    let log = std::fs::symlink_metadata(&files_of(path)[1]).map_or(0, |meta| meta.len());
    let reason = match head.len() {
        0 => return Ok(()),
        HEAD_BYTES if !head.starts_with(MAGIC) => "it is no SQLite database",
        // A log may hold the rest.
        HEAD_BYTES if log == 0 && !is_of_pages(len, &head) => "it is cut short",
        HEAD_BYTES if head[VERSIONS].iter().all(|version| matches!(version, 1 | 2)) => return Ok(()),
        HEAD_BYTES => "its header makes no sense",
        _ => "it is cut short",
    };
    Err(ManifestError::DamagedCatalogue { path: path.to_owned(), reason: reason.to_owned() })
}

/// Returns whether a database of this length has whole pages, whose size its header says.
fn is_of_pages(len: u64, head: &[u8]) -> bool {
    match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        0 => false,
        // 65,536 does not fit.
        1 => len.is_multiple_of(1 << 16),
        size => len.is_multiple_of(size),
    }
}

/// Refuses links and special files where a database is, or where SQLite keeps something beside it: SQLite follows
/// links.
pub(super) fn check_plain(path: &Path) -> Result<(), ManifestError> {
    files_of(path).iter().try_for_each(|file| mirror_fs::is_file(file).map(drop).map_err(at("look at", file)))
}

/// The files of a database.
fn files_of(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|suffix| {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        file.into()
    })
}
