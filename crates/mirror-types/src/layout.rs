use std::ops::Range;
use std::str::FromStr;

use crate::{CrateName, ReleaseId};

/// The layout of releases below the mirror root. Chosen when a mirror is created and recorded in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// The layout of the source system: `s/er/serde-1.0.0.crate`.
    #[default]
    Shard,
    /// The layout that Cargo's `dl` template can express: `{prefix}/{crate}/{crate}-{version}.crate`.
    Cargo,
}

/// The text names no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown layout; use `shard` or `cargo`")]
pub struct UnknownLayout;

impl Layout {
    /// Returns `shard` or `cargo`, as on the command line and in the mirror's own record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shard => "shard",
            Self::Cargo => "cargo",
        }
    }

    /// Returns the directory of a crate below the mirror root: relative, with `/` between its parts, and no slash at
    /// the end. One directory may hold many crates.
    #[must_use]
    pub fn dir(self, name: &CrateName) -> String {
        let n = name.as_str();
        match self {
            Self::Cargo => format!("{}/{n}", index_prefix(n)),
            Self::Shard => {
                let bytes = n.as_bytes();
                // In this order: a short name wins over a leading digit, that over a dash in second place. Names are
                // ASCII, so bytes are characters.
                if n.len() <= 3 {
                    n.to_owned()
                } else if matches!(bytes[0], b'1'..=b'3') {
                    format!("{}/{}", &n[..1], &n[1..3])
                } else if bytes[1] == b'-' {
                    format!("{}/{}", &n[..2], &n[2..n.len().min(4)])
                } else {
                    format!("{}/{}", &n[..1], &n[1..3])
                }
            }
        }
    }

    /// Returns the range of names, in bytewise order, that contains all crates of a directory. It may contain other
    /// crates, too; [`Layout::dir`] shows which.
    #[must_use]
    pub fn names_in(self, dir: &str) -> Range<String> {
        match (self, dir.rsplit_once('/')) {
            (Self::Shard, Some(_)) => {
                let start = dir.replace('/', "");
                // ASCII below 0x7f: the next letter is the next byte.
                let mut end = start.clone();
                if let Some(last) = end.pop() {
                    end.push(char::from(last as u8 + 1));
                }
                start..end
            }
            (_, parts) => {
                let name = parts.map_or(dir, |(_, name)| name);
                name.to_owned()..format!("{name}\0")
            }
        }
    }

    /// Returns the path of a release's file below the mirror root, with `/` between its parts.
    #[must_use]
    pub fn path(self, id: &ReleaseId) -> String {
        let mut path = self.dir(&id.name);
        path.push('/');
        path.push_str(id.name.as_str());
        path.push('-');
        path.push_str(id.version.as_str());
        path.push_str(".crate");
        path
    }
}

impl FromStr for Layout {
    type Err = UnknownLayout;
    fn from_str(text: &str) -> Result<Self, UnknownLayout> {
        match text {
            "shard" => Ok(Self::Shard),
            "cargo" => Ok(Self::Cargo),
            _ => Err(UnknownLayout),
        }
    }
}

/// Returns Cargo's `{prefix}` of a name, in its case: `1`, `2`, `3/x`, `ab/cd`. Names are ASCII ([`CrateName`]); any
/// other text must be checked first.
#[must_use]
pub fn index_prefix(name: &str) -> String {
    match name.len() {
        0 => String::new(),
        1 => "1".to_owned(),
        2 => "2".to_owned(),
        3 => format!("3/{}", &name[..1]),
        _ => format!("{}/{}", &name[..2], &name[2..4]),
    }
}

/// Returns the path of a crate's file in a registry index, lower case: `se/rd/serde`, `3/a/abc`.
#[must_use]
pub fn index_path(name: &CrateName) -> String {
    let lower = name.as_str().to_ascii_lowercase();
    format!("{}/{lower}", index_prefix(&lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> ReleaseId {
        ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
    }

    #[test]
    fn the_shard_layout_is_that_of_the_source_system() {
        for (name, version, path) in [
            ("serde", "1.0.0", "s/er/serde-1.0.0.crate"),
            ("ab", "0.1.0", "ab/ab-0.1.0.crate"),
            ("a", "0.1.0", "a/a-0.1.0.crate"),
            ("abc", "0.1.0", "abc/abc-0.1.0.crate"),
            ("1serde", "1.0.0", "1/se/1serde-1.0.0.crate"),
            ("a-foo", "0.1.0+build.1", "a-/fo/a-foo-0.1.0+build.1.crate"),
            ("a-bc", "1.0.0", "a-/bc/a-bc-1.0.0.crate"),
            ("a--b", "1.0.0", "a-/-b/a--b-1.0.0.crate"),
            ("Inflector", "0.11.4", "I/nf/Inflector-0.11.4.crate"),
            ("4ab-", "1.0.0", "4/ab/4ab--1.0.0.crate"),
            ("1-ab", "1.0.0", "1/-a/1-ab-1.0.0.crate"),
        ] {
            assert_eq!(Layout::Shard.path(&id(name, version)), path);
        }
    }

    #[test]
    fn the_cargo_layout_follows_cargos_prefix() {
        for (name, path) in [
            ("a", "1/a/a-1.0.0.crate"),
            ("ab", "2/ab/ab-1.0.0.crate"),
            ("abc", "3/a/abc/abc-1.0.0.crate"),
            ("Inflector", "In/fl/Inflector/Inflector-1.0.0.crate"),
        ] {
            assert_eq!(Layout::Cargo.path(&id(name, "1.0.0")), path);
        }
    }

    #[test]
    fn index_paths_are_lower_case() {
        assert_eq!(index_path(&"Inflector".parse().expect("name")), "in/fl/inflector");
        assert_eq!(index_path(&"ABC".parse().expect("name")), "3/a/abc");
    }
}
