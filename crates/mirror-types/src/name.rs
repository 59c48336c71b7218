use std::fmt;
use std::sync::Arc;

use crate::text::Printable;

/// Longest crate name that is accepted, in bytes; the registry's own limit.
pub const MAX_NAME_BYTES: usize = 64;

/// Longest version text that is accepted, in bytes. With the longest name and the suffix `.crate.json`, a file name
/// stays below 255 bytes.
pub const MAX_VERSION_BYTES: usize = 170;

/// The reason why a text is not a crate name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a crate name: {reason}", Printable(.text))]
pub struct InvalidName {
    text: String,
    reason: &'static str,
}

/// The reason why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a version: {reason}", Printable(.text))]
pub struct InvalidVersion {
    text: String,
    reason: &'static str,
}

/// A crate name, case as in the index: 1 to 64 bytes of ASCII letters, digits, `-` and `_`,
/// not beginning with `-`. Safe as a path component and in a URL. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrateName(Arc<str>);

impl CrateName {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// When a character, the length or the first character is not allowed.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        Self::check(text).map_err(|reason| InvalidName { text: clip(text), reason })?;
        Ok(Self(text.into()))
    }

    /// Returns whether `text` would be accepted by [`CrateName::new`], without allocating.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        Self::check(text).is_ok()
    }

    fn check(text: &str) -> Result<(), &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > MAX_NAME_BYTES {
            return Err("it is longer than 64 bytes");
        }
        if text.starts_with('-') {
            return Err("it begins with '-'");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err("only ASCII letters, digits, '-' and '_' are allowed");
        }
        Ok(())
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name by which the registry distinguishes crates: lower case, `_` for `-`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.0.to_ascii_lowercase().replace('-', "_")
    }
}

/// The text of a version: 1 to 170 bytes of ASCII letters, digits, `.`, `-`, `+` and `_`, beginning with three numbers
/// (`1.0.0`), without `..`. So no two releases have files of the same name: a crate name has no dots, and the part
/// before the first dot shows where it ends. Code that compares versions decides whether it is a semantic version
/// otherwise. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionText(Arc<str>);

impl VersionText {
    /// Checks `text` and makes a version of it.
    ///
    /// # Errors
    /// When a character, the length or the first character is not allowed.
    pub fn new(text: &str) -> Result<Self, InvalidVersion> {
        Self::check(text).map_err(|reason| InvalidVersion { text: clip(text), reason })?;
        Ok(Self(text.into()))
    }

    /// Returns whether `text` would be accepted by [`VersionText::new`], without allocating.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        Self::check(text).is_ok()
    }

    fn check(text: &str) -> Result<(), &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > MAX_VERSION_BYTES {
            return Err("it is longer than 170 bytes");
        }
        if !begins_with_three_numbers(text) {
            return Err("it does not begin with three numbers, as in 1.0.0");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_')) {
            return Err("only ASCII letters, digits, '.', '-', '+' and '_' are allowed");
        }
        if text.contains("..") {
            return Err("it contains '..'");
        }
        Ok(())
    }

    /// Returns the version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether a text begins with three numbers with dots between them, and ends there or continues with `-` or
/// `+`.
fn begins_with_three_numbers(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    number(parts.next()) && number(parts.next()) && number(parts.next()) && parts.next().is_none()
}

/// One release: a crate name and the text of its version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReleaseId {
    /// The crate.
    pub name: CrateName,
    /// Its version.
    pub version: VersionText,
}

impl ReleaseId {
    /// Returns `{name}-{version}.crate`, the name of the release's file.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.crate", self.name, self.version)
    }

    /// Returns the download URL below `base`: `{base}/{name}/{name}-{version}.crate`, with `+` as `%2B`.
    #[must_use]
    pub fn url(&self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        format!("{base}/{name}/{name}-{version}.crate", name = self.name, version = self.version)
            .replace('+', "%2B")
    }

    /// Returns that URL for people and records: `+` stays readable.
    #[must_use]
    pub fn readable_url(&self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        format!("{base}/{name}/{name}-{version}.crate", name = self.name, version = self.version)
    }

    /// Returns the release whose file has the name `{name}-{version}.crate`.
    #[must_use]
    pub fn of_file(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(".crate")?;
        // The last dash before the first dot.
        let at = stem[..stem.find('.')?].rfind('-')?;
        let name = CrateName::new(&stem[..at]).ok()?;
        let version = VersionText::new(&stem[at + 1..]).ok()?;
        Some(Self { name, version })
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

macro_rules! text_impls {
    ($type:ty, $error:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl std::str::FromStr for $type {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                Self::new(text)
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
text_impls!(CrateName, InvalidName);
text_impls!(VersionText, InvalidVersion);

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_output_are_refused() {
        for bad in ["", "..", ".", "a/b", "a\\b", "a\0b", "é", "-a", "a b", "a.b", "a:b", &"x".repeat(65)] {
            assert!(CrateName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "1serde", "Inflector", "a-foo", "_x", "x".repeat(64).as_str()] {
            assert_eq!(CrateName::new(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn versions_that_could_leave_the_output_are_refused() {
        for bad in [
            "",
            "../1",
            "1/2",
            "1..2",
            "1\\2",
            "v1",
            "1.0.0\n",
            "1.0.0 ",
            "1",
            "1.0",
            "1-2.0.0",
            "1.0.0.0",
            "1.0.x",
            "1.0.0_1",
            "1.0.0-a..b",
            &format!("1.0.0-{}", "1".repeat(165)),
        ] {
            assert!(VersionText::new(bad).is_err(), "{bad:?}");
        }
        for good in ["1.0.0", "0.1.0+build.1", "1.0.0-alpha.1", "0.0.1-pre_1"] {
            assert_eq!(VersionText::new(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn an_error_shows_hostile_text_escaped() {
        let error = CrateName::new("a\x1b[2J").expect_err("control character").to_string();
        assert!(!error.contains('\x1b'), "{error}");
    }

    #[test]
    fn plus_is_escaped_in_urls_only() {
        let id = ReleaseId {
            name: "a-foo".parse().expect("name"),
            version: "0.1.0+build.1".parse().expect("version"),
        };
        assert_eq!(id.url("http://h/crates/"), "http://h/crates/a-foo/a-foo-0.1.0%2Bbuild.1.crate");
        assert_eq!(id.file_name(), "a-foo-0.1.0+build.1.crate");
    }

    #[test]
    fn a_file_name_is_that_of_one_release() {
        for (file, shown) in [
            ("a-1-2.0.0.crate", Some("a-1 2.0.0")),
            ("a-foo-0.1.0-rc-1.0+x.crate", Some("a-foo 0.1.0-rc-1.0+x")),
            ("a-1.crate", None),
            ("1.0.0.crate", None),
            ("a-1.0.0.tar", None),
        ] {
            let id = ReleaseId::of_file(file);
            assert_eq!(id.as_ref().map(ToString::to_string).as_deref(), shown);
            assert!(id.is_none_or(|id| id.file_name() == file));
        }
    }
}
