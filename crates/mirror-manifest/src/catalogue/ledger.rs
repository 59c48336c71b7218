//! The failure ledger.

use mirror_types::{CrateName, VersionText};

use super::database::Catalogue;
use crate::error::ManifestError;

/// A release, or a whole crate, that could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfetchedRow {
    /// The crate.
    pub name: CrateName,
    /// Its version; `None` for a whole crate.
    pub version: Option<VersionText>,
    /// The error of the last attempt, one line.
    pub error: String,
}

fn unfetched_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<UnfetchedRow> {
    let invalid = |_| rusqlite::Error::InvalidQuery;
    let name = row.get_ref(0)?.as_str()?.parse().map_err(|_| rusqlite::Error::InvalidQuery)?;
    let version = match row.get_ref(1)?.as_str()? {
        "" => None,
        version => Some(version.parse().map_err(invalid)?),
    };
    Ok(UnfetchedRow { name, version, error: row.get(2)? })
}

impl Catalogue {
    /// Returns the crates of the failure ledger.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn ledger_crates(&self) -> Result<Vec<String>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare("SELECT DISTINCT crate FROM failures")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// Returns the versions of a crate that are in the failure ledger, each with the kind of its failure. An empty
    /// version stands for the whole crate.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn ledger_of(&self, name: &CrateName) -> Result<Vec<(String, String)>, ManifestError> {
        let query = || {
            let mut statement =
                self.db.prepare_cached("SELECT version, kind FROM failures WHERE crate = ?1")?;
            let rows = statement.query_map([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// Returns the failure ledger, by crate and version.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn failures(&self) -> Result<Vec<(String, String, String)>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare("SELECT crate, version, kind FROM failures ORDER BY 1, 2")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// Returns what could not be fetched, by crate and version; a whole crate where its index file could not be fetched. A
    /// release that is held with other bytes than the index lists is one of them.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn unfetched(&self) -> Result<Vec<UnfetchedRow>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare(
                "SELECT crate, version, error FROM failures WHERE NOT EXISTS (
                     SELECT 1 FROM releases WHERE crate_id = (SELECT id FROM crates WHERE name = crate)
                         AND releases.version = failures.version
                         AND (cksum IS NULL OR lower(hex(releases.sha256)) = cksum)
                 ) ORDER BY 1, 2",
            )?;
            let rows = statement.query_map([], unfetched_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }
}
