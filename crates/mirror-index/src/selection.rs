use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use mirror_types::{CrateName, IndexRecord, Printable, ReleaseId, Sha256};
use semver::{Version, VersionReq};

use crate::error::SelectionError;
use crate::lockfile::{LockSet, Locked};

/// Crate names and globs. Names are compared as in the registry: ignoring case and the difference between `-` and `_`.
#[derive(Debug, Clone, Default)]
pub struct NameSet {
    exact: Vec<CrateName>,
    canonical: HashSet<String>,
    globs: GlobSet,
    /// Versions of crates of which not all are meant, by canonical name.
    versions: HashMap<String, Vec<Versions>>,
}

/// Some versions of a crate.
#[derive(Debug, Clone)]
enum Versions {
    /// Exactly this one, whether it is yanked or not. Build metadata counts only if it was given: Cargo ignores it.
    Exact(Version),
    /// Those that satisfy a requirement.
    Matching(VersionReq),
}

impl Versions {
    fn parse(text: &str) -> Option<Self> {
        let exact = Version::parse(text).ok().map(Self::Exact);
        exact.or_else(|| VersionReq::parse(text).ok().map(Self::Matching))
    }

    fn contain(&self, version: &str) -> bool {
        Version::parse(version).is_ok_and(|version| match self {
            Self::Exact(exact) if exact.build.is_empty() => version.cmp_precedence(exact).is_eq(),
            Self::Exact(exact) => version == *exact,
            Self::Matching(requirement) => requirement.matches(&version),
        })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(version) => write!(f, "{version}"),
            Self::Matching(requirement) => write!(f, "{requirement}"),
        }
    }
}

impl NameSet {
    /// Parses names and globs (`*`, `?`, `[...]`).
    ///
    /// # Errors
    /// When a text is neither.
    pub fn parse(texts: &[String]) -> Result<Self, SelectionError> {
        let mut set = Self::default();
        let mut globs = GlobSetBuilder::new();
        for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            let bad = || SelectionError::Name { text: Printable(text).to_string() };
            if let Ok(name) = CrateName::new(text) {
                // Two spellings of one name are one crate.
                if set.canonical.insert(name.canonical()) {
                    set.exact.push(name);
                }
            } else if text.contains(['*', '?', '[']) {
                let glob = GlobBuilder::new(&canonical_glob(text)).build().map_err(|_| bad())?;
                globs.add(glob);
            } else {
                return Err(bad());
            }
        }
        set.globs = globs.build().map_err(|error| SelectionError::Name { text: error.to_string() })?;
        Ok(set)
    }

    /// Parses the same, and names with a version or a requirement: `serde@1.0.200`, `serde@^1`. A crate that is also
    /// given without one has all its versions. A text that begins with a comparison goes on with the requirement before
    /// it, so that lists which were split at commas may have `serde@>=1,<2`.
    ///
    /// # Errors
    /// When a text is none of these.
    pub fn parse_with_versions(texts: &[String]) -> Result<Self, SelectionError> {
        let (mut names, mut versions) = (Vec::new(), HashMap::<String, Vec<Versions>>::new());
        let mut whole = HashSet::new();
        for text in joined(texts) {
            let Some((name, wanted)) = text.split_once('@') else {
                whole.extend(CrateName::new(&text).ok().map(|name| name.canonical()));
                names.push(text);
                continue;
            };
            let bad = || SelectionError::Versions { text: Printable(&text).to_string() };
            let wanted = Versions::parse(wanted.trim()).ok_or_else(bad)?;
            let name = CrateName::new(name.trim()).map_err(|_| bad())?;
            versions.entry(name.canonical()).or_default().push(wanted);
            names.push(name.to_string());
        }
        versions.retain(|name, _| !whole.contains(name));
        Ok(Self { versions, ..Self::parse(&names)? })
    }

    /// Keeps the records of the versions that are meant, and returns the requirements that none satisfies. `exact` gets
    /// those that were named by their exact version.
    fn retain_versions(&self, records: &mut Vec<IndexRecord>, exact: &mut HashSet<ReleaseId>) -> Vec<String> {
        let Some(name) = records.first().map(|record| record.id.name.canonical()) else { return Vec::new() };
        let Some(versions) = self.versions.get(&name) else { return Vec::new() };
        let unmatched = versions
            .iter()
            .filter(|versions| !records.iter().any(|record| versions.contain(record.id.version.as_str())))
            .map(Versions::to_string)
            .collect();
        records.retain(|record| {
            let meant: Vec<_> =
                versions.iter().filter(|versions| versions.contain(record.id.version.as_str())).collect();
            if meant.iter().any(|versions| matches!(versions, Versions::Exact(_))) {
                exact.insert(record.id.clone());
            }
            !meant.is_empty()
        });
        unmatched
    }

    /// Returns whether it has a crate of which not all versions are meant.
    #[must_use]
    pub fn has_versions(&self) -> bool {
        !self.versions.is_empty()
    }

    /// Returns whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.globs.is_empty()
    }

    /// Returns whether a crate matches.
    #[must_use]
    pub fn matches(&self, name: &CrateName) -> bool {
        self.canonical.contains(&name.canonical())
            || (!self.globs.is_empty() && self.globs.is_match(name.canonical()))
    }

    /// Returns the names, without the globs.
    #[must_use]
    pub fn names(&self) -> &[CrateName] {
        &self.exact
    }

    /// Returns the names, when there is no glob among them.
    #[must_use]
    pub fn exact_names(&self) -> Option<Vec<CrateName>> {
        self.globs.is_empty().then(|| self.exact.clone())
    }
}

/// Joins the parts of requirements that were split at their commas.
fn joined(texts: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::with_capacity(texts.len());
    for text in texts.iter().map(|text| text.trim()) {
        match joined.last_mut().filter(|last| last.contains('@')) {
            Some(last) if text.starts_with(['<', '>', '=', '^', '~']) => {
                last.push(',');
                last.push_str(text);
            }
            _ => joined.push(text.to_owned()),
        }
    }
    joined
}

/// Returns a glob in the form in which [`NameSet`] compares it with canonical names: lower case, `_` for `-` outside of
/// brackets, where `-` marks a range.
#[must_use]
pub fn canonical_glob(text: &str) -> String {
    let mut in_brackets = false;
    text.chars()
        .map(|c| {
            in_brackets = (in_brackets || c == '[') && c != ']';
            if c == '-' && !in_brackets { '_' } else { c.to_ascii_lowercase() }
        })
        .collect()
}

/// One machine's share of the crates: `i` of `n`, by a stable hash of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    of: u64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 1, of: 1 }
    }
}

impl Shard {
    /// Returns whether a crate belongs to this share. All spellings of a name belong to one share.
    #[must_use]
    pub fn contains(&self, name: &CrateName) -> bool {
        // FNV-1a, 64 bits: the same on every machine and in every version.
        let hash = name
            .canonical()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        self.of == 1 || hash % self.of == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = SelectionError;
    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let (index, of) = text.split_once('/').ok_or(SelectionError::Shard)?;
        match (index.parse(), of.parse()) {
            (Ok(index), Ok(of)) if 1 <= index && index <= of => Ok(Self { index, of }),
            _ => Err(SelectionError::Shard),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// The wanted part of an index.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Selection {
    /// Only these crates; empty means all.
    pub include: NameSet,
    /// Never these.
    pub exclude: NameSet,
    /// Only the releases that lockfiles name.
    pub locked: Option<LockSet>,
    /// Only the newest N versions that are not yanked; 0 means all. Pre-releases count only where a crate has
    /// nothing else.
    pub latest: usize,
    /// With `latest`: pre-releases count like all others.
    pub include_prerelease: bool,
    /// Also yanked versions. A release that a lockfile names is wanted, yanked or not.
    pub include_yanked: bool,
    /// This machine's share.
    pub shard: Shard,
    /// Only what was published by this moment: the index as it was then, but for yanks and deletions since. The records
    /// must have been read with their time of publication; those without one are left out.
    pub as_of: Option<SystemTime>,
}

/// The chosen releases of one crate.
#[derive(Debug, Default)]
pub struct Selected {
    /// The records, in the order of the index.
    pub records: Vec<IndexRecord>,
    /// Versions left out because they are yanked.
    pub yanked_skipped: usize,
    /// Versions left out because nothing says when they were published, and the selection ends at a moment.
    pub undated: usize,
    /// Requirements of the selection that no version of the crate satisfies.
    pub unmatched: Vec<String>,
    /// Releases with different checksums in lockfile and index, in this order.
    pub checksum_conflicts: Vec<(ReleaseId, Sha256, Sha256)>,
}

impl Selection {
    /// Returns whether any release of a crate may be wanted.
    #[must_use]
    pub fn wants_crate(&self, name: &CrateName) -> bool {
        (self.include.is_empty() || self.include.matches(name))
            && !self.exclude.matches(name)
            && self.shard.contains(name)
            && self.locked.as_ref().is_none_or(|locked| locked.has_crate(name))
    }

    /// Returns whether no crate is left out by its name; the shard may still be a part.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.locked.is_none()
    }

    /// Selects the wanted records of one crate.
    #[must_use]
    pub fn select(&self, mut records: Vec<IndexRecord>) -> Selected {
        let mut selected = Selected::default();
        if let Some(locked) = &self.locked {
            records.retain(|record| match locked.locked(&record.id) {
                Some(Locked { cksum: Some(lock) }) if lock != record.cksum => {
                    selected.checksum_conflicts.push((record.id.clone(), lock, record.cksum));
                    false
                }
                found => found.is_some(),
            });
            selected.records = records;
            return selected;
        }
        let mut exact = HashSet::new();
        selected.unmatched = self.include.retain_versions(&mut records, &mut exact);
        if let Some(end) = self.as_of {
            records.retain(|record| {
                selected.undated += usize::from(record.published.is_none());
                record.published.is_some_and(|published| published <= end)
            });
        }
        if !self.include_yanked || self.latest > 0 {
            let before = records.len();
            records.retain(|record| !record.yanked || exact.contains(&record.id));
            if !self.include_yanked {
                selected.yanked_skipped = before - records.len();
            }
        }
        if self.latest > 0 {
            self.retain_newest(&mut records);
        }
        selected.records = records;
        selected
    }

    /// Keeps the newest `latest` of the records that are not yanked, as Cargo would choose them.
    fn retain_newest(&self, records: &mut Vec<IndexRecord>) {
        let version = |record: &IndexRecord| Version::parse(record.id.version.as_str()).ok();
        let is_stable =
            |version: &Option<Version>| version.as_ref().is_some_and(|version| version.pre.is_empty());
        let mut order: Vec<_> = records.iter().map(|record| (version(record), record.id.clone())).collect();
        if !self.include_prerelease && order.iter().any(|(version, _)| is_stable(version)) {
            order.retain(|(version, _)| is_stable(version));
        }
        order.sort_by(|a, b| b.cmp(a));
        let newest: HashSet<_> = order.into_iter().take(self.latest).map(|(_, id)| id).collect();
        records.retain(|record| newest.contains(&record.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str, yanked: bool) -> IndexRecord {
        let id = ReleaseId { name: "a-b".parse().expect("name"), version: version.parse().expect("version") };
        IndexRecord { id, cksum: Sha256::from_bytes([0; 32]), yanked, published: None }
    }

    #[test]
    fn latest_goes_by_semantic_version() {
        let versions = |selection: &Selection, records: &[(&str, bool)]| {
            let records = records.iter().map(|(version, yanked)| record(version, *yanked)).collect();
            let selected = selection.select(records).records;
            selected.iter().map(|record| record.id.version.to_string()).collect::<Vec<_>>()
        };
        let latest = |latest| Selection { latest, ..Selection::default() };
        let mixed =
            ["0.9.0", "0.10.0-rc.1", "0.10.0", "0.11.0-rc.1", "0.2.0"].map(|version| (version, false));
        assert_eq!(versions(&latest(1), &mixed), ["0.10.0"]);
        assert_eq!(versions(&latest(2), &mixed), ["0.9.0", "0.10.0"]);
        assert_eq!(versions(&latest(9), &mixed), ["0.9.0", "0.10.0", "0.2.0"], "no pre-release fills up");
        let alike = Selection { include_prerelease: true, ..latest(2) };
        assert_eq!(versions(&alike, &mixed), ["0.10.0", "0.11.0-rc.1"]);
        let early = [("0.1.0-alpha.2", false), ("0.1.0-alpha.10", false)];
        assert_eq!(versions(&latest(1), &early), ["0.1.0-alpha.10"]);
        // Cargo would not choose a yanked stable version.
        let yanked = [("1.0.0", true), ("2.0.0-rc.1", false)];
        assert_eq!(versions(&latest(1), &yanked), ["2.0.0-rc.1"]);
        assert_eq!(versions(&Selection { include_yanked: true, ..latest(1) }, &yanked), ["2.0.0-rc.1"]);
    }

    #[test]
    fn a_selection_ends_at_a_moment() {
        let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let dated = |version: &str, published: Option<u64>| {
            let record = record(version, false);
            IndexRecord { published: published.map(at), ..record }
        };
        let records = [("1.0.0", Some(10)), ("1.1.0", Some(20)), ("1.2.0", Some(21)), ("1.3.0", None)];
        let select = |as_of, latest| {
            let selection = Selection { as_of, latest, ..Selection::default() };
            let records = records.iter().map(|(version, published)| dated(version, *published)).collect();
            let selected = selection.select(records);
            let versions: Vec<_> =
                selected.records.iter().map(|record| record.id.version.to_string()).collect();
            (versions.join(" "), selected.undated)
        };
        assert_eq!(select(None, 0), ("1.0.0 1.1.0 1.2.0 1.3.0".to_owned(), 0));
        assert_eq!(select(Some(at(20)), 0), ("1.0.0 1.1.0".to_owned(), 1));
        assert_eq!(select(Some(at(20)), 1), ("1.1.0".to_owned(), 1), "the newest of what there was");
        assert_eq!(select(Some(at(9)), 0), (String::new(), 1));
    }

    #[test]
    fn yanked_versions_are_counted() {
        let records = vec![record("1.0.0", true), record("1.0.1", false)];
        let selected = Selection::default().select(records.clone());
        assert_eq!((selected.records.len(), selected.yanked_skipped), (1, 1));
        let all = Selection { include_yanked: true, ..Selection::default() }.select(records);
        assert_eq!((all.records.len(), all.yanked_skipped), (2, 0));
    }

    #[test]
    fn names_match_as_the_registry_compares_them() {
        let set = NameSet::parse(&["A_B".into(), "serde*".into()]).expect("set");
        for (name, wanted) in [("a-b", true), ("serde_json", true), ("Serde", true), ("other", false)] {
            assert_eq!(set.matches(&name.parse().expect("name")), wanted, "{name}");
        }
        assert!(set.exact_names().is_none());
        assert!(NameSet::parse(&["../x".into()]).is_err());
        let set = NameSet::parse(&["foo-bar".into(), "FOO_BAR".into(), "Foo-Bar".into()]).expect("set");
        assert_eq!(set.names().len(), 1, "one crate in three spellings");
        for (glob, name, wanted) in [
            ("foo-*", "foo_bar", true),
            ("FOO_?ar", "foo-bar", true),
            ("x[a-c]y", "xby", true),
            ("x[a-c]y", "xdy", false),
        ] {
            let set = NameSet::parse(&[glob.into()]).expect("glob");
            assert_eq!(set.matches(&name.parse().expect("name")), wanted, "{glob} {name}");
        }
    }

    #[test]
    fn a_name_may_have_versions() {
        let select = |texts: &[&str], latest| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let include = NameSet::parse_with_versions(&texts).expect("set");
            let records = [
                ("0.9.0", false),
                ("1.0.0", true),
                ("1.1.0", false),
                ("1.2.0-rc.1", false),
                ("2.0.0", false),
            ];
            let records = records.iter().map(|(version, yanked)| record(version, *yanked)).collect();
            let selected = Selection { include, latest, ..Selection::default() }.select(records);
            let versions: Vec<_> =
                selected.records.iter().map(|record| record.id.version.to_string()).collect();
            (versions.join(" "), selected.unmatched.join(" "))
        };
        let found = |versions: &str| (versions.to_owned(), String::new());
        assert_eq!(select(&["a_b@1.1.0"], 0), found("1.1.0"));
        assert_eq!(select(&["A-B@^1"], 0), found("1.1.0"));
        assert_eq!(select(&["a-b@1.0.0"], 0), found("1.0.0"), "named exactly, although it is yanked");
        assert_eq!(select(&["a-b@>=0.9"], 1), found("2.0.0"), "the newest of them");
        assert_eq!(select(&["a-b@0.9.0", "a-b@2"], 0), found("0.9.0 2.0.0"));
        assert_eq!(
            select(&["a-b@0.9.0", "a-b"], 0),
            found("0.9.0 1.1.0 1.2.0-rc.1 2.0.0"),
            "all of it was named, too"
        );
        assert_eq!(select(&["a-b@3", "a-b@2"], 0), ("2.0.0".to_owned(), "^3".to_owned()));
        // Lists are split at commas.
        assert_eq!(select(&["a-b@>=1", "<2", "b"], 0), found("1.1.0"));
        assert_eq!(select(&["a-b@>=0.9", " <1.2"], 0), found("0.9.0 1.1.0"));
        for bad in ["a@", "a@one", "a*@1", "@1", "../a@1", "<2"] {
            assert!(NameSet::parse_with_versions(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(NameSet::parse_with_versions(&["a".to_owned(), "<2".to_owned()]).is_err());
    }

    #[test]
    fn build_metadata_counts_only_if_it_is_given() {
        let select = |text: &str| {
            let include = NameSet::parse_with_versions(&[text.to_owned()]).expect("set");
            let records = ["0.18.0+1.9.0", "0.18.0+1.9.1", "0.18.1+1.9.1"].map(|text| record(text, false));
            let selected = Selection { include, ..Selection::default() }.select(records.to_vec());
            (selected.records.len(), selected.unmatched.len())
        };
        assert_eq!(select("a-b@0.18.0"), (2, 0));
        assert_eq!(select("a-b@0.18.0+1.9.1"), (1, 0));
        assert_eq!(select("a-b@0.18.0+1.9.2"), (0, 1));
        assert_eq!(select("a-b@0.18.0-rc.1"), (0, 1));
    }

    #[test]
    fn shares_part_the_crates() {
        let shards: Vec<Shard> = (1..=3).map(|i| format!("{i}/3").parse().expect("shard")).collect();
        for n in 0..100 {
            let name = format!("crate-{n}").parse().expect("name");
            assert_eq!(shards.iter().filter(|shard| shard.contains(&name)).count(), 1);
        }
        for bad in ["0/1", "2/1", "1", "a/b", "1/0"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
