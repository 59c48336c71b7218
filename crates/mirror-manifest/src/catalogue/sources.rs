//! Records in which indexes a held release was seen: only an index that listed it can show that it was removed.

use rusqlite::{Connection, params};

use super::columns::{number, size};
use super::database::Catalogue;
use crate::error::ManifestError;

/// Most sources that are distinguished; SQLite's integers have 63 bits for them.
const MAX_SOURCES: u32 = 63;

/// Returns whether the releases record in which sources they were seen.
pub(super) fn has_seen(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_table_info('releases') WHERE name = 'seen')",
        [],
        |row| row.get(0),
    )
}

/// Adds the column of this module to an earlier catalogue.
pub(super) fn upgrade(db: &Connection) -> rusqlite::Result<()> {
    if !has_seen(db)? {
        db.execute_batch("ALTER TABLE releases ADD COLUMN seen INTEGER NOT NULL DEFAULT 0")?;
    }
    db.execute_batch(
        "CREATE INDEX IF NOT EXISTS crates_by_file ON crates (lower(name));
         CREATE TABLE IF NOT EXISTS gaps (
             crate TEXT NOT NULL, version TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL, since TEXT NOT NULL,
             PRIMARY KEY (crate, version)
         ) WITHOUT ROWID",
    )
}

impl Catalogue {
    /// Returns the bit of a source, when it was recorded.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn source_bit(&self, source: &str) -> Result<Option<u64>, ManifestError> {
        for at in 0..MAX_SOURCES {
            match self.source(at)? {
                Some(known) if known == source => return Ok(Some(1 << at)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }

    /// Records a source, if it is new, and returns its bit; 0, the bit of a source in which nothing is seen, when there
    /// are too many.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn record_source(&mut self, source: &str) -> Result<u64, ManifestError> {
        if let Some(bit) = self.source_bit(source)? {
            return Ok(bit);
        }
        for at in 0..MAX_SOURCES {
            if self.source(at)?.is_none() {
                self.set_source(at, source)?;
                return Ok(1 << at);
            }
        }
        Ok(0)
    }

    /// Records that every held release not known to be deleted was seen in a source.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn see_all(&mut self, source: u64) -> Result<(), ManifestError> {
        const SEE: &str = "UPDATE releases SET seen = seen | ?1 WHERE NOT EXISTS (
            SELECT 1 FROM withdrawn JOIN crates ON name = crate
            WHERE crates.id = crate_id AND withdrawn.version = releases.version AND kind = 'deleted')";
        self.db.execute(SEE, [number(source)]).map(drop).map_err(self.fail("write to"))
    }

    /// Copies what was seen where from another catalogue of the same mirror: no manifest has that.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn take_seen_of(&mut self, other: &Self) -> Result<(), ManifestError> {
        if !other.has_seen {
            return Ok(());
        }
        let fail = self.fail("write to");
        for at in 0..MAX_SOURCES {
            let Some(source) = other.source(at)? else { break };
            self.set_source(at, &source)?;
        }
        let mut take = || {
            let to = self.db.transaction()?;
            {
                let mut from = other.db.prepare(
                    "SELECT name, version, seen FROM releases JOIN crates ON crates.id = crate_id WHERE seen <> 0",
                )?;
                let mut see = to.prepare(
                    "UPDATE releases SET seen = ?3
                     WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2",
                )?;
                let mut rows = from.query([])?;
                while let Some(row) = rows.next()? {
                    see.execute(params![
                        row.get_ref(0)?.as_str()?,
                        row.get_ref(1)?.as_str()?,
                        number(size(row.get(2)?))
                    ])?;
                }
            }
            to.commit()
        };
        take().map_err(fail)
    }

    /// Returns the crates that are or were held and whose index file has this name, ignoring case.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn crates_of_file(&self, file: &str) -> Result<Vec<String>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare_cached("SELECT name FROM crates WHERE lower(name) = ?1")?;
            let rows = statement.query_map([file], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what is held from"))
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, ReleaseId, Sha256};

    use super::*;
    use crate::{Change, HeldRelease, UpstreamRemoval};

    fn held(name: &str) -> HeldRelease {
        let id = ReleaseId { name: name.parse().expect("name"), version: "1.0.0".parse().expect("version") };
        HeldRelease { id, sha256: Sha256::from_bytes([7; 32]), size: 5, locations: Location::LOOSE.into() }
    }

    fn seen(catalogue: &Catalogue, name: &str) -> u64 {
        catalogue.held_of(&name.parse().expect("name")).expect("held")[0].seen
    }

    #[test]
    fn what_was_seen_where_survives_another_catalogue() {
        let dir = tempfile::tempdir().expect("dir");
        let mut old = Catalogue::open(&dir.path().join("old.sqlite")).expect("open");
        assert_eq!(old.source_bit("one").expect("bit"), None);
        assert_eq!(old.record_source("one").expect("bit"), 1);
        assert_eq!(old.record_source("two").expect("bit"), 2);
        assert_eq!(old.record_source("one").expect("bit"), 1);
        let both = |source| ["a", "B"].map(|name| Change::Held { release: held(name), source });
        old.apply(&both(1)).expect("apply");
        old.apply(&[Change::Seen { id: held("a").id, source: 2 }]).expect("apply");
        assert_eq!((seen(&old, "a"), seen(&old, "B")), (3, 1));
        let mut new = Catalogue::open(&dir.path().join("new.sqlite")).expect("open");
        new.apply(&both(0)).expect("apply");
        assert_eq!(seen(&new, "a"), 0);
        new.take_seen_of(&old).expect("take");
        assert_eq!((seen(&new, "a"), seen(&new, "B")), (3, 1));
        assert_eq!(new.source_bit("two").expect("bit"), Some(2));
        assert_eq!(new.crates_of_file("b").expect("crates"), ["B"]);
    }

    #[test]
    fn a_catalogue_of_before_is_read_and_upgraded() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let mut catalogue = Catalogue::open(&path).expect("open");
        let seen_at = "2026-01-01T00:00:00.000Z".to_owned();
        let changes = [
            Change::Held { release: held("a"), source: 0 },
            Change::Held { release: held("b"), source: 0 },
            Change::RemovedUpstream { id: held("b").id, kind: UpstreamRemoval::Deleted, seen: seen_at },
        ];
        catalogue.apply(&changes).expect("apply");
        catalogue
            .db
            .execute_batch("DROP INDEX crates_by_file; ALTER TABLE releases DROP COLUMN seen")
            .expect("as it was");
        drop(catalogue);
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        assert_eq!(seen(&reader, "a"), 0);
        let mut catalogue = Catalogue::open(&path).expect("open");
        let bit = catalogue.record_source("one").expect("bit");
        catalogue.see_all(bit).expect("see");
        assert_eq!((seen(&catalogue, "a"), seen(&catalogue, "b")), (1, 0));
    }
}
