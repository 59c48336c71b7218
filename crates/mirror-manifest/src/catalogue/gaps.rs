//! Gaps that a person acknowledged: releases that upstream lists and cannot deliver.

use rusqlite::params;

use super::database::Catalogue;
use crate::error::ManifestError;

/// A gap that a person acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GapRow {
    /// The crate.
    pub name: String,
    /// The version.
    pub version: String,
    /// The person who acknowledged it.
    pub who: String,
    /// The reason.
    pub why: String,
    /// The date since when it is known, as the person wrote it.
    pub since: String,
}

/// A release that upstream lists and did not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnavailableRow {
    /// The crate.
    pub name: String,
    /// The version.
    pub version: String,
    /// The last answer of upstream.
    pub http_status: u16,
    /// The time of its first such answer, RFC 3339.
    pub first_seen: String,
}

impl Catalogue {
    /// Returns the acknowledged gaps, by crate and version.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn acknowledged_gaps(&self) -> Result<Vec<GapRow>, ManifestError> {
        if !self.has_seen {
            return Ok(Vec::new());
        }
        let query = || {
            let mut statement =
                self.db.prepare("SELECT crate, version, who, why, since FROM gaps ORDER BY 1, 2")?;
            let rows = statement.query_map([], |row| {
                Ok(GapRow {
                    name: row.get(0)?,
                    version: row.get(1)?,
                    who: row.get(2)?,
                    why: row.get(3)?,
                    since: row.get(4)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the acknowledged gaps of"))
    }

    /// Returns the releases of the failure ledger for which upstream answered 403, 404, 410 or 451.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn unavailable(&self) -> Result<Vec<UnavailableRow>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare(
                "SELECT crate, version, http_status, first_seen FROM failures
                 WHERE version <> '' AND http_status IN (403, 404, 410, 451) ORDER BY 1, 2",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(UnavailableRow {
                    name: row.get(0)?,
                    version: row.get(1)?,
                    http_status: row.get(2)?,
                    first_seen: row.get(3)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// Replaces the acknowledged gaps with these.
    ///
    /// # Errors
    /// When SQLite fails; then nothing changes.
    pub fn acknowledge_gaps(&mut self, gaps: &[GapRow]) -> Result<(), ManifestError> {
        let fail = self.fail("write to");
        let mut write = || {
            let to = self.db.transaction()?;
            to.execute("DELETE FROM gaps", [])?;
            for gap in gaps {
                to.execute(
                    "INSERT OR REPLACE INTO gaps VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![gap.name, gap.version, gap.who, gap.why, gap.since],
                )?;
            }
            to.commit()
        };
        write().map_err(fail)
    }
}
