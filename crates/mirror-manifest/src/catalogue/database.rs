use std::path::PathBuf;

use rusqlite::Connection;

use crate::error::ManifestError;

/// The SQLite database of what a mirror holds, what failed, and how much of the manifest it covers. An
/// index over the manifest, never the only copy.
#[derive(Debug)]
pub struct Catalogue {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// True if the releases say in which sources they were seen: earlier catalogues do not.
    pub(super) has_seen: bool,
    /// True if they say that they are held in other stores than the mirror's two.
    pub(super) has_places: bool,
    /// True if it is read as if nobody could change it.
    pub(super) frozen: bool,
}

impl Catalogue {
    pub(super) fn fail(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> ManifestError + use<> {
        let path = self.path.clone();
        move |source| ManifestError::Catalogue { doing, path: path.clone(), source }
    }
}
