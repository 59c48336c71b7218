use std::collections::{BTreeMap, HashSet};

use mirror_types::{
    Cause, CrateName, InvalidName, InvalidVersion, Printable, ReleaseId, Sha256, VersionText,
};
use serde::Deserialize;
use url::{Position, Url};

use crate::error::LockError;

/// The packages of one registry in lockfiles, with the checksums there.
#[derive(Debug, Clone, Default)]
pub struct LockSet {
    /// The releases, by canonical name: two spellings of one name are one crate.
    releases: BTreeMap<(String, VersionText), (ReleaseId, Option<Sha256>)>,
    crates: HashSet<String>,
    foreign: BTreeMap<String, usize>,
}

/// The names by which lockfiles refer to the mirrored registry.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LockSources {
    /// The `source` strings of the registry itself.
    pub own: Vec<String>,
    /// The `source` strings of the registry that it may replace. They count as long as no package names the registry
    /// itself: lockfiles never name a mirror behind source replacement, but they do name a registry of its own.
    pub replaced: Vec<String>,
}

impl LockSources {
    /// Names the registry itself, which replaces no other.
    #[must_use]
    pub const fn new(own: Vec<String>) -> Self {
        Self { own, replaced: Vec::new() }
    }
}

#[derive(Deserialize)]
struct LockFile {
    #[serde(default)]
    package: Vec<Package>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

impl LockSet {
    /// Parses lockfiles of every version (1 to 4); `files` are labels and texts. Packages without a source (of the
    /// workspace, or from a path) do not count; those of other registries and of git repositories are counted by their
    /// source.
    ///
    /// # Errors
    /// When a text is no lockfile, or two entries disagree.
    pub fn parse(files: &[(String, String)], sources: &LockSources) -> Result<Self, LockError> {
        let mut set = Self::default();
        let mut locks = Vec::with_capacity(files.len());
        for (label, text) in files {
            let lock: LockFile = toml::from_str(text).map_err(|error| {
                let said = error.message().to_owned();
                LockError::Parse { label: label.clone(), source: Cause::worded(&said, error) }
            })?;
            locks.push((label, lock));
        }
        let sources = sources.of(&locks);
        for (label, lock) in locks {
            let bad = |source: Cause| LockError::Parse { label: label.clone(), source };
            for package in lock.package {
                let Some(source) = &package.source else { continue };
                if !is_among(&sources, source) {
                    *set.foreign.entry(shown(source)).or_default() += 1;
                    continue;
                }
                // Version 1 has the checksums in a separate table.
                let key = format!("checksum {} {} ({source})", package.name, package.version);
                let sum = package.checksum.as_ref().or_else(|| lock.metadata.get(&key));
                let sum =
                    match sum.map(String::as_str) {
                        None | Some("<none>") => None,
                        Some(text) => Some(Sha256::from_hex(text).map_err(|error| {
                            bad(Cause::worded(&format!("{}: {error}", package.name), error))
                        })?),
                    };
                let id = ReleaseId {
                    name: package.name.parse().map_err(|error: InvalidName| bad(Cause::new(error)))?,
                    version: package
                        .version
                        .parse()
                        .map_err(|error: InvalidVersion| bad(Cause::new(error)))?,
                };
                set.add(label, &id, sum)?;
            }
        }
        Ok(set)
    }

    /// Merges another set into this one; leaves this one unchanged if they disagree. `label` names the other in errors.
    ///
    /// # Errors
    /// When the two disagree on a checksum.
    pub fn merge(&mut self, label: &str, other: Self) -> Result<(), LockError> {
        let mut merged = self.clone();
        for (id, sum) in other.releases.values() {
            merged.add(label, id, *sum)?;
        }
        for (source, packages) in other.foreign {
            *merged.foreign.entry(source).or_default() += packages;
        }
        *self = merged;
        Ok(())
    }

    fn add(&mut self, label: &str, id: &ReleaseId, sum: Option<Sha256>) -> Result<(), LockError> {
        self.crates.insert(id.name.canonical());
        let (_, known) = self.releases.entry(key(id)).or_insert_with(|| (id.clone(), sum));
        match (*known, sum) {
            (Some(first), Some(second)) if first != second => Err(LockError::Conflict {
                label: label.to_owned(),
                release: id.to_string(),
                first: first.to_hex(),
                second: second.to_hex(),
            }),
            (None, Some(_)) => {
                *known = sum;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of skipped packages by source: of other registries and of git repositories.
    #[must_use]
    pub fn foreign(&self) -> &BTreeMap<String, usize> {
        &self.foreign
    }

    /// Returns the number of releases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.releases.len()
    }

    /// Returns whether there are no releases.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    /// Returns the crates, each once.
    #[must_use]
    pub fn names(&self) -> Vec<CrateName> {
        let mut names: Vec<_> = self.releases.values().map(|(id, _)| id.name.clone()).collect();
        names.dedup_by(|a, b| a.canonical() == b.canonical());
        names
    }

    pub(crate) fn has_crate(&self, name: &CrateName) -> bool {
        self.crates.contains(&name.canonical())
    }

    /// Returns the entry of a release; `None` when there is none.
    pub(crate) fn locked(&self, id: &ReleaseId) -> Option<Locked> {
        self.releases.get(&key(id)).map(|(_, cksum)| Locked { cksum: *cksum })
    }

    /// Returns the releases that are not in `seen`.
    #[must_use]
    pub fn missing(&self, seen: &HashSet<ReleaseId>) -> Vec<ReleaseId> {
        let seen: HashSet<_> = seen.iter().map(key).collect();
        let missing = self.releases.iter().filter(|(key, _)| !seen.contains(key));
        missing.map(|(_, (id, _))| id.clone()).collect()
    }
}

/// The entry of a release in the lockfiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locked {
    /// Its checksum, where one of the lockfiles has it.
    pub(crate) cksum: Option<Sha256>,
}

fn key(id: &ReleaseId) -> (String, VersionText) {
    (id.name.canonical(), id.version.clone())
}

impl LockSources {
    /// Returns the sources by which these lockfiles name the registry.
    fn of<L>(&self, locks: &[(L, LockFile)]) -> Vec<String> {
        let mut packages = locks.iter().flat_map(|(_, lock)| &lock.package);
        let named =
            packages.any(|package| package.source.as_ref().is_some_and(|source| is_among(&self.own, source)));
        let replaced = if named { &[][..] } else { &self.replaced };
        [&self.own, replaced].concat()
    }
}

/// Returns whether a source is one of `ours`; a slash at the end makes no difference.
fn is_among(ours: &[String], source: &str) -> bool {
    ours.iter().any(|ours| ours.trim_end_matches('/') == source.trim_end_matches('/'))
}

/// Longest source that is shown, in characters.
const SHOWN_CHARS: usize = 120;

/// Returns a source for people: without user info and query, which may contain secrets.
fn shown(source: &str) -> String {
    let (kind, address) = source.split_once('+').unwrap_or(("", source));
    let clean = match Url::parse(address) {
        Ok(url) if url.has_host() => {
            format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPath])
        }
        _ => address.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    let text = if kind.is_empty() { clean } else { format!("{kind}+{clean}") };
    Printable(text.chars().take(SHOWN_CHARS).collect::<String>()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockfiles_of_every_version_name_the_same_releases() {
        let sources = own("registry+https://registry.test/index");
        for (version, text, foreign) in [
            (1, include_str!("../../../testdata/lockfiles/v1.lock"), 0),
            (2, include_str!("../../../testdata/lockfiles/v2.lock"), 2),
            (3, include_str!("../../../testdata/lockfiles/v3.lock"), 2),
            (4, include_str!("../../../testdata/lockfiles/v4.lock"), 2),
        ] {
            let set = LockSet::parse(&[("lock".into(), text.into())], &sources).expect("a lockfile");
            let ids: Vec<_> = set.releases.values().map(|(id, _)| id.to_string()).collect();
            assert_eq!(ids, ["alpha 1.0.0", "beta 0.2.0+build"], "version {version}");
            assert_eq!(set.foreign().values().sum::<usize>(), foreign, "version {version}");
            let sum = set.locked(&id(("alpha", "1.0.0"))).and_then(|locked| locked.cksum);
            assert_eq!(sum, Some(Sha256::from_bytes([0x11; 32])), "version {version}");
        }
    }

    fn own(source: &str) -> LockSources {
        LockSources::new(vec![source.to_owned()])
    }

    #[test]
    fn packages_of_other_registries_are_named_and_counted() {
        let package = |name: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{source}\"\n")
        };
        let text = [
            package("ours", "sparse+https://own.test/index/"),
            package("theirs", "registry+https://big.test/index"),
            package("more", "registry+https://big.test/index"),
            package("other", "sparse+https://user:secret@far.test/?token=secret"),
            package("repository", "git+https://git.test/x?rev=1#abc"),
            "[[package]]\nname = \"path\"\nversion = \"1.0.0\"\n".to_owned(),
        ]
        .concat();
        let sources = LockSources {
            own: vec!["sparse+https://own.test/index".into()],
            replaced: vec!["registry+https://big.test/index".into()],
        };
        let set = LockSet::parse(&[("lock".into(), text)], &sources).expect("set");
        assert_eq!(set.names().iter().map(CrateName::as_str).collect::<Vec<_>>(), ["ours"]);
        let foreign: Vec<_> = set.foreign().iter().map(|(source, n)| (source.as_str(), *n)).collect();
        let expected = [
            ("git+https://git.test/x", 1),
            ("registry+https://big.test/index", 2),
            ("sparse+https://far.test/", 1),
        ];
        assert_eq!(foreign, expected);
        // No package names the registry itself: it stands in for the one that they name.
        let set = LockSet::parse(
            &[("lock".into(), package("theirs", "registry+https://big.test/index"))],
            &sources,
        )
        .expect("set");
        assert_eq!((set.len(), set.foreign().len()), (1, 0));
    }

    #[test]
    fn two_spellings_in_two_lockfiles_are_one_release() {
        let package = |name: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n")
        };
        let files = [("a".into(), package("Foo-Bar")), ("b".into(), package("foo_bar"))];
        let set = LockSet::parse(&files, &own("registry+x")).expect("set");
        assert_eq!((set.len(), set.names().len()), (1, 1));
        assert_eq!(set.locked(&id(("FOO_bar", "1.0.0"))), Some(Locked { cksum: None }));
        assert!(set.missing(&HashSet::from([id(("foo-bar", "1.0.0"))])).is_empty());
    }

    fn id((name, version): (&str, &str)) -> ReleaseId {
        ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
    }

    #[test]
    fn disagreeing_and_broken_lockfiles_are_named() {
        let sum = "ab".repeat(32);
        let new = format!(
            "version = 4\n[[package]]\nname = \"me\"\nversion = \"0.1.0\"\n[[package]]\nname = \"a\"\nversion = \
             \"1.0.0\"\nsource = \"registry+x\"\nchecksum = \"{sum}\"\n[[package]]\nname = \"g\"\nversion = \
             \"1.0.0\"\nsource = \"git+y\"\n"
        );
        let old = format!(
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n[metadata]\n\"checksum a 1.0.0 \
             (registry+x)\" = \"{sum}\"\n"
        );
        let sources = own("registry+x");
        let set = LockSet::parse(&[("new".into(), new.clone()), ("old".into(), old)], &sources).expect("set");
        assert_eq!((set.releases.len(), set.foreign()["git+y"]), (1, 1));
        let other = new.replace("ab", "cd");
        let error =
            LockSet::parse(&[("one".into(), new), ("two".into(), other)], &sources).expect_err("conflict");
        assert!(error.to_string().starts_with("two gives a 1.0.0"), "{error}");
        assert!(LockSet::parse(&[("x".into(), "[[".into())], &sources).is_err());
    }
}
