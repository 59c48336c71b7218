//! Lists of releases by name, version requirement and glob, and maps by name. Names are compared as in the registry:
//! ignoring case and the difference between `-` and `_`.

use std::collections::HashMap;

use mirror_index::{NameSet, canonical_glob};
use mirror_types::{CrateName, MAX_NAME_BYTES};
use semver::{Version, VersionReq};

use crate::versions::{Reading, lies_in};

/// A canonical name without an allocation.
struct Canonical {
    bytes: [u8; MAX_NAME_BYTES],
    len: usize,
}

impl Canonical {
    fn of(name: &CrateName) -> Self {
        let (mut bytes, mut len) = ([0; MAX_NAME_BYTES], 0);
        for (to, from) in bytes.iter_mut().zip(name.as_str().bytes()) {
            *to = if from == b'-' { b'_' } else { from.to_ascii_lowercase() };
            len += 1;
        }
        Self { bytes, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Values by the name of a crate, several for each. Finding them costs one lookup.
#[derive(Debug, Clone)]
pub(crate) struct ByName<T>(HashMap<Box<[u8]>, Vec<T>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ByName<T> {
    pub(crate) fn add(&mut self, name: &CrateName, value: T) {
        self.0.entry(Canonical::of(name).as_bytes().into()).or_default().push(value);
    }

    /// Returns the values of a crate, in the order in which they were added.
    pub(crate) fn of(&self, name: &CrateName) -> &[T] {
        if self.0.is_empty() {
            return &[];
        }
        self.0.get(Canonical::of(name).as_bytes()).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn lists(&self) -> impl Iterator<Item = &[T]> {
        self.0.values().map(Vec::as_slice)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values().flatten()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Vec<T>> {
        self.0.values_mut()
    }
}

/// One entry of a list: a name or a glob, with or without a version requirement.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The entry as a person wrote it.
    pub(crate) text: String,
    /// One form for all spellings of the same entry.
    pub(crate) canonical: String,
    names: NameSet,
    requirement: Option<VersionReq>,
}

impl Entry {
    /// Parses `NAME`, `NAME@REQUIREMENT`, or these with a glob in place of the name.
    ///
    /// # Errors
    /// Describes the fault.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const NO_NAME: &str = "has neither a crate name nor a pattern with * or ?";
        let text = text.trim();
        let (name, requirement) = match text.split_once('@') {
            Some((name, requirement)) => (name.trim(), Some(requirement.trim())),
            None => (text, None),
        };
        let requirement = match requirement.map(VersionReq::parse) {
            None => None,
            Some(Ok(requirement)) => Some(requirement),
            Some(Err(_)) => return Err("has no version requirement behind the @, such as <2 or =1.0.4"),
        };
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(NO_NAME);
        }
        let names = NameSet::parse(&[name.to_owned()]).map_err(|_| NO_NAME)?;
        let mut canonical = match names.names() {
            [name] => name.canonical(),
            _ => canonical_glob(name),
        };
        if let Some(requirement) = &requirement {
            canonical.push_str(&format!("@{requirement}"));
        }
        Ok(Self { text: text.to_owned(), canonical, names, requirement })
    }

    /// Returns whether the entry of a list of denied releases is about a version of its crate. Pre-releases count by the
    /// order of versions, and a version that is no semantic version matches every requirement.
    pub(crate) fn denies(&self, version: &str) -> bool {
        self.requirement.as_ref().is_none_or(|requirement| {
            Version::parse(version).map_or(true, |version| lies_in(&version, requirement, Reading::Cargo))
        })
    }

    /// Returns whether the entry of a list of allowed releases is about a version of its crate. A pre-release must be
    /// named, as for Cargo, and a version that is no semantic version matches no requirement.
    pub(crate) fn allows(&self, version: &str) -> bool {
        self.requirement.as_ref().is_none_or(|requirement| {
            Version::parse(version).is_ok_and(|version| requirement.matches(&version))
        })
    }
}

/// A list of entries, in the order in which a person wrote them.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    entries: Vec<Entry>,
    exact: ByName<usize>,
    /// All globs at once, and the entries that they come from.
    globs: NameSet,
    with_glob: Vec<usize>,
}

impl List {
    /// Makes a list of entries.
    ///
    /// # Errors
    /// When the globs are too large together.
    pub(crate) fn new(entries: Vec<Entry>) -> Result<Self, &'static str> {
        let (mut exact, mut with_glob, mut globs) = (ByName::default(), Vec::new(), Vec::new());
        for (at, entry) in entries.iter().enumerate() {
            if let [name] = entry.names.names() {
                exact.add(name, at);
            } else {
                with_glob.push(at);
                globs.push(entry.text.split('@').next().unwrap_or_default().to_owned());
            }
        }
        let globs = NameSet::parse(&globs).map_err(|_| "has too many patterns")?;
        Ok(Self { entries, exact, globs, with_glob })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entries about a crate, whatever their versions, in the order of the list.
    pub(crate) fn of(&self, name: &CrateName) -> Vec<&Entry> {
        let exact = self.exact.of(name);
        let mut found: Vec<usize> = exact.to_vec();
        if !self.globs.is_empty() && self.globs.matches(name) {
            found.extend(self.with_glob.iter().filter(|at| self.entries[**at].names.matches(name)));
            found.sort_unstable();
        }
        found.into_iter().map(|at| &self.entries[at]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> List {
        List::new(texts.iter().map(|text| Entry::parse(text).expect(text)).collect()).expect("list")
    }

    #[test]
    fn entries_are_found_in_the_order_of_the_list() {
        let list = list(&["spam-*", "a-b@<2", "A_B", "spam-x@=1.0.0", "other"]);
        for (name, found) in [
            ("a-b", &["a-b@<2", "A_B"][..]),
            ("A_b", &["a-b@<2", "A_B"]),
            ("Spam_X", &["spam-*", "spam-x@=1.0.0"]),
            ("spam_y", &["spam-*"]),
            ("serde", &[]),
        ] {
            let entries = list.of(&name.parse().expect(name));
            assert_eq!(entries.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), found, "{name}");
        }
    }

    #[test]
    fn a_requirement_denies_more_than_it_allows() {
        let entry = Entry::parse("left-pad @ <2").expect("entry");
        for (version, denies, allows) in [
            ("1.9.9", true, true),
            ("2.0.0", false, false),
            // A malicious release must not pass as a pre-release, nor one that Cargo would not even read.
            ("1.9.9-rc.1", true, false),
            ("2.0.0-rc.1", true, false),
            ("1.0.0-01", true, false),
        ] {
            assert_eq!((entry.denies(version), entry.allows(version)), (denies, allows), "{version}");
        }
    }

    #[test]
    fn spellings_of_one_entry_have_one_canonical_form() {
        for (one, other) in
            [("Left-Pad@<2", "left_pad@ < 2"), ("A-*", "a_*"), ("x@1.2", "X@^1.2"), ("q@>=1,<2", "q@>=1, <2")]
        {
            let canonical = |text| Entry::parse(text).expect(text).canonical;
            assert_eq!(canonical(one), canonical(other));
        }
    }

    #[test]
    fn a_long_name_is_found() {
        let name: CrateName = "X-".repeat(32).parse().expect("name");
        let mut map = ByName::default();
        map.add(&name, 1);
        assert_eq!(map.of(&"x_".repeat(32).parse().expect("name")), [1]);
        assert!(map.of(&"x_".repeat(31).parse().expect("name")).is_empty());
    }
}
