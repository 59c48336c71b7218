//! Handles the files of a catalogue before SQLite opens them.

use std::path::Path;

use crate::error::{ManifestError, at};
use crate::sqlite::{files_of, head_fault};

/// Removes a database, and the files that SQLite keeps beside it.
pub(super) fn remove_all(path: &Path) -> Result<(), ManifestError> {
    files_of(path).iter().try_for_each(|file| mirror_fs::remove(file).map_err(at("remove the old", file)))
}

/// Refuses a file that is no SQLite database. An empty file passes: a run that is killed while it creates the catalogue
/// leaves one.
pub(super) fn check_head(path: &Path) -> Result<(), ManifestError> {
    match head_fault(path).map_err(at("look at", path))? {
        None => Ok(()),
        Some(reason) => {
            Err(ManifestError::DamagedCatalogue { path: path.to_owned(), reason: reason.to_owned() })
        }
    }
}

/// Refuses links and special files in the place of a database or of the files that SQLite keeps beside it: SQLite
/// follows links.
pub(super) fn check_plain(path: &Path) -> Result<(), ManifestError> {
    files_of(path).iter().try_for_each(|file| mirror_fs::is_file(file).map(drop).map_err(at("look at", file)))
}
