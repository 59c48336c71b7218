//! The failure ledger.

use mirror_types::CrateName;

use super::database::Catalogue;
use crate::error::ManifestError;

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
}
