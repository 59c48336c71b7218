//! Opens and checks a catalogue, and puts one in the place of another.

use std::path::Path;

use mirror_types::ReleaseId;
use rusqlite::Connection;

use super::change::Change;
use super::database::{Catalogue, KnownTables};
use super::files::{check_head, check_plain, remove_all};
use super::held::removed_upstream;
use super::rows::UpstreamRemoval;
use super::schema::{FORMAT, SCHEMA};
use super::{deferred, held_back, licences, places, runs, snapshots, sources, state};
use crate::error::{ManifestError, at};
use crate::sqlite::{
    READ_ONLY, connect, format_of, has_tables, open_or_freeze, open_or_make, open_to_read, open_to_write,
    structure_fault,
};

impl Catalogue {
    /// Opens the catalogue, or creates it.
    ///
    /// # Errors
    /// When SQLite fails or the format is newer.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
        check_plain(path)?;
        check_head(path)?;
        let mut kept = Vec::new();
        // A process killed while creating the database leaves a hot journal; rolling it back needs write access.
        if format_of(path, open_to_write).map_err(fail)?.is_some_and(|found| 0 < found && found < FORMAT) {
            // The catalogue is rebuilt from the manifest, which does not have the removals upstream.
            kept = removals_of(path).unwrap_or_default();
            remove_all(path)?;
        }
        let db = open_or_make(path).map_err(fail)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        // Whatever a power cut takes from the catalogue is replayed from the manifest.
        db.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
        if found <= 0 {
            check_unmade(&db, path)?;
        }
        match found {
            0 => make(&db, state::is_policy_in_force(path)).map_err(fail)?,
            FORMAT => {}
            found => {
                return Err(ManifestError::NewerCatalogue { path: path.to_owned(), found, known: FORMAT });
            }
        }
        db.execute_batch(held_back::SCHEMA).map_err(fail)?;
        db.execute_batch(deferred::SCHEMA).map_err(fail)?;
        db.execute_batch(licences::SCHEMA).map_err(fail)?;
        db.execute_batch(snapshots::SCHEMA).map_err(fail)?;
        db.execute_batch(runs::SCHEMA).map_err(fail)?;
        sources::upgrade(&db).map_err(fail)?;
        places::upgrade(&db).map_err(fail)?;
        let mut catalogue = Self {
            db,
            path: path.to_owned(),
            has_seen: true,
            has_places: true,
            tables: KnownTables::all(),
            frozen: false,
            past: None,
        };
        if !kept.is_empty() {
            let removed_upstream =
                |(id, kind, seen): (ReleaseId, _, _)| Change::RemovedUpstream { id, kind, seen };
            catalogue.apply(&kept.into_iter().map(removed_upstream).collect::<Vec<_>>())?;
        }
        Ok(catalogue)
    }

    /// Opens the catalogue for reading; `None` when there is none.
    ///
    /// # Errors
    /// When SQLite fails or the format is newer.
    pub fn open_read_only(path: &Path) -> Result<Option<Self>, ManifestError> {
        let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
        check_plain(path)?;
        check_head(path)?;
        let Some(found) = format_of(path, open_to_read).map_err(fail)? else { return Ok(None) };
        let (db, frozen) = open_or_freeze(path).map_err(fail)?;
        if found <= 0 {
            check_unmade(&db, path)?;
        }
        if found < FORMAT {
            // The next run that may write rebuilds it.
            return Ok(None);
        }
        if found > FORMAT {
            return Err(ManifestError::NewerCatalogue { path: path.to_owned(), found, known: FORMAT });
        }
        let has_seen = sources::has_seen(&db).map_err(fail)?;
        let has_places = places::has_places(&db).map_err(fail)?;
        let (tables, path) = (KnownTables::default(), path.to_owned());
        Ok(Some(Self { db, path, has_seen, has_places, tables, frozen, past: None }))
    }

    /// Opens the catalogue a second time, for reading on another thread, which sees the committed state.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn another(&self) -> Result<Self, ManifestError> {
        let (db, frozen) = open_or_freeze(&self.path).map_err(self.fail("open"))?;
        let (has_seen, has_places) = (self.has_seen, self.has_places);
        let (tables, path) = (self.tables.clone(), self.path.clone());
        Ok(Self { db, path, has_seen, has_places, tables, frozen, past: self.past })
    }

    /// Returns whether this reads the file as it was when it was opened: without the marks by which readers and writers
    /// cooperate, because they cannot be written here. Reads after the file has changed return garbage.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Checks the structure of the whole database; reads all of it.
    ///
    /// # Errors
    /// [`ManifestError::DamagedCatalogue`] with the first fault; when SQLite fails.
    pub fn check(&self) -> Result<(), ManifestError> {
        match structure_fault(&self.db, "quick_check").map_err(self.fail("check"))? {
            None => Ok(()),
            Some(reason) => Err(ManifestError::DamagedCatalogue { path: self.path.clone(), reason }),
        }
    }

    /// Puts a catalogue that was built beside another one into its place. Both must be closed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_in_place(made: &Path, path: &Path) -> Result<(), ManifestError> {
        check_plain(path)?;
        // The files that SQLite left beside the old one must not be taken for those of the new one.
        remove_all(path)?;
        mirror_fs::rename(made, path).map_err(at("publish", path))
    }

    /// Removes a catalogue, and the files that SQLite keeps beside it. It must be closed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(path: &Path) -> Result<(), ManifestError> {
        check_plain(path)?;
        remove_all(path)
    }
}

/// Makes the tables in an empty database. `is_policy_in_force`: nothing of it is offered before it is judged.
fn make(db: &Connection, is_policy_in_force: bool) -> rusqlite::Result<()> {
    let transaction = db.unchecked_transaction()?;
    transaction.execute_batch(SCHEMA)?;
    if is_policy_in_force {
        state::set_unjudged(&transaction)?;
    }
    transaction.commit()
}

/// Refuses a database that has tables and no format: both are written in one transaction.
fn check_unmade(db: &Connection, path: &Path) -> Result<(), ManifestError> {
    let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
    if !has_tables(db).map_err(fail)? {
        return Ok(());
    }
    Err(ManifestError::DamagedCatalogue {
        path: path.to_owned(),
        reason: "it has tables, and does not say of which format".to_owned(),
    })
}

/// Reads the facts from an older catalogue that no manifest has: the releases that upstream removed.
fn removals_of(path: &Path) -> rusqlite::Result<Vec<(ReleaseId, UpstreamRemoval, String)>> {
    removed_upstream(&connect(path, READ_ONLY)?)
}
