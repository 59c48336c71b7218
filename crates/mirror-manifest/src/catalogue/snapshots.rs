//! The snapshots that a mirror has taken: their digests, the digests of units of the newest, and what was offered before
//! each change since the oldest.
//!
//! When a crate changes for the first time after a snapshot, the same transaction keeps its offered releases as they were,
//! under the serial that the next snapshot will have. So a run compares only the crates that changed, and a state of
//! before can be read as long as its snapshot is kept. A mirror without snapshots keeps nothing.

use std::collections::HashMap;

use mirror_types::{CrateName, ReleaseId, Sha256};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::columns::{number, sha, size};
use super::database::Catalogue;
use super::rows::{Held, Offered};
use crate::error::ManifestError;

/// Tables beside the others, so that an earlier catalogue gets them without a rebuild. The row without a version says
/// that a crate changed; the others are its releases as they were offered before.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS snapshots (serial INTEGER PRIMARY KEY, sha256 BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS snapshot_units (
    unit INTEGER PRIMARY KEY, sha256 BLOB NOT NULL,
    crates INTEGER NOT NULL, releases INTEGER NOT NULL, bytes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS offered_before (
    crate TEXT NOT NULL, serial INTEGER NOT NULL, version TEXT NOT NULL,
    sha256 BLOB, size INTEGER, yanked INTEGER,
    PRIMARY KEY (crate, serial, version)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS offered_before_serial ON offered_before (serial, crate) WHERE version = '';
";

/// The key of the highest serial that an earlier catalogue of the mirror knew.
const LAST_SERIAL: &str = "last_serial";

/// Selects the serial under which the first change of a crate after a snapshot kept its rows.
const FIRST_CHANGE: &str =
    "SELECT min(serial) FROM offered_before WHERE crate = ?1 AND serial > ?2 AND version = ''";

/// A snapshot that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its number.
    pub serial: u64,
    /// SHA-256 of its document.
    pub sha256: Sha256,
}

/// The digest of a unit, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitRow {
    /// The number of the unit.
    pub unit: u8,
    /// SHA-256 of its rows.
    pub sha256: Sha256,
    /// Crates with offered releases.
    pub crates: u64,
    /// Offered releases.
    pub releases: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// An offered release of a crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedRow {
    /// The version.
    pub version: String,
    /// The checksum of the bytes.
    pub sha256: Sha256,
    /// Their number.
    pub size: u64,
    /// True if it is offered as yanked.
    pub yanked: bool,
}

/// What decides whether a release of a crate is offered.
trait OfCrate {
    fn version(&self) -> &str;
    fn sha256(&self) -> Sha256;
    fn mark_yanked(&mut self);
}

impl OfCrate for OfferedRow {
    fn version(&self) -> &str {
        &self.version
    }

    fn sha256(&self) -> Sha256 {
        self.sha256
    }

    fn mark_yanked(&mut self) {
        self.yanked = true;
    }
}

impl OfCrate for Offered {
    fn version(&self) -> &str {
        &self.held.version
    }

    fn sha256(&self) -> Sha256 {
        self.held.sha256
    }

    fn mark_yanked(&mut self) {
        self.yanked = Some(true);
    }
}

fn offered_row(row: &Row<'_>) -> rusqlite::Result<OfferedRow> {
    Ok(OfferedRow {
        version: row.get(0)?,
        sha256: sha(row.get_ref(1)?.as_blob()?)?,
        size: size(row.get(2)?),
        yanked: row.get(3)?,
    })
}

/// Returns the serial under which changes are kept; `None` while there are no snapshots.
pub(super) fn next_serial(to: &Transaction<'_>) -> rusqlite::Result<Option<i64>> {
    to.prepare_cached("SELECT max(serial) + 1 FROM snapshots")?.query_row([], |row| row.get(0))
}

/// Keeps what is offered of a crate, unless a change since the newest snapshot has done so.
pub(super) fn keep(to: &Transaction<'_>, serial: i64, name: &str) -> rusqlite::Result<()> {
    const MARK: &str = "INSERT OR IGNORE INTO offered_before (crate, serial, version) VALUES (?1, ?2, '')";
    if to.prepare_cached(MARK)?.execute(params![name, serial])? == 0 {
        return Ok(());
    }
    const KEEP: &str = "INSERT INTO offered_before VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut statement = to.prepare_cached(KEEP)?;
    for row in offered_rows(to, name, true)? {
        let OfferedRow { version, sha256, size, yanked } = row;
        statement.execute(params![name, serial, version, sha256.as_bytes(), number(size), yanked])?;
    }
    Ok(())
}

/// Reads the offered releases of a crate.
fn offered_rows(db: &Connection, name: &str, has_held_back: bool) -> rusqlite::Result<Vec<OfferedRow>> {
    let mut statement = db.prepare_cached(
        "SELECT version, sha256, size, 0 FROM releases
         WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) ORDER BY version",
    )?;
    let mut rows = statement.query_map([name], offered_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
    keep_offered_among(db, name, &mut rows, has_held_back)?;
    Ok(rows)
}

/// Removes from the held releases of a crate those that are not offered, and marks those that are yanked. Reads what
/// hides some of them in queries of their own: nearly every crate has nothing hidden.
fn keep_offered_among<R: OfCrate>(
    db: &Connection,
    name: &str,
    rows: &mut Vec<R>,
    has_held_back: bool,
) -> rusqlite::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut removed = db.prepare_cached("SELECT version, kind = 'yanked' FROM withdrawn WHERE crate = ?1")?;
    let mut removed = removed.query([name])?;
    while let Some(row) = removed.next()? {
        let (version, is_yanked) = (row.get_ref(0)?.as_str()?, row.get(1)?);
        if is_yanked {
            rows.iter_mut().filter(|row| row.version() == version).for_each(R::mark_yanked);
        } else {
            rows.retain(|row| row.version() != version);
        }
    }
    // The index lists other bytes than those that are held, which could not be fetched, or not yet.
    let mut failed =
        db.prepare_cached("SELECT version, cksum FROM failures WHERE crate = ?1 AND cksum IS NOT NULL")?;
    let mut failed = failed.query([name])?;
    while let Some(row) = failed.next()? {
        retain_bytes(rows, row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
    }
    if has_held_back {
        let mut held_back =
            db.prepare_cached("SELECT version, cksum, held FROM held_back WHERE crate = ?1")?;
        let mut held_back = held_back.query([name])?;
        while let Some(row) = held_back.next()? {
            let (version, is_held) = (row.get_ref(0)?.as_str()?, row.get(2)?);
            if is_held {
                rows.retain(|row| row.version() != version);
            } else {
                retain_bytes(rows, version, row.get_ref(1)?.as_str()?);
            }
        }
    }
    Ok(())
}

/// Removes the row of a release unless it has these bytes.
fn retain_bytes<R: OfCrate>(rows: &mut Vec<R>, version: &str, cksum: &str) {
    rows.retain(|row| row.version() != version || row.sha256().to_hex() == cksum);
}

/// Returns the crates of which a bundle has a release.
pub(super) fn crates_of_bundle(to: &Transaction<'_>, bundle: u32) -> rusqlite::Result<Vec<String>> {
    const OF_BUNDLE: &str =
        "SELECT DISTINCT name FROM releases JOIN crates ON crates.id = crate_id WHERE bundle = ?1";
    to.prepare_cached(OF_BUNDLE)?.query_map([bundle], |row| row.get(0))?.collect()
}

impl Catalogue {
    fn has_snapshots(&self) -> rusqlite::Result<bool> {
        self.has_table(&self.tables.snapshots, "snapshots")
    }

    /// Returns the snapshots whose states can be read, the newest last.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRow>, ManifestError> {
        let query = || {
            if !self.has_snapshots()? {
                return Ok(Vec::new());
            }
            let mut statement =
                self.db.prepare_cached("SELECT serial, sha256 FROM snapshots ORDER BY serial")?;
            let rows = statement.query_map([], |row| {
                Ok(SnapshotRow { serial: size(row.get(0)?), sha256: sha(row.get_ref(1)?.as_blob()?)? })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the snapshots in"))
    }

    /// Returns the snapshot with a serial.
    ///
    /// # Errors
    /// [`ManifestError::UnknownSnapshot`]; when SQLite fails.
    pub fn snapshot(&self, serial: u64) -> Result<SnapshotRow, ManifestError> {
        let query = || {
            if !self.has_snapshots()? {
                return Ok(None);
            }
            let select = "SELECT sha256 FROM snapshots WHERE serial = ?1";
            let mut statement = self.db.prepare_cached(select)?;
            statement.query_row([number(serial)], |row| sha(row.get_ref(0)?.as_blob()?)).optional()
        };
        match query().map_err(self.fail("read the snapshots in"))? {
            Some(sha256) => Ok(SnapshotRow { serial, sha256 }),
            None => Err(ManifestError::UnknownSnapshot { path: self.path.clone(), serial }),
        }
    }

    /// Returns the highest serial that a snapshot of this mirror ever had, as far as the catalogue knows; 0 for none.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn last_serial(&self) -> Result<u64, ManifestError> {
        let kept = self.recall(LAST_SERIAL)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(self.snapshots()?.last().map_or(0, |row| row.serial).max(kept))
    }

    /// Remembers that serials up to this one were used.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn keep_last_serial(&mut self, serial: u64) -> Result<(), ManifestError> {
        if serial > self.last_serial()? { self.keep(LAST_SERIAL, &serial.to_string()) } else { Ok(()) }
    }

    /// Returns the digests of the units of the newest snapshot; none when there is none.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn snapshot_units(&self) -> Result<Vec<UnitRow>, ManifestError> {
        let query = || {
            if !self.has_snapshots()? {
                return Ok(Vec::new());
            }
            let select = "SELECT unit, sha256, crates, releases, bytes FROM snapshot_units ORDER BY unit";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement.query_map([], |row| {
                Ok(UnitRow {
                    unit: row.get(0)?,
                    sha256: sha(row.get_ref(1)?.as_blob()?)?,
                    crates: size(row.get(2)?),
                    releases: size(row.get(3)?),
                    bytes: size(row.get(4)?),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the digests of units in"))
    }

    /// Returns the names of the crates that changed after a snapshot, also those that changed back.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn crates_changed_since(&self, serial: u64) -> Result<Vec<String>, ManifestError> {
        let query = || {
            if !self.has_snapshots()? {
                return Ok(Vec::new());
            }
            let select = "SELECT DISTINCT crate FROM offered_before WHERE serial > ?1 AND version = ''";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement.query_map([number(serial)], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what changed in"))
    }

    /// Returns the offered releases of a crate, by the bytes of their versions: those that are held with the bytes that the
    /// index lists, that upstream did not delete, and that policy does not hold back.
    ///
    /// # Errors
    /// [`ManifestError::Unjudged`]; when SQLite fails.
    pub fn offered_rows(&self, name: &str) -> Result<Vec<OfferedRow>, ManifestError> {
        self.check_judged()?;
        self.offered_now(name).map_err(self.fail("read what is offered from"))
    }

    fn offered_now(&self, name: &str) -> rusqlite::Result<Vec<OfferedRow>> {
        offered_rows(&self.db, name, self.has_held_back()?)
    }

    /// Returns the releases of a crate that were offered when a snapshot was taken, by the bytes of their versions. The
    /// snapshot must be one of [`Catalogue::snapshots`].
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn offered_rows_at(&self, serial: u64, name: &str) -> Result<Vec<OfferedRow>, ManifestError> {
        let query = || match self.changed_after(serial, name)? {
            None => self.offered_now(name),
            Some(changed) => self.kept_rows(changed, name),
        };
        query().map_err(self.fail("read what was offered from"))
    }

    /// Returns the serial under which the first change of a crate after a snapshot kept its rows; `None` when it did not
    /// change.
    fn changed_after(&self, serial: u64, name: &str) -> rusqlite::Result<Option<i64>> {
        self.db.prepare_cached(FIRST_CHANGE)?.query_row(params![name, number(serial)], |row| row.get(0))
    }

    fn kept_rows(&self, changed: i64, name: &str) -> rusqlite::Result<Vec<OfferedRow>> {
        let mut statement = self.db.prepare_cached(
            "SELECT version, sha256, size, yanked FROM offered_before
             WHERE crate = ?1 AND serial = ?2 AND version <> '' ORDER BY version",
        )?;
        statement.query_map(params![name, changed], offered_row)?.collect()
    }

    /// Returns as `changed_after` does, and checks that the snapshot is known: both in one query, which a server makes for
    /// each request.
    fn changed_since(&self, past: SnapshotRow, name: &CrateName) -> Result<Option<i64>, ManifestError> {
        let SnapshotRow { serial, sha256 } = past;
        let query = || {
            if !self.has_snapshots()? {
                return Ok(None);
            }
            let select = format!("SELECT ({FIRST_CHANGE}) FROM snapshots WHERE serial = ?2 AND sha256 = ?3");
            let key = params![name.as_str(), number(serial), sha256.as_bytes()];
            self.db.prepare_cached(&select)?.query_row(key, |row| row.get(0)).optional()
        };
        let changed: Option<Option<i64>> = query().map_err(self.fail("read what changed in"))?;
        // A new catalogue may know another state by this number.
        changed.ok_or_else(|| ManifestError::UnknownSnapshot { path: self.path.clone(), serial })
    }

    /// Returns which of the held releases of a crate a snapshot offered with the same bytes, and upstream has not deleted
    /// since.
    pub(super) fn offered_at_among(
        &self,
        past: SnapshotRow,
        name: &CrateName,
        held: Vec<Held>,
    ) -> Result<Vec<Offered>, ManifestError> {
        let changed = self.changed_since(past, name)?;
        let mut offered = held.into_iter().map(|held| Offered { held, yanked: Some(false) }).collect();
        let query = || {
            match changed {
                None => keep_offered_among(&self.db, name.as_str(), &mut offered, self.has_held_back()?)?,
                Some(changed) => self.keep_what_was_offered(changed, name, &mut offered)?,
            }
            Ok(offered)
        };
        query().map_err(self.fail("read what was offered from"))
    }

    fn keep_what_was_offered(
        &self,
        changed: i64,
        name: &CrateName,
        held: &mut Vec<Offered>,
    ) -> rusqlite::Result<()> {
        let rows = self.kept_rows(changed, name.as_str())?;
        let rows: HashMap<&str, &OfferedRow> = rows.iter().map(|row| (row.version.as_str(), row)).collect();
        let deleted = self.deleted_versions(name)?;
        held.retain_mut(|release| {
            let row = rows.get(release.held.version.as_str());
            let Some(row) = row.filter(|row| row.sha256 == release.held.sha256) else { return false };
            release.yanked = Some(row.yanked);
            !deleted.contains(&release.held.version)
        });
        Ok(())
    }

    /// Returns whether a snapshot offered a held release with these bytes.
    pub(super) fn was_offered_at(
        &self,
        past: SnapshotRow,
        id: &ReleaseId,
        sha256: Sha256,
    ) -> Result<bool, ManifestError> {
        let changed = self.changed_since(past, &id.name)?;
        let query = || {
            let Some(changed) = changed else { return self.is_offered_with(id, sha256) };
            let select = "SELECT EXISTS (SELECT 1 FROM offered_before
                          WHERE crate = ?1 AND serial = ?2 AND version = ?3 AND sha256 = ?4)";
            let key = params![id.name.as_str(), changed, id.version.as_str(), sha256.as_bytes()];
            self.db.prepare_cached(select)?.query_row(key, |row| row.get(0))
        };
        query().map_err(self.fail("read what was offered from"))
    }

    /// Returns whether neither policy nor other bytes in the index keep a held release with these bytes from being offered.
    fn is_offered_with(&self, id: &ReleaseId, sha256: Sha256) -> rusqlite::Result<bool> {
        const OTHERS: &str =
            "EXISTS (SELECT 1 FROM failures WHERE crate = ?1 AND version = ?2 AND cksum <> ?3)";
        const HELD_BACK: &str =
            "EXISTS (SELECT 1 FROM held_back WHERE crate = ?1 AND version = ?2 AND (held OR cksum <> ?3))";
        let hidden =
            if self.has_held_back()? { format!("{OTHERS} OR {HELD_BACK}") } else { OTHERS.to_owned() };
        let mut statement = self.db.prepare_cached(&format!("SELECT NOT ({hidden})"))?;
        statement.query_row([id.name.as_str(), id.version.as_str(), &sha256.to_hex()], |row| row.get(0))
    }

    /// Records a snapshot of what is offered now, with the digests of the units that differ from those of the snapshot
    /// before. Durable when a later transaction is: its document lies in a file beside, and counts.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn snapshot_taken(&mut self, snapshot: SnapshotRow, units: &[UnitRow]) -> Result<(), ManifestError> {
        let fail = self.fail("record a snapshot in");
        let mut write = || {
            let transaction = self.db.transaction()?;
            let row = params![number(snapshot.serial), snapshot.sha256.as_bytes()];
            transaction.execute("INSERT OR REPLACE INTO snapshots VALUES (?1, ?2)", row)?;
            for UnitRow { unit, sha256, crates, releases, bytes } in units {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO snapshot_units VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![
                        unit,
                        sha256.as_bytes(),
                        number(*crates),
                        number(*releases),
                        number(*bytes)
                    ])?;
            }
            transaction.commit()
        };
        write().map_err(fail)
    }

    /// Forgets the states of all snapshots but these and the newest, which later changes are compared with.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn keep_snapshots(&mut self, kept: &[u64]) -> Result<(), ManifestError> {
        let known = self.snapshots()?;
        let Some((_, earlier)) = known.split_last() else { return Ok(()) };
        let forgotten: Vec<u64> =
            earlier.iter().map(|row| row.serial).filter(|serial| !kept.contains(serial)).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let fail = self.fail("forget snapshots in");
        let write = || {
            let transaction = self.db.transaction()?;
            for serial in forgotten {
                transaction.execute("DELETE FROM snapshots WHERE serial = ?1", [number(serial)])?;
            }
            // Rows tell of the snapshots from the change before on up to their own serial.
            transaction.execute(
                "DELETE FROM offered_before WHERE (crate, serial) IN (
                     SELECT crate, serial FROM offered_before AS mark WHERE version = '' AND NOT EXISTS (
                         SELECT 1 FROM snapshots WHERE snapshots.serial < mark.serial AND snapshots.serial >= coalesce(
                             (SELECT max(serial) FROM offered_before AS before WHERE before.crate = mark.crate
                                  AND before.version = '' AND before.serial < mark.serial), 0)))",
                [],
            )?;
            transaction.commit()
        };
        write().map_err(fail)
    }
}

#[cfg(test)]
mod tests;
