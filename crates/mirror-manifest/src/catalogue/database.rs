use std::cell::Cell;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::error::ManifestError;

/// The SQLite database of what a mirror holds, what failed, and how much of the manifest it covers. It is an index over
/// the manifest, never the only copy.
#[derive(Debug)]
pub struct Catalogue {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// True if the rows of releases record in which sources they were seen: those of earlier catalogues do not.
    pub(super) has_seen: bool,
    /// True if they record whether other stores than the mirror's two hold them.
    pub(super) has_places: bool,
    /// The tables that it is known to have and that earlier versions lack.
    pub(super) tables: KnownTables,
    /// True if the file is read as if it could not change.
    pub(super) frozen: bool,
    /// The snapshot that it tells of; `None` for what is offered now.
    pub(super) past: Option<super::snapshots::SnapshotRow>,
}

/// Tables that earlier versions lack, each true when the catalogue is known to have it: a run may add them to an earlier
/// catalogue while this is open.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownTables {
    pub(super) held_back: Cell<bool>,
    pub(super) deferred: Cell<bool>,
    pub(super) licences: Cell<bool>,
    pub(super) snapshots: Cell<bool>,
    pub(super) runs: Cell<bool>,
}

impl KnownTables {
    pub(super) fn all() -> Self {
        let known = || Cell::new(true);
        Self { held_back: known(), deferred: known(), licences: known(), snapshots: known(), runs: known() }
    }
}

impl Catalogue {
    /// Returns whether the catalogue has a table that earlier versions lack. `known` remembers that it has.
    pub(super) fn has_table(&self, known: &Cell<bool>, name: &str) -> rusqlite::Result<bool> {
        if !known.get() {
            let exists = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)";
            known.set(self.db.prepare_cached(exists)?.query_row([name], |row| row.get(0))?);
        }
        Ok(known.get())
    }

    pub(super) fn fail(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> ManifestError + use<> {
        let path = self.path.clone();
        move |source| ManifestError::Catalogue { doing, path: path.clone(), source }
    }
}
