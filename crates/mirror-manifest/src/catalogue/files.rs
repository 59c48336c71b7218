//! The files of a catalogue, before SQLite sees them.

use std::path::Path;

use crate::error::{ManifestError, at};
use crate::sqlite::{files_of, head_fault};

/// Removes a database, with what SQLite keeps beside it.
pub(super) fn remove_all(path: &Path) -> Result<(), ManifestError> {
    files_of(path).iter().try_for_each(|file| mirror_fs::remove(file).map_err(at("remove the old", file)))
}

/// Refuses what is no database of SQLite. An empty file is what a run leaves that was killed while it made the
/// catalogue.
pub(super) fn check_head(path: &Path) -> Result<(), ManifestError> {
    match head_fault(path).map_err(at("look at", path))? {
        None => Ok(()),
        Some(reason) => {
            Err(ManifestError::DamagedCatalogue { path: path.to_owned(), reason: reason.to_owned() })
        }
    }
}

/// Refuses links and special files where a database is, or where SQLite keeps something beside it: SQLite follows
/// links.
pub(super) fn check_plain(path: &Path) -> Result<(), ManifestError> {
    files_of(path).iter().try_for_each(|file| mirror_fs::is_file(file).map(drop).map_err(at("look at", file)))
}
