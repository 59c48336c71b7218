//! Releases that policy holds back until a date: the list beside the failure ledger.

use std::time::{SystemTime, UNIX_EPOCH};

use mirror_types::{CrateName, ReleaseId, Sha256};
use rusqlite::{Connection, OptionalExtension as _};

use super::database::Catalogue;
use crate::error::ManifestError;
use crate::record::rfc3339;

/// A table beside the others, so that an earlier catalogue gets it without a rebuild. `until` is RFC 3339 with
/// milliseconds, so that the texts sort like the moments.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS deferred (
    crate TEXT NOT NULL, version TEXT NOT NULL, cksum TEXT NOT NULL, until TEXT, why TEXT NOT NULL,
    PRIMARY KEY (crate, version)
) WITHOUT ROWID;
";

/// A release that is wanted and not fetched yet, because policy holds it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredRelease {
    /// The release.
    pub id: ReleaseId,
    /// The checksum in the index: other bytes under the same name are judged again.
    pub cksum: Sha256,
    /// The moment from which it may be fetched, in whole milliseconds; `None`: never under this policy.
    pub until: Option<SystemTime>,
    /// The rule that holds it back, one word.
    pub why: String,
}

/// A crate with deferred releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredCrate {
    /// The crate.
    pub name: String,
    /// The number of deferred releases.
    pub releases: u64,
    /// The moment from which the first of them may be fetched; `None`: none under this policy.
    pub next_due: Option<SystemTime>,
}

/// Returns a moment in the form of the table.
pub(super) fn text_of(until: Option<SystemTime>) -> Option<String> {
    until.map(rfc3339)
}

/// Parses such a moment. An unreadable one counts as past, so that the release is looked at again.
fn moment(text: Option<String>) -> Option<SystemTime> {
    Some(text?.parse::<jiff::Timestamp>().map_or(UNIX_EPOCH, SystemTime::from))
}

fn has_table(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'deferred')", [], |row| row.get(0))
}

impl Catalogue {
    /// Returns the deferred releases of a crate.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred_of(&self, name: &CrateName) -> Result<Vec<DeferredRelease>, ManifestError> {
        let query = || {
            if !has_table(&self.db)? {
                return Ok(Vec::new());
            }
            let mut statement =
                self.db.prepare_cached("SELECT version, cksum, until, why FROM deferred WHERE crate = ?1")?;
            let rows = statement.query_map([name.as_str()], |row| {
                let (version, cksum): (String, String) = (row.get(0)?, row.get(1)?);
                let (Ok(version), Ok(cksum)) = (version.parse(), Sha256::from_hex(&cksum)) else {
                    return Err(rusqlite::Error::InvalidQuery);
                };
                let id = ReleaseId { name: name.clone(), version };
                Ok(DeferredRelease { id, cksum, until: moment(row.get(2)?), why: row.get(3)? })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the deferred releases of"))
    }

    /// Returns the crates with deferred releases, by name.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred_crates(&self) -> Result<Vec<DeferredCrate>, ManifestError> {
        let query = || {
            if !has_table(&self.db)? {
                return Ok(Vec::new());
            }
            let mut statement =
                self.db.prepare("SELECT crate, count(*), min(until) FROM deferred GROUP BY crate")?;
            let rows = statement.query_map([], |row| {
                let releases = super::columns::size(row.get(1)?);
                Ok(DeferredCrate { name: row.get(0)?, releases, next_due: moment(row.get(2)?) })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the deferred releases of"))
    }

    /// Returns the number of deferred releases.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred_count(&self) -> Result<u64, ManifestError> {
        Ok(self.deferred_crates()?.iter().map(|of| of.releases).sum())
    }

    /// Returns the moment from which the next deferred release may be fetched; `None` when no release has a date.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn next_due(&self) -> Result<Option<SystemTime>, ManifestError> {
        let query = || {
            if !has_table(&self.db)? {
                return Ok(None);
            }
            let least =
                self.db.query_row("SELECT min(until) FROM deferred", [], |row| row.get(0)).optional()?;
            Ok(moment(least.flatten()))
        };
        query().map_err(self.fail("read the deferred releases of"))
    }
}

impl DeferredCrate {
    /// Returns whether one of the releases may be fetched at a moment.
    #[must_use]
    pub fn is_due(&self, now: SystemTime) -> bool {
        self.next_due.is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mirror_types::{Location, StoreId};

    use super::*;
    use crate::{Change, FailureRow, HeldRelease, IndexCursor};

    fn id(name: &str, version: &str) -> ReleaseId {
        ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn deferred(name: &str, version: &str, until: Option<u64>) -> DeferredRelease {
        let (cksum, why) = (Sha256::from_bytes([7; 32]), "too-young".to_owned());
        DeferredRelease { id: id(name, version), cksum, until: until.map(at), why }
    }

    fn defer(name: &str, version: &str, until: Option<u64>) -> Change {
        Change::Deferred(deferred(name, version, until))
    }

    fn held(sum: u8) -> Change {
        let sha256 = Sha256::from_bytes([sum; 32]);
        let release =
            HeldRelease { id: id("a", "1.0.0"), sha256, size: 5, locations: Location::LOOSE.into() };
        Change::Held { release, source: 0 }
    }

    fn failed() -> Change {
        Change::Failed(FailureRow {
            name: id("a", "1.0.0").name,
            version: Some(id("a", "1.0.0").version),
            cksum: None,
            url: String::new(),
            kind: "status".to_owned(),
            error: String::new(),
            http_status: None,
            attempts: 1,
            first_seen: String::new(),
            last_seen: String::new(),
        })
    }

    fn catalogue() -> (tempfile::TempDir, Catalogue) {
        let dir = tempfile::tempdir().expect("dir");
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        (dir, catalogue)
    }

    #[test]
    fn what_is_deferred_is_found_by_crate_and_by_date() {
        let (_dir, mut catalogue) = catalogue();
        assert_eq!(
            (catalogue.deferred_count().expect("count"), catalogue.next_due().expect("due")),
            (0, None)
        );
        let changes = [
            defer("a", "1.0.0", Some(300)),
            defer("a", "1.1.0", Some(200)),
            defer("b", "1.0.0", None),
            defer("C", "1.0.0", Some(400)),
        ];
        catalogue.apply(&changes).expect("apply");
        let of = |name: &str| catalogue.deferred_of(&name.parse().expect("name")).expect("deferred");
        assert_eq!(of("a"), [deferred("a", "1.0.0", Some(300)), deferred("a", "1.1.0", Some(200))]);
        assert_eq!(of("b"), [deferred("b", "1.0.0", None)]);
        assert_eq!(of("c"), [], "names are told apart by case");
        let crates = catalogue.deferred_crates().expect("crates");
        let due = |now| {
            let due = crates.iter().filter(|of| of.is_due(at(now))).map(|of| of.name.as_str());
            due.collect::<Vec<_>>()
        };
        assert_eq!(crates.iter().map(|of| of.releases).collect::<Vec<_>>(), [1, 2, 1], "C, a, b");
        assert_eq!(
            (due(199), due(200), due(400), due(1 << 40)),
            (vec![], vec!["a"], vec!["C", "a"], vec!["C", "a"])
        );
        assert_eq!(catalogue.deferred_count().expect("count"), 4);
        assert_eq!(catalogue.next_due().expect("due"), Some(at(200)));
    }

    #[test]
    fn a_release_stands_in_one_list_until_it_is_held() {
        let deferred = || defer("a", "1.0.0", Some(300));
        let lost = || Change::Lost { id: id("a", "1.0.0"), store: StoreId::LOOSE };
        // Afterwards: the number of deferred releases, and the number in the failure ledger.
        for (changes, expected) in [
            (vec![deferred()], (1, 0)),
            (vec![failed(), deferred()], (1, 0)),
            (vec![deferred(), failed()], (0, 1)),
            (vec![deferred(), held(7)], (0, 0)),
            (vec![held(7), deferred()], (1, 0)),
            (vec![deferred(), held(8)], (1, 0)),
            (vec![deferred(), Change::Resolved(id("a", "1.0.0")), held(8)], (1, 0)),
            (vec![held(8), deferred(), lost()], (1, 1)),
            (vec![deferred(), Change::Dropped(id("a", "1.0.0"))], (0, 0)),
            (vec![deferred(), Change::Undeferred(id("a", "1.0.0"))], (0, 0)),
            (vec![deferred(), Change::Undeferred(id("a", "1.0.1"))], (1, 0)),
        ] {
            let (_dir, mut catalogue) = catalogue();
            catalogue.apply(&changes).expect("apply");
            let found = catalogue.deferred_count().expect("count");
            let failures = catalogue.failures().expect("failures").len();
            assert_eq!((found, failures), expected, "{changes:?}");
        }
    }

    #[test]
    fn the_cursor_goes_when_the_list_says_something_new() {
        let (_dir, mut catalogue) = catalogue();
        let known = defer("a", "1.0.0", Some(300));
        catalogue.apply(std::slice::from_ref(&known)).expect("apply");
        let other_rule = DeferredRelease { why: "other".to_owned(), ..deferred("a", "1.0.0", Some(301)) };
        for (change, stays) in [
            (known, true),
            (defer("a", "1.0.0", Some(301)), false),
            (Change::Deferred(other_rule), false),
            (defer("b", "1.0.0", None), false),
            (Change::Undeferred(id("b", "1.0.0")), false),
            (Change::Undeferred(id("b", "1.0.0")), true),
            (held(7), true),
        ] {
            let (tree, selection) = ("t".to_owned(), String::new());
            let cursor =
                IndexCursor { tree, selection, selected: 1, yanked_skipped: 0, bad_files: [].into() };
            catalogue.set_cursor(&cursor).expect("cursor");
            catalogue.apply(std::slice::from_ref(&change)).expect("apply");
            assert_eq!(catalogue.cursor().expect("cursor").is_some(), stays, "{change:?}");
        }
    }

    /// Covers a run that had fetched the release and was killed between the manifest and the catalogue.
    #[test]
    fn what_the_manifest_says_is_held_leaves_the_list() {
        let (dir, mut catalogue) = catalogue();
        let manifest = dir.path().join("m.jsonl");
        let sha256 = Sha256::from_bytes([7; 32]).to_hex();
        let record = crate::ManifestRecord {
            schema_version: 2,
            storage: "filesystem".to_owned(),
            crate_name: Some("a".to_owned()),
            version: Some("1.0.0".to_owned()),
            sha256: Some(sha256),
            ok: true,
            status: "downloaded".to_owned(),
            ..crate::ManifestRecord::default()
        };
        let id = mirror_types::MirrorId::from_bytes([1; 16]);
        let (mut writer, _) = crate::ManifestWriter::open(&manifest, id).expect("open");
        writer.append(&[record]).expect("append");
        catalogue.apply(&[defer("a", "1.0.0", Some(300)), defer("a", "1.1.0", Some(300))]).expect("apply");
        catalogue.replay(&manifest, mirror_types::Layout::Shard).expect("replay");
        let left = catalogue.deferred_of(&"a".parse().expect("name")).expect("deferred");
        assert_eq!(left, [deferred("a", "1.1.0", Some(300))]);
    }

    #[test]
    fn a_catalogue_of_before_defers_nothing_and_gets_the_list() {
        let (dir, catalogue) = catalogue();
        let path = dir.path().join("c.sqlite");
        catalogue.db.execute_batch("DROP TABLE deferred").expect("as it was");
        drop(catalogue);
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        assert_eq!(reader.deferred_crates().expect("crates"), []);
        assert_eq!(reader.deferred_of(&"a".parse().expect("name")).expect("deferred"), []);
        assert_eq!((reader.deferred_count().expect("count"), reader.next_due().expect("due")), (0, None));
        let mut catalogue = Catalogue::open(&path).expect("open");
        catalogue.apply(&[held(8), defer("a", "1.0.0", Some(300))]).expect("apply");
        assert_eq!(reader.deferred_count().expect("count"), 1);
    }
}
