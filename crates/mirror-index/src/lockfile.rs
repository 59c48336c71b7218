use std::collections::{BTreeMap, HashSet};

use mirror_types::{CrateName, ReleaseId, Sha256};
use serde::Deserialize;

use crate::error::LockError;

/// What lockfiles name of one registry, with the checksums that they give.
#[derive(Debug, Clone, Default)]
pub struct LockSet {
    releases: BTreeMap<ReleaseId, Option<Sha256>>,
    crates: HashSet<String>,
    foreign: usize,
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
    /// Reads lockfiles of every version (1 to 4); `files` are labels and texts, `sources` the
    /// `source` strings of the registry. Packages without source (of the workspace) do not count.
    ///
    /// # Errors
    /// When a text is no lockfile, or two entries disagree.
    pub fn parse(files: &[(String, String)], sources: &[String]) -> Result<Self, LockError> {
        let mut set = Self::default();
        for (label, text) in files {
            let bad = |reason: String| LockError::Parse { label: label.clone(), reason };
            let lock: LockFile = toml::from_str(text).map_err(|error| bad(error.message().to_owned()))?;
            for package in lock.package {
                let Some(source) = &package.source else { continue };
                if !sources.iter().any(|ours| ours.trim_end_matches('/') == source.trim_end_matches('/')) {
                    set.foreign += 1;
                    continue;
                }
                // Version 1 keeps checksums in a table of its own.
                let key = format!("checksum {} {} ({source})", package.name, package.version);
                let sum = package.checksum.as_ref().or_else(|| lock.metadata.get(&key));
                let sum = match sum.map(String::as_str) {
                    None | Some("<none>") => None,
                    Some(text) => Some(
                        Sha256::from_hex(text).map_err(|error| bad(format!("{}: {error}", package.name)))?,
                    ),
                };
                let id = ReleaseId {
                    name: package.name.parse().map_err(|error| bad(format!("{error}")))?,
                    version: package.version.parse().map_err(|error| bad(format!("{error}")))?,
                };
                set.add(label, &id, sum)?;
            }
        }
        Ok(set)
    }

    fn add(&mut self, label: &str, id: &ReleaseId, sum: Option<Sha256>) -> Result<(), LockError> {
        self.crates.insert(id.name.canonical());
        let known = self.releases.entry(id.clone()).or_insert(sum);
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

    /// Packages of other registries, which were skipped.
    #[must_use]
    pub fn foreign(&self) -> usize {
        self.foreign
    }

    /// Releases that are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.releases.len()
    }

    /// Whether none is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    /// Crates that are named, each once.
    #[must_use]
    pub fn names(&self) -> Vec<CrateName> {
        let mut names: Vec<_> = self.releases.keys().map(|id| id.name.clone()).collect();
        names.dedup();
        names
    }

    pub(crate) fn has_crate(&self, name: &CrateName) -> bool {
        self.crates.contains(&name.canonical())
    }

    /// `None` when the release is not named, `Some(None)` when it has no checksum.
    pub(crate) fn checksum(&self, id: &ReleaseId) -> Option<Option<Sha256>> {
        self.releases.get(id).copied()
    }

    /// What is named and not in `seen`.
    #[must_use]
    pub fn missing(&self, seen: &HashSet<ReleaseId>) -> Vec<ReleaseId> {
        self.releases.keys().filter(|id| !seen.contains(id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockfiles_of_every_version_name_the_same_releases() {
        let sources = ["registry+https://registry.test/index".to_owned()];
        for (version, text, foreign) in [
            (1, include_str!("../../../testdata/lockfiles/v1.lock"), 0),
            (2, include_str!("../../../testdata/lockfiles/v2.lock"), 2),
            (3, include_str!("../../../testdata/lockfiles/v3.lock"), 2),
            (4, include_str!("../../../testdata/lockfiles/v4.lock"), 2),
        ] {
            let set = LockSet::parse(&[("lock".into(), text.into())], &sources).expect("a lockfile");
            let ids: Vec<_> = set.releases.keys().map(ToString::to_string).collect();
            assert_eq!(ids, ["alpha 1.0.0", "beta 0.2.0+build"], "version {version}");
            assert_eq!(set.foreign(), foreign, "version {version}");
            let sum = set.checksum(&id(("alpha", "1.0.0"))).flatten();
            assert_eq!(sum, Some(Sha256::from_bytes([0x11; 32])), "version {version}");
        }
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
        let sources = ["registry+x".to_owned()];
        let set = LockSet::parse(&[("new".into(), new.clone()), ("old".into(), old)], &sources).expect("set");
        assert_eq!((set.releases.len(), set.foreign()), (1, 1));
        let other = new.replace("ab", "cd");
        let error =
            LockSet::parse(&[("one".into(), new), ("two".into(), other)], &sources).expect_err("conflict");
        assert!(error.to_string().starts_with("two gives a 1.0.0"), "{error}");
        assert!(LockSet::parse(&[("x".into(), "[[".into())], &sources).is_err());
    }
}
