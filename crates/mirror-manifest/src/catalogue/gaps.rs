//! Gaps that a person acknowledged: releases that upstream lists and cannot deliver.

use rusqlite::params;

use super::Catalogue;
use crate::error::ManifestError;

/// A gap that a person acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GapRow {
    /// The crate.
    pub name: String,
    /// The version.
    pub version: String,
    /// Who acknowledged it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Since when, as the person wrote it.
    pub since: String,
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

    /// Lets these be all acknowledged gaps.
    ///
    /// # Errors
    /// When SQLite fails; then nothing is changed.
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
