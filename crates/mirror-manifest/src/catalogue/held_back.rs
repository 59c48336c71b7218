//! Releases that policy holds back: those that are held and not offered, and those that are wanted and not fetched before
//! a date. Releases that are deferred without a date are in a table of their own (`deferred`).

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use mirror_types::{CrateName, HeldBack, ReleaseId, Rule, Sha256};
use rusqlite::{OptionalExtension as _, Row};

use super::columns::size;
use super::database::Catalogue;
use crate::error::ManifestError;
use crate::record::rfc3339;

/// A table beside the others, so that an earlier catalogue gets it without a rebuild. `until` and `since` are RFC 3339
/// with milliseconds, so that the texts sort like the moments. `held` distinguishes releases that are held and not
/// offered from deferred ones; a release that upstream published again may be both, with other bytes.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS held_back (
    crate TEXT NOT NULL, version TEXT NOT NULL, cksum TEXT NOT NULL, held INTEGER NOT NULL,
    rule TEXT NOT NULL, why TEXT NOT NULL, until TEXT, since TEXT NOT NULL,
    PRIMARY KEY (crate, version, held)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_back_deferred ON held_back (crate, until) WHERE NOT held;
CREATE INDEX IF NOT EXISTS held_back_deferred_due ON held_back (until) WHERE NOT held AND until IS NOT NULL;
CREATE INDEX IF NOT EXISTS held_back_held ON held_back (rule) WHERE held;
CREATE INDEX IF NOT EXISTS held_back_due ON held_back (until) WHERE held AND until IS NOT NULL;
CREATE TABLE IF NOT EXISTS replaced (
    crate TEXT NOT NULL, version TEXT NOT NULL, cksum TEXT NOT NULL, seen TEXT NOT NULL,
    PRIMARY KEY (crate, version, cksum)
) WITHOUT ROWID;
";

/// A release that policy holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBackRelease {
    /// The release.
    pub id: ReleaseId,
    /// The checksum in the index: other bytes under the same name are judged again.
    pub cksum: Sha256,
    /// True if it is held with these bytes and not offered; false if it is wanted and not fetched yet.
    pub is_held: bool,
    /// The decision. Moments are in whole milliseconds; `since` is the time at which the decision was first recorded.
    pub decision: HeldBack,
}

impl HeldBackRelease {
    /// Returns whether another row says the same, whenever it was first recorded.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let HeldBack { rule, until, why, .. } = &other.decision;
        (&self.id, self.cksum, self.is_held) == (&other.id, other.cksum, other.is_held)
            && (self.decision.rule, self.decision.until, &self.decision.why) == (*rule, *until, why)
    }
}

/// Bytes of a release that replace others. Their age counts from the moment at which a run saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedRelease {
    /// The release.
    pub id: ReleaseId,
    /// The checksum of the new bytes.
    pub cksum: Sha256,
    /// The moment, in whole milliseconds.
    pub seen: SystemTime,
}

/// A crate with releases that are deferred until a date, or because their bytes replace others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredCrate {
    /// The crate.
    pub name: String,
    /// The number of deferred releases.
    pub releases: u64,
    /// The moment from which the first of them may be fetched; `None`: none under this policy.
    pub next_due: Option<SystemTime>,
}

/// The number of releases that a rule holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBackCount {
    /// The rule.
    pub rule: Rule,
    /// Releases that are held and not offered.
    pub held: u64,
    /// Releases that are not fetched.
    pub deferred: u64,
}

const COLUMNS: &str = "crate, version, cksum, held, rule, why, until, since";

/// Returns a moment in the form of the table.
pub(super) fn text_of(until: Option<SystemTime>) -> Option<String> {
    until.map(rfc3339)
}

/// Parses such a moment. An unreadable one counts as past, so that the release is looked at again.
fn moment(text: Option<String>) -> Option<SystemTime> {
    Some(text?.parse::<jiff::Timestamp>().map_or(UNIX_EPOCH, SystemTime::from))
}

/// Makes a decision of the texts of a row; the moments are `until` and `since`.
pub(super) fn decision_of(
    rule: &str,
    mut why: String,
    (until, since): (Option<String>, Option<String>),
) -> HeldBack {
    // A rule of a later version keeps holding back.
    let rule = rule.parse().unwrap_or_else(|_| {
        why = format!("the rule {rule}");
        Rule::Deny
    });
    HeldBack { rule, until: moment(until), since: moment(since), why }
}

fn release_of(row: &Row<'_>) -> rusqlite::Result<HeldBackRelease> {
    let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let (Ok(name), Ok(version), Ok(cksum)) = (text(0)?.parse(), text(1)?.parse(), Sha256::from_hex(text(2)?))
    else {
        return Err(rusqlite::Error::InvalidQuery);
    };
    let decision = decision_of(text(4)?, text(5)?.to_owned(), (row.get(6)?, row.get(7)?));
    Ok(HeldBackRelease { id: ReleaseId { name, version }, cksum, is_held: row.get(3)?, decision })
}

fn replaced_row(row: &Row<'_>) -> rusqlite::Result<ReplacedRelease> {
    let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    let (Ok(name), Ok(version), Ok(cksum)) = (text(0)?.parse(), text(1)?.parse(), Sha256::from_hex(text(2)?))
    else {
        return Err(rusqlite::Error::InvalidQuery);
    };
    let seen = moment(row.get(3)?).unwrap_or(UNIX_EPOCH);
    Ok(ReplacedRelease { id: ReleaseId { name, version }, cksum, seen })
}

impl Catalogue {
    /// Returns all bytes that replace others, with the moments at which runs saw them.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn replaced(&self) -> Result<Vec<ReplacedRelease>, ManifestError> {
        let query = || {
            if !self.has_table(&Cell::new(false), "replaced")? {
                return Ok(Vec::new());
            }
            let mut statement = self.db.prepare("SELECT crate, version, cksum, seen FROM replaced")?;
            let rows = statement.query_map([], replaced_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what replaced other bytes from"))
    }

    /// Returns whether the catalogue has the table; one that no program of this version has written to lacks it.
    pub(super) fn has_held_back(&self) -> rusqlite::Result<bool> {
        self.has_table(&self.tables.held_back, "held_back")
    }

    /// Returns the releases of a crate that policy holds back: those that are held, and those that are deferred until a
    /// date or because their bytes replace others. [`Self::deferred_groups_of`] returns the rest.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn held_back_of(&self, name: &CrateName) -> Result<Vec<HeldBackRelease>, ManifestError> {
        let query = || {
            if !self.has_held_back()? {
                return Ok(Vec::new());
            }
            let select = format!("SELECT {COLUMNS} FROM held_back WHERE crate = ?1");
            let mut statement = self.db.prepare_cached(&select)?;
            let rows = statement.query_map([name.as_str()], release_of)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what policy holds back from"))
    }

    /// Returns all releases that are deferred until a date or because their bytes replace others.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred(&self) -> Result<Vec<HeldBackRelease>, ManifestError> {
        let query = || {
            if !self.has_held_back()? {
                return Ok(Vec::new());
            }
            let mut statement =
                self.db.prepare(&format!("SELECT {COLUMNS} FROM held_back WHERE NOT held"))?;
            let rows = statement.query_map([], release_of)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what is deferred from"))
    }

    /// Returns the decision to hold a release back, if there is one; that about the held bytes comes first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn held_back(&self, id: &ReleaseId) -> Result<Option<HeldBack>, ManifestError> {
        if self.past.is_some() {
            return Ok(None);
        }
        let query = || {
            if !self.has_held_back()? {
                return Ok(None);
            }
            let select = format!(
                "SELECT {COLUMNS} FROM held_back WHERE crate = ?1 AND version = ?2
                 ORDER BY held DESC LIMIT 1"
            );
            let mut statement = self.db.prepare_cached(&select)?;
            statement.query_row([id.name.as_str(), id.version.as_str()], release_of).optional()
        };
        match query().map_err(self.fail("read what policy holds back from"))? {
            Some(release) => Ok(Some(release.decision)),
            None => Ok(self.deferred_group(id)?.map(|group| group.decision())),
        }
    }

    /// Returns the release that policy holds back until the earliest moment; `None` when no release has a date.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn first_due(&self) -> Result<Option<HeldBackRelease>, ManifestError> {
        let query = |part: &str| {
            if self.past.is_some() || !self.has_held_back()? {
                return Ok(None);
            }
            let select = format!(
                "SELECT {COLUMNS} FROM held_back WHERE {part} AND until IS NOT NULL ORDER BY until LIMIT 1"
            );
            self.db.query_row(&select, [], release_of).optional()
        };
        let fail = self.fail("read what policy holds back from");
        let found = [query("held").map_err(&fail)?, query("NOT held").map_err(&fail)?];
        Ok(found.into_iter().flatten().min_by_key(|release| release.decision.until))
    }

    /// Counts the releases that policy holds back, by rule, in the order of the rules.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn held_back_counts(&self) -> Result<Vec<HeldBackCount>, ManifestError> {
        let query = || {
            if self.past.is_some() || !self.has_held_back()? {
                return Ok(Vec::new());
            }
            // Each half has an index of its own, which is a small part of the table.
            let mut counts = self.counts_of("held")?;
            for more in self.counts_of("NOT held")?.into_iter().chain(self.deferred_counts()?) {
                match counts.iter_mut().find(|count| count.rule == more.rule) {
                    Some(count) => count.deferred += more.deferred,
                    None => counts.push(more),
                }
            }
            counts.sort_by_key(|count| count.rule);
            Ok(counts)
        };
        query().map_err(self.fail("count what policy holds back in"))
    }

    /// Counts the releases of one half of the table, by rule.
    fn counts_of(&self, half: &str) -> rusqlite::Result<Vec<HeldBackCount>> {
        let select = format!("SELECT rule, held, count(*) FROM held_back WHERE {half} GROUP BY rule");
        let mut statement = self.db.prepare(&select)?;
        let rows = statement.query_map([], |row| {
            let rule = row.get_ref(0)?.as_str()?.parse().unwrap_or(Rule::Deny);
            let releases = size(row.get(2)?);
            let (held, deferred) = if row.get(1)? { (releases, 0) } else { (0, releases) };
            Ok(HeldBackCount { rule, held, deferred })
        })?;
        rows.collect()
    }

    /// Returns the crates of which a release is held and not offered because of `rule`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn crates_held_back_by(&self, rule: Rule) -> Result<Vec<CrateName>, ManifestError> {
        self.held_back_names("SELECT DISTINCT crate FROM held_back WHERE held AND rule = ?1", rule.name())
    }

    /// Returns the crates of which a release is held and not offered until a moment that `now` has reached.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn crates_due(&self, now: SystemTime) -> Result<Vec<CrateName>, ManifestError> {
        let due = "SELECT DISTINCT crate FROM held_back WHERE held AND until IS NOT NULL AND until <= ?1";
        self.held_back_names(due, &rfc3339(now))
    }

    fn held_back_names(&self, select: &str, value: &str) -> Result<Vec<CrateName>, ManifestError> {
        let query = || {
            if !self.has_held_back()? {
                return Ok(Vec::new());
            }
            let mut statement = self.db.prepare(select)?;
            let rows = statement.query_map([value], |row| row.get::<_, String>(0))?;
            rows.map(|name| name?.parse().map_err(|_| rusqlite::Error::InvalidQuery)).collect()
        };
        query().map_err(self.fail("read what policy holds back from"))
    }

    /// Returns the releases of a crate whose bytes replace others.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn replaced_of(&self, name: &CrateName) -> Result<Vec<ReplacedRelease>, ManifestError> {
        let query = || {
            if !self.has_table(&Cell::new(false), "replaced")? {
                return Ok(Vec::new());
            }
            let select = "SELECT crate, version, cksum, seen FROM replaced WHERE crate = ?1";
            let mut statement = self.db.prepare_cached(select)?;
            let rows = statement.query_map([name.as_str()], replaced_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what was replaced from"))
    }

    /// Returns the releases of a crate that are deferred until a date, or because their bytes replace others.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred_of(&self, name: &CrateName) -> Result<Vec<HeldBackRelease>, ManifestError> {
        let mut releases = self.held_back_of(name)?;
        releases.retain(|release| !release.is_held);
        Ok(releases)
    }

    /// Returns the crates with releases that are deferred until a date, or because their bytes replace others, by name.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred_crates(&self) -> Result<Vec<DeferredCrate>, ManifestError> {
        let query = || {
            if !self.has_held_back()? {
                return Ok(Vec::new());
            }
            let mut statement = self
                .db
                .prepare("SELECT crate, count(*), min(until) FROM held_back WHERE NOT held GROUP BY crate")?;
            let rows = statement.query_map([], |row| {
                Ok(DeferredCrate {
                    name: row.get(0)?,
                    releases: size(row.get(1)?),
                    next_due: moment(row.get(2)?),
                })
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
        let dated: u64 = self.deferred_crates()?.iter().map(|of| of.releases).sum();
        Ok(dated + self.deferred_without_date()?)
    }

    /// Returns the moment from which the next deferred release may be fetched; `None` when no release has a date.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn next_due(&self) -> Result<Option<SystemTime>, ManifestError> {
        Ok(self.deferred_crates()?.into_iter().filter_map(|of| of.next_due).min())
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

    fn deferred(name: &str, version: &str, until: Option<u64>) -> HeldBackRelease {
        let (until, since) = (until.map(at), Some(at(100)));
        let decision = HeldBack { rule: Rule::MinPublishAge, until, since, why: String::new() };
        HeldBackRelease {
            id: id(name, version),
            cksum: Sha256::from_bytes([7; 32]),
            is_held: false,
            decision,
        }
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
        Change::Failed(FailureRow::once(id("a", "1.0.0"), None))
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
            // Bytes that come are those that the index lists; the next run looks again.
            (vec![deferred(), held(8)], (0, 0)),
            (vec![deferred(), Change::Resolved(id("a", "1.0.0")), held(8)], (0, 0)),
            (vec![held(8), deferred(), held(8)], (1, 0)),
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
        let mut other_rule = deferred("a", "1.0.0", Some(301));
        other_rule.decision.rule = Rule::Deny;
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
        catalogue.db.execute_batch("DROP TABLE held_back").expect("as it was");
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
