//! The licences that held releases state, read from their packages when a rule needs them.

use mirror_types::{CrateName, ReleaseId, Sha256};
use rusqlite::{Row, params};

use super::columns::sha;
use super::database::Catalogue;
use crate::error::ManifestError;

/// A table beside the others, so that an earlier catalogue gets it without a rebuild. A row holds for the bytes with its
/// checksum. `licence` is NULL where the release states none; `fault` says why the licence could not be read.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS licences (
    crate TEXT NOT NULL, version TEXT NOT NULL, sha256 BLOB NOT NULL, licence TEXT, fault TEXT,
    PRIMARY KEY (crate, version)
) WITHOUT ROWID;
";

/// Deletes the rows of releases that only a bundle holds.
pub(super) const FORGET_BUNDLE: &str = "
DELETE FROM licences WHERE (crate, version) IN (
    SELECT name, version FROM releases JOIN crates ON crates.id = crate_id
    WHERE bundle = ?1 AND NOT loose AND NOT elsewhere
)";

/// The licence in the `Cargo.toml` of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatedLicence {
    /// The text of `license`.
    Text(String),
    /// It states none, or names only a file.
    Missing,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// The licence of a held release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicenceRow {
    /// The release.
    pub id: ReleaseId,
    /// The checksum of the bytes that were read.
    pub sha256: Sha256,
    /// Their licence.
    pub licence: StatedLicence,
}

impl StatedLicence {
    /// Returns the columns `licence` and `fault`.
    pub(super) fn columns(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Text(text) => (Some(text), None),
            Self::Missing => (None, None),
            Self::Unreadable(reason) => (None, Some(reason)),
        }
    }
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<LicenceRow> {
    let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let (Ok(name), Ok(version)) = (text(0)?.parse(), text(1)?.parse()) else {
        return Err(rusqlite::Error::InvalidQuery);
    };
    let licence = match (row.get(3)?, row.get(4)?) {
        (_, Some(reason)) => StatedLicence::Unreadable(reason),
        (Some(text), None) => StatedLicence::Text(text),
        (None, None) => StatedLicence::Missing,
    };
    Ok(LicenceRow { id: ReleaseId { name, version }, sha256: sha(row.get_ref(2)?.as_blob()?)?, licence })
}

impl Catalogue {
    /// Returns whether the catalogue has the table; one that no program of this version has written to lacks it.
    fn has_licences(&self) -> rusqlite::Result<bool> {
        self.has_table(&self.tables.licences, "licences")
    }

    /// Returns the licences of the held releases of a crate, as far as they were read.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn licences_of(&self, name: &CrateName) -> Result<Vec<LicenceRow>, ManifestError> {
        let query = || {
            if !self.has_licences()? {
                return Ok(Vec::new());
            }
            let select = "SELECT crate, version, sha256, licence, fault FROM licences WHERE crate = ?1";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement.query_map([name.as_str()], row_of)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the licences in"))
    }

    /// Copies the licences of what is held here with the same bytes from another catalogue of the same mirror: no manifest
    /// has them.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn take_licences_of(&mut self, other: &Self) -> Result<(), ManifestError> {
        let fail = self.fail("write to");
        let mut take = || {
            if !other.has_licences()? {
                return Ok(());
            }
            let to = self.db.transaction()?;
            {
                let mut from =
                    other.db.prepare("SELECT crate, version, sha256, licence, fault FROM licences")?;
                let mut add = to.prepare(
                    "INSERT OR REPLACE INTO licences SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (
                     SELECT 1 FROM releases JOIN crates ON crates.id = crate_id
                     WHERE name = ?1 AND version = ?2 AND sha256 = ?3)",
                )?;
                let mut rows = from.query([])?;
                while let Some(row) = rows.next()? {
                    let LicenceRow { id, sha256, licence } = row_of(row)?;
                    let (text, fault) = licence.columns();
                    let (name, version) = (id.name.as_str(), id.version.as_str());
                    add.execute(params![name, version, sha256.as_bytes(), text, fault])?;
                }
            }
            to.commit()
        };
        take().map_err(fail)
    }

    /// Passes the licences of all held releases, as far as they were read, to `visit`, ordered by crate and version.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn licences(&self, visit: &mut dyn FnMut(LicenceRow)) -> Result<(), ManifestError> {
        let mut query = || {
            if !self.has_licences()? {
                return Ok(());
            }
            let select =
                "SELECT crate, version, sha256, licence, fault FROM licences ORDER BY crate, version";
            let mut statement = self.db.prepare(select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row_of(row)?);
            }
            Ok(())
        };
        query().map_err(self.fail("read the licences in"))
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, Locations, MemberLocation, StoreId};

    use super::*;
    use crate::{Change, HeldRelease};

    fn id() -> ReleaseId {
        ReleaseId { name: "a".parse().expect("name"), version: "1.0.0".parse().expect("version") }
    }

    fn held(sum: u8, locations: impl Into<Locations>) -> Change {
        let sha256 = Sha256::from_bytes([sum; 32]);
        let release = HeldRelease { id: id(), sha256, size: 5, locations: locations.into() };
        Change::Held { release, source: 0 }
    }

    fn row(licence: StatedLicence) -> LicenceRow {
        LicenceRow { id: id(), sha256: Sha256::from_bytes([7; 32]), licence }
    }

    fn found(catalogue: &Catalogue) -> Vec<LicenceRow> {
        catalogue.licences_of(&id().name).expect("licences")
    }

    #[test]
    fn every_outcome_is_read_back_and_the_last_counts() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        assert_eq!(found(&catalogue), []);
        for licence in [
            StatedLicence::Text("MIT OR Apache-2.0".to_owned()),
            StatedLicence::Unreadable("it ends too early".to_owned()),
            StatedLicence::Missing,
        ] {
            catalogue.apply(&[Change::Licence(row(licence.clone()))]).expect("apply");
            assert_eq!(found(&catalogue), [row(licence)]);
            let mut all = Vec::new();
            catalogue.licences(&mut |row| all.push(row)).expect("licences");
            assert_eq!(all, found(&catalogue));
        }
    }

    #[test]
    fn a_row_leaves_with_its_release_or_its_bytes() {
        let bundled = || held(7, MemberLocation::tar(3, 0, 9));
        let loose = || held(7, Location::LOOSE);
        let lost = || Change::Lost { id: id(), store: StoreId::LOOSE };
        for (changes, stays) in [
            (vec![loose()], true),
            (vec![bundled()], true),
            (vec![held(8, Location::LOOSE)], false),
            (vec![Change::Removed(id())], false),
            (vec![lost()], false),
            (vec![bundled(), lost()], true),
            (vec![Change::BundleGone(3)], true),
            (vec![bundled(), lost(), Change::BundleGone(4)], true),
            (vec![bundled(), lost(), Change::BundleGone(3)], false),
        ] {
            let dir = tempfile::tempdir().expect("dir");
            let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
            let licence = Change::Licence(row(StatedLicence::Missing));
            catalogue.apply(&[loose(), licence]).expect("apply");
            catalogue.apply(&changes).expect("apply");
            assert_eq!(!found(&catalogue).is_empty(), stays, "{changes:?}");
        }
    }

    /// A licence belongs to bytes, and to what is held.
    #[test]
    fn another_catalogue_takes_over_what_it_holds_with_the_same_bytes() {
        let dir = tempfile::tempdir().expect("dir");
        let mut before = Catalogue::open(&dir.path().join("before.sqlite")).expect("open");
        let licence = row(StatedLicence::Text("MIT".to_owned()));
        before.apply(&[held(7, Location::LOOSE), Change::Licence(licence.clone())]).expect("apply");
        for (at, changes, taken) in [
            (0, vec![held(7, Location::LOOSE)], vec![licence.clone()]),
            (1, vec![held(8, Location::LOOSE)], Vec::new()),
            (2, Vec::new(), Vec::new()),
        ] {
            let mut new = Catalogue::open(&dir.path().join(format!("{at}.sqlite"))).expect("open");
            new.apply(&changes).expect("apply");
            new.take_licences_of(&before).expect("taken");
            assert_eq!(found(&new), taken, "{changes:?}");
        }
    }

    #[test]
    fn a_catalogue_of_before_has_no_licences_and_gets_the_table() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let catalogue = Catalogue::open(&path).expect("open");
        catalogue.db.execute_batch("DROP TABLE licences").expect("as it was");
        drop(catalogue);
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        assert_eq!(found(&reader), []);
        let mut catalogue = Catalogue::open(&path).expect("open");
        catalogue.apply(&[Change::Licence(row(StatedLicence::Missing))]).expect("apply");
        assert_eq!(found(&reader), [row(StatedLicence::Missing)]);
    }
}
