//! Releases that are wanted and that policy keeps from being fetched whatever the time is. A list of allowed crates can
//! do that to nearly all releases of a registry, so they have one row for each crate and reason.

use std::collections::HashMap;
use std::time::SystemTime;

use mirror_types::{CrateName, HeldBack, ReleaseId, Rule, VersionText};
use rusqlite::{Connection, params};

use super::columns::{number, size};
use super::database::Catalogue;
use super::held_back::{HeldBackCount, decision_of, text_of};
use crate::error::ManifestError;

/// A table beside the others, so that an earlier catalogue gets it without a rebuild. `versions` are sorted as texts, with
/// a space between them. The index has the names in lower case, which are those of index files.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS deferred (
    crate TEXT NOT NULL, rule TEXT NOT NULL, why TEXT NOT NULL, since TEXT NOT NULL,
    releases INTEGER NOT NULL, versions TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS deferred_crate ON deferred (lower(crate));
";
const ROWS: &str =
    "SELECT rule, why, since, versions FROM deferred WHERE lower(crate) = lower(?1) AND crate = ?1";
const REMOVE: &str = "DELETE FROM deferred WHERE lower(crate) = lower(?1) AND crate = ?1";
const ADD: &str = "INSERT INTO deferred VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Releases of one crate that policy keeps from being fetched for one reason, which no date changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredGroup {
    /// The rule.
    pub rule: Rule,
    /// The reason, beyond the name of the rule; may be empty.
    pub why: String,
    /// The moment at which the first of them was deferred for this reason; `None` before it is recorded.
    pub since: Option<SystemTime>,
    /// The versions.
    pub versions: Vec<VersionText>,
}

impl DeferredGroup {
    /// Returns the decision about each of the releases.
    #[must_use]
    pub fn decision(&self) -> HeldBack {
        HeldBack { rule: self.rule, until: None, since: self.since, why: self.why.clone() }
    }

    /// Brings the groups of a crate into the order in which the catalogue has them, and drops empty ones.
    pub fn sort(groups: &mut Vec<Self>) {
        groups.retain(|group| !group.versions.is_empty());
        groups.iter_mut().for_each(|group| group.versions.sort_unstable());
        groups.sort_by(|one, other| (one.rule, &one.why).cmp(&(other.rule, &other.why)));
    }

    /// Returns whether both are the same groups, whenever they were first recorded. Both are sorted.
    #[must_use]
    pub fn agree(ones: &[Self], others: &[Self]) -> bool {
        let same = |(one, other): (&Self, &Self)| {
            (one.rule, &one.why, &one.versions) == (other.rule, &other.why, &other.versions)
        };
        ones.len() == others.len() && ones.iter().zip(others).all(same)
    }
}

/// Reads the groups of a crate, sorted.
fn groups_of(db: &Connection, name: &CrateName) -> rusqlite::Result<Vec<DeferredGroup>> {
    let mut statement = db.prepare_cached(ROWS)?;
    let rows = statement.query_map([name.as_str()], |row| {
        let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
        let HeldBack { rule, since, why, .. } =
            decision_of(text(0)?, text(1)?.to_owned(), (None, row.get(2)?));
        let versions: Result<Vec<VersionText>, _> =
            text(3)?.split_ascii_whitespace().map(str::parse).collect();
        Ok(DeferredGroup { rule, why, since, versions: versions.map_err(|_| rusqlite::Error::InvalidQuery)? })
    })?;
    let mut groups = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    DeferredGroup::sort(&mut groups);
    Ok(groups)
}

/// Writes the groups of a crate in place of those that it has; returns whether that changes something. `now` is the time
/// since which new groups are deferred.
pub(super) fn replace(
    db: &Connection,
    name: &CrateName,
    mut groups: Vec<DeferredGroup>,
    now: &str,
) -> rusqlite::Result<bool> {
    DeferredGroup::sort(&mut groups);
    let before = groups_of(db, name)?;
    if DeferredGroup::agree(&before, &groups) {
        return Ok(false);
    }
    if !before.is_empty() {
        db.prepare_cached(REMOVE)?.execute([name.as_str()])?;
    }
    let known: HashMap<_, _> =
        before.iter().map(|group| ((group.rule, group.why.as_str()), group.since)).collect();
    for group in &groups {
        let since = known.get(&(group.rule, group.why.as_str())).copied().flatten();
        let since = text_of(since.or(group.since));
        let texts: Vec<&str> = group.versions.iter().map(VersionText::as_str).collect();
        db.prepare_cached(ADD)?.execute(params![
            name.as_str(),
            group.rule.name(),
            group.why,
            since.as_deref().unwrap_or(now),
            number(texts.len() as u64),
            texts.join(" "),
        ])?;
    }
    Ok(true)
}

/// Takes one release out of the groups of its crate; returns whether it was in one.
pub(super) fn take_out(db: &Connection, id: &ReleaseId, now: &str) -> rusqlite::Result<bool> {
    let mut groups = groups_of(db, &id.name)?;
    groups.iter_mut().for_each(|group| group.versions.retain(|version| *version != id.version));
    replace(db, &id.name, groups, now)
}

impl Catalogue {
    /// Returns whether the catalogue has the table; one that no program of this version has written to lacks it.
    pub(super) fn has_deferred(&self) -> rusqlite::Result<bool> {
        self.has_table(&self.tables.deferred, "deferred")
    }

    /// Returns the releases of a crate that are deferred without a date, by rule and reason.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred_groups_of(&self, name: &CrateName) -> Result<Vec<DeferredGroup>, ManifestError> {
        let query = || if self.has_deferred()? { groups_of(&self.db, name) } else { Ok(Vec::new()) };
        query().map_err(self.fail("read the deferred releases of"))
    }

    /// Returns the group that a release is in.
    pub(super) fn deferred_group(&self, id: &ReleaseId) -> Result<Option<DeferredGroup>, ManifestError> {
        let mut groups = self.deferred_groups_of(&id.name)?.into_iter();
        Ok(groups.find(|group| group.versions.contains(&id.version)))
    }

    /// Returns the crates with releases that are deferred without a date and whose index file is called `file`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn crates_deferred_in(&self, file: &str) -> Result<Vec<String>, ManifestError> {
        let query = || {
            if !self.has_deferred()? {
                return Ok(Vec::new());
            }
            let select = "SELECT DISTINCT crate FROM deferred WHERE lower(crate) = ?1";
            let mut statement = self.db.prepare_cached(select)?;
            statement.query_map([file], |row| row.get(0))?.collect()
        };
        query().map_err(self.fail("read the deferred releases of"))
    }

    /// Passes the name of each crate with releases that are deferred without a date, and the number of these releases, to
    /// `visit`; a crate with several reasons comes several times.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn each_deferred_group(&self, visit: &mut dyn FnMut(&str, u64)) -> Result<(), ManifestError> {
        let mut query = || {
            if !self.has_deferred()? {
                return Ok(());
            }
            let mut statement = self.db.prepare("SELECT crate, releases FROM deferred")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?, size(row.get(1)?));
            }
            Ok(())
        };
        query().map_err(self.fail("read the deferred releases of"))
    }

    /// Returns the number of releases that are deferred without a date.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn deferred_without_date(&self) -> Result<u64, ManifestError> {
        let query = || {
            if !self.has_deferred()? {
                return Ok(0);
            }
            let sum = "SELECT coalesce(sum(releases), 0) FROM deferred";
            self.db.query_row(sum, [], |row| row.get(0)).map(size)
        };
        query().map_err(self.fail("count the deferred releases of"))
    }

    /// Counts the releases that are deferred without a date, by rule.
    pub(super) fn deferred_counts(&self) -> rusqlite::Result<Vec<HeldBackCount>> {
        if !self.has_deferred()? {
            return Ok(Vec::new());
        }
        let mut statement = self.db.prepare("SELECT rule, sum(releases) FROM deferred GROUP BY rule")?;
        let rows = statement.query_map([], |row| {
            let rule = row.get_ref(0)?.as_str()?.parse().unwrap_or(Rule::Deny);
            Ok(HeldBackCount { rule, held: 0, deferred: size(row.get(1)?) })
        })?;
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use mirror_types::{Location, Sha256};

    use super::*;
    use crate::{Change, HeldRelease, IndexCursor};

    fn name(text: &str) -> CrateName {
        text.parse().expect("name")
    }

    fn id(of: &str, version: &str) -> ReleaseId {
        ReleaseId { name: name(of), version: version.parse().expect("version") }
    }

    fn group(rule: Rule, why: &str, versions: &[&str]) -> DeferredGroup {
        let versions = versions.iter().map(|version| version.parse().expect("version")).collect();
        DeferredGroup { rule, why: why.to_owned(), since: None, versions }
    }

    fn defer(of: &str, groups: &[DeferredGroup]) -> Change {
        Change::DeferredGroups { name: name(of), groups: groups.to_vec() }
    }

    fn catalogue() -> (tempfile::TempDir, Catalogue) {
        let dir = tempfile::tempdir().expect("dir");
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        (dir, catalogue)
    }

    fn rows(catalogue: &Catalogue) -> Vec<(String, u64)> {
        let mut rows = Vec::new();
        catalogue
            .each_deferred_group(&mut |name, releases| rows.push((name.to_owned(), releases)))
            .expect("rows");
        rows.sort();
        rows
    }

    #[test]
    fn a_crate_has_one_row_for_each_reason() {
        let (_dir, mut catalogue) = catalogue();
        let allow = group(Rule::Allow, "no", &["1.0.0", "1.1.0", "0.9.0"]);
        let yanked = group(Rule::Yanked, "", &["1.2.0"]);
        catalogue.apply(&[defer("a", &[yanked, allow.clone()]), defer("B-c", &[allow])]).expect("apply");
        let found = catalogue.deferred_groups_of(&name("a")).expect("groups");
        let versions =
            |group: &DeferredGroup| group.versions.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found.iter().map(|group| group.rule).collect::<Vec<_>>(), [Rule::Allow, Rule::Yanked]);
        assert_eq!(versions(&found[0]), ["0.9.0", "1.0.0", "1.1.0"]);
        assert!(found.iter().all(|group| group.since.is_some()));
        assert_eq!(rows(&catalogue), [("B-c".to_owned(), 3), ("a".to_owned(), 1), ("a".to_owned(), 3)]);
        assert_eq!(catalogue.deferred_count().expect("count"), 7);
        assert_eq!(catalogue.crates_deferred_in("b-c").expect("crates"), ["B-c"]);
        assert_eq!(
            catalogue.deferred_groups_of(&name("b-c")).expect("groups"),
            [],
            "names are told apart by case"
        );
        let counts: Vec<_> = catalogue.held_back_counts().expect("counts");
        let count = |rule, deferred| HeldBackCount { rule, held: 0, deferred };
        assert_eq!(counts, [count(Rule::Allow, 6), count(Rule::Yanked, 1)]);
        let said = |of: &str, version: &str| catalogue.held_back(&id(of, version)).expect("decision");
        assert_eq!(said("a", "1.2.0").expect("held back").rule, Rule::Yanked);
        assert_eq!(said("a", "1.1.0").expect("held back").why, "no");
        assert_eq!(said("a", "1.1.0-x"), None, "a version that begins alike is another");
    }

    #[test]
    fn the_first_moment_of_a_reason_stays() {
        let (_dir, mut catalogue) = catalogue();
        let mut first = group(Rule::Deny, "x", &["1.0.0"]);
        first.since = Some(UNIX_EPOCH + Duration::from_secs(100));
        catalogue.apply(&[defer("a", &[first.clone()])]).expect("apply");
        let more = group(Rule::Deny, "x", &["1.0.0", "1.0.1"]);
        let other = group(Rule::Deny, "y", &["2.0.0"]);
        catalogue.apply(&[defer("a", &[more, other])]).expect("apply");
        let found = catalogue.deferred_groups_of(&name("a")).expect("groups");
        assert_eq!(found[0].since, first.since);
        assert!(found[1].since > first.since);
    }

    #[test]
    fn the_cursor_goes_when_the_groups_change() {
        let (_dir, mut catalogue) = catalogue();
        let deny = |versions| group(Rule::Deny, "x", versions);
        for (change, stays) in [
            (defer("a", &[deny(&["1.0.0", "1.1.0"])]), false),
            (defer("a", &[deny(&["1.1.0", "1.0.0"])]), true),
            (defer("a", &[deny(&["1.0.0", "1.2.0"])]), false),
            (defer("a", &[group(Rule::Deny, "y", &["1.0.0", "1.2.0"])]), false),
            (Change::Undeferred(id("a", "1.1.0")), true),
            (Change::Undeferred(id("a", "1.2.0")), false),
            (defer("a", &[]), false),
            (defer("a", &[]), true),
        ] {
            let (tree, selection) = ("t".to_owned(), String::new());
            let cursor =
                IndexCursor { tree, selection, selected: 1, yanked_skipped: 0, bad_files: [].into() };
            catalogue.set_cursor(&cursor).expect("cursor");
            catalogue.apply(std::slice::from_ref(&change)).expect("apply");
            assert_eq!(catalogue.cursor().expect("cursor").is_some(), stays, "{change:?}");
        }
        assert_eq!(rows(&catalogue), []);
    }

    #[test]
    fn a_release_that_is_held_leaves_its_group() {
        let (_dir, mut catalogue) = catalogue();
        let release = HeldRelease {
            id: id("a", "1.0.0"),
            sha256: Sha256::from_bytes([7; 32]),
            size: 5,
            locations: Location::LOOSE.into(),
        };
        catalogue.apply(&[defer("a", &[group(Rule::Deny, "x", &["1.0.0", "1.0.1"])])]).expect("apply");
        catalogue.apply(&[Change::Held { release, source: 0 }]).expect("apply");
        assert_eq!(rows(&catalogue), [("a".to_owned(), 1)]);
        catalogue.apply(&[Change::Dropped(id("a", "1.0.1"))]).expect("apply");
        assert_eq!(rows(&catalogue), []);
    }

    #[test]
    fn a_catalogue_of_before_has_no_groups_and_gets_the_table() {
        let (dir, catalogue) = catalogue();
        let path = dir.path().join("c.sqlite");
        catalogue.db.execute_batch("DROP TABLE deferred").expect("as it was");
        drop(catalogue);
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        assert_eq!(rows(&reader), []);
        assert_eq!(
            (reader.deferred_count().expect("count"), reader.held_back(&id("a", "1.0.0")).expect("row")),
            (0, None)
        );
        let mut catalogue = Catalogue::open(&path).expect("open");
        catalogue.apply(&[defer("a", &[group(Rule::Deny, "x", &["1.0.0"])])]).expect("apply");
        assert_eq!(reader.deferred_count().expect("count"), 1);
    }
}
