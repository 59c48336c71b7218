//! Counts of what a catalogue has, for people who look at the mirror.

use super::columns::size;
use super::database::Catalogue;
use crate::error::ManifestError;

/// Where releases are held: a release in two places counts in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Releases.
    pub releases: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Releases that are loose files.
    pub loose: u64,
    /// Bytes of them.
    pub loose_bytes: u64,
    /// Releases in bundles.
    pub bundled: u64,
    /// Releases in other stores.
    pub elsewhere: u64,
}

/// The part of a bundle that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleCounts {
    /// The number of the bundle.
    pub number: u32,
    /// Held releases in it.
    pub releases: u64,
}

/// A failure of the ledger, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureText {
    /// The crate.
    pub name: String,
    /// The version; empty for a whole crate.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The message of the last attempt.
    pub error: String,
    /// When it was seen last, RFC 3339.
    pub last_seen: String,
}

impl Catalogue {
    /// Counts the held releases by place. The time grows with their number.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn place_counts(&self) -> Result<PlaceCounts, ManifestError> {
        let elsewhere = if self.has_places { "coalesce(sum(elsewhere <> 0), 0)" } else { "0" };
        let count = format!(
            "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(loose <> 0), 0),
                coalesce(sum(size) FILTER (WHERE loose <> 0), 0), count(bundle), {elsewhere} FROM releases"
        );
        let query = || {
            self.db.query_row(&count, [], |row| {
                let [releases, bytes, loose, loose_bytes, bundled, elsewhere] =
                    [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?].map(size);
                Ok(PlaceCounts { releases, bytes, loose, loose_bytes, bundled, elsewhere })
            })
        };
        query().map_err(self.fail("count what is held in"))
    }

    /// Counts the held releases of each bundle, by number. The time grows with the number of releases.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn bundle_counts(&self) -> Result<Vec<BundleCounts>, ManifestError> {
        let query = || {
            let count = "SELECT bundle, count(*) FROM releases WHERE bundle IS NOT NULL GROUP BY bundle ORDER BY bundle";
            let mut statement = self.db.prepare(count)?;
            let rows = statement
                .query_map([], |row| Ok(BundleCounts { number: row.get(0)?, releases: size(row.get(1)?) }))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("count what is held in"))
    }

    /// Returns the number of rows in the failure ledger whose absence nobody has acknowledged.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn unknown_failure_count(&self) -> Result<u64, ManifestError> {
        let select = format!("SELECT count(*) FROM failures WHERE NOT {}", self.known_gap());
        let query = || self.db.query_row(&select, [], |row| row.get(0));
        query().map(size).map_err(self.fail("read the failures of"))
    }

    /// Returns the SQL by which a row of the failure ledger is a known gap.
    fn known_gap(&self) -> &'static str {
        if self.has_seen {
            "EXISTS (SELECT 1 FROM gaps WHERE gaps.crate = failures.crate AND gaps.version = failures.version)"
        } else {
            "0"
        }
    }

    /// Passes the failures of the ledger to `visit`, by crate and version, each with whether a person has acknowledged it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn failure_texts(&self, visit: &mut dyn FnMut(&FailureText, bool)) -> Result<(), ManifestError> {
        let known = self.known_gap();
        let select =
            format!("SELECT crate, version, kind, error, last_seen, {known} FROM failures ORDER BY 1, 2");
        let mut query = || {
            let mut statement = self.db.prepare(&select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let text = FailureText {
                    name: row.get(0)?,
                    version: row.get(1)?,
                    kind: row.get(2)?,
                    error: row.get(3)?,
                    last_seen: row.get(4)?,
                };
                visit(&text, row.get(5)?);
            }
            Ok(())
        };
        query().map_err(self.fail("read the failures of"))
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, Locations, MemberLocation, ReleaseId, Sha256};

    use super::*;
    use crate::{Change, FailureRow, GapRow, HeldRelease};

    #[test]
    fn releases_count_in_every_place() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        assert_eq!(catalogue.place_counts().expect("counts"), PlaceCounts::default());
        let member = MemberLocation::tar(3, 0, 9);
        let held = |version: &str, locations: Locations| {
            let id =
                ReleaseId { name: "a".parse().expect("name"), version: version.parse().expect("version") };
            let release = HeldRelease { id, sha256: Sha256::from_bytes([7; 32]), size: 5, locations };
            Change::Held { release, source: 0 }
        };
        let changes = [
            held("1.0.0", Location::LOOSE.into()),
            held("2.0.0", member.into()),
            held("3.0.0", Locations::of(true, Some(member))),
        ];
        catalogue.apply(&changes).expect("apply");
        let counts =
            PlaceCounts { releases: 3, bytes: 15, loose: 2, loose_bytes: 10, bundled: 2, elsewhere: 0 };
        assert_eq!(catalogue.place_counts().expect("counts"), counts);
        assert_eq!(catalogue.bundle_counts().expect("counts"), [BundleCounts { number: 3, releases: 2 }]);
    }

    #[test]
    fn a_gap_that_a_person_knows_does_not_count_as_missing() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        let id = |version: &str| ReleaseId {
            name: "a".parse().expect("name"),
            version: version.parse().expect("version"),
        };
        let failed = ["1.0.0", "2.0.0"].map(|version| Change::Failed(FailureRow::once(id(version), None)));
        catalogue.apply(&failed).expect("apply");
        assert_eq!(catalogue.unknown_failure_count().expect("a count"), 2);
        let gap = GapRow {
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            who: "me".to_owned(),
            why: "gone".to_owned(),
            since: "2026-11-01".to_owned(),
        };
        catalogue.acknowledge_gaps(&[gap]).expect("acknowledged");
        assert_eq!(catalogue.unknown_failure_count().expect("a count"), 1);
        let mut known = Vec::new();
        catalogue
            .failure_texts(&mut |text, is_known| known.push((text.version.clone(), is_known)))
            .expect("texts");
        assert_eq!(known, [("1.0.0".to_owned(), true), ("2.0.0".to_owned(), false)]);
    }
}
