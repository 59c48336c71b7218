//! One advisory in the formats of RustSec's database (<https://github.com/RustSec/advisory-db>): Markdown that begins with
//! a block of TOML, or TOML alone, as in its first years. The latest form leaves out the line `[advisory]`.

use std::fmt;

use mirror_types::{CLIPPED_VALUE_BYTES, CrateName, Printable, VersionText, clipped};
use semver::{Version, VersionReq};
use serde::Deserialize;

use crate::versions::{Reading, lies_in};

/// The category of advisories about releases that were made to do harm.
const MALICIOUS: &str = "malicious";

/// The sort of an advisory, as far as policy distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdvisoryKind {
    /// The release was made to do harm: the advisory has the category `malicious`.
    Malicious,
    /// The release has a vulnerability.
    Vulnerable,
    /// The advisory informs of something else: the crate is unmaintained or unsound, or needs attention.
    Informational,
}

impl fmt::Display for AdvisoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malicious => MALICIOUS,
            Self::Vulnerable => "vulnerable",
            Self::Informational => "informational",
        })
    }
}

/// A security advisory about releases of one crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    id: String,
    package: CrateName,
    title: String,
    categories: Vec<String>,
    informational: Option<String>,
    withdrawn: bool,
    patched: Vec<VersionReq>,
    unaffected: Vec<VersionReq>,
}

impl Advisory {
    /// Returns its id, as in `RUSTSEC-2026-0001`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the crate that it is about.
    #[must_use]
    pub fn package(&self) -> &CrateName {
        &self.package
    }

    /// Returns its title, printable and clipped; may be empty.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns its categories, as in the database.
    #[must_use]
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// Returns what it informs of, as in `unmaintained`; `None` when it is about a vulnerability.
    #[must_use]
    pub fn informational(&self) -> Option<&str> {
        self.informational.as_deref()
    }

    /// Returns whether it was withdrawn, so that it no longer counts.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// Returns its kind. The category `malicious` counts before everything else that the advisory states.
    #[must_use]
    pub fn kind(&self) -> AdvisoryKind {
        if self.categories.iter().any(|category| category == MALICIOUS) {
            AdvisoryKind::Malicious
        } else if self.informational.is_some() {
            AdvisoryKind::Informational
        } else {
            AdvisoryKind::Vulnerable
        }
    }

    /// Returns whether it is about a version: no requirement of its `patched` and `unaffected` versions includes that
    /// version. Versions are compared by precedence, as RustSec's own tools do, so that a pre-release of a patched version
    /// is affected, and one between two patched versions is not. A text that is no semantic version is affected.
    #[must_use]
    pub fn affects(&self, version: &VersionText) -> bool {
        Version::parse(version.as_str()).map_or(true, |version| self.affects_version(&version))
    }

    pub(crate) fn affects_version(&self, version: &Version) -> bool {
        let mut safe = self.patched.iter().chain(&self.unaffected);
        !safe.any(|requirement| lies_in(version, requirement, Reading::Rustsec))
    }

    /// Returns everything that decides, on one line.
    pub(crate) fn canonical(&self) -> String {
        let requirements = |list: &[VersionReq]| {
            let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
            texts.sort();
            texts.join(" | ")
        };
        format!(
            "{} {} {} patched {} unaffected {}\n",
            self.id,
            self.package.canonical(),
            self.kind(),
            requirements(&self.patched),
            requirements(&self.unaffected)
        )
    }

    /// Parses an advisory. `package` and `id` are those in its path.
    ///
    /// # Errors
    /// Describes the fault.
    pub(crate) fn parse(package: &str, id: &str, text: &str, is_markdown: bool) -> Result<Self, String> {
        let (toml, body) = if is_markdown { front_matter(text)? } else { (text, "") };
        let File { advisory, versions } = File::parse(toml).map_err(|error| {
            format!("its TOML is not that of an advisory: {}", clipped(error.message(), CLIPPED_VALUE_BYTES))
        })?;
        if advisory.id != id {
            return Err(format!("its id is {}", Printable(short(&advisory.id))));
        }
        let name: CrateName =
            advisory.package.parse().map_err(|error: mirror_types::InvalidName| error.to_string())?;
        if CrateName::new(package).map_or(true, |package| package.canonical() != name.canonical()) {
            return Err(format!("it is about {name}"));
        }
        let requirements = |older: &[String], newer: &[String]| {
            let parsed = older.iter().chain(newer).map(|text| {
                text.parse().map_err(|_| format!("{} is no version requirement", Printable(short(text))))
            });
            parsed.collect::<Result<Vec<VersionReq>, String>>()
        };
        let title = advisory.title.as_deref().or_else(|| heading(body)).unwrap_or_default();
        let is_set = |value: &toml::Value| *value != toml::Value::Boolean(false);
        Ok(Self {
            id: advisory.id,
            package: name,
            title: clipped(title.trim(), CLIPPED_VALUE_BYTES),
            categories: advisory.categories,
            informational: advisory.informational,
            withdrawn: advisory.withdrawn.as_ref().is_some_and(is_set)
                || advisory.obsolete.as_ref().is_some_and(is_set),
            patched: requirements(&advisory.patched_versions, &versions.patched)?,
            unaffected: requirements(&advisory.unaffected_versions, &versions.unaffected)?,
        })
    }
}

/// The fields that policy needs; the database has more.
#[derive(Deserialize)]
struct File {
    advisory: Head,
    #[serde(default)]
    versions: Versions,
}

impl File {
    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut table: toml::Table = text.parse()?;
        if !table.contains_key("advisory") {
            let versions = table.remove("versions");
            table = toml::Table::from_iter([("advisory".to_owned(), toml::Value::Table(table))]);
            table.extend(versions.map(|versions| ("versions".to_owned(), versions)));
        }
        table.try_into()
    }
}

#[derive(Deserialize)]
struct Head {
    id: String,
    package: String,
    /// Before advisories were Markdown.
    title: Option<String>,
    /// The date.
    withdrawn: Option<toml::Value>,
    /// The older form of `withdrawn`.
    obsolete: Option<toml::Value>,
    #[serde(default)]
    categories: Vec<String>,
    informational: Option<String>,
    /// Before there was a table of versions.
    #[serde(default)]
    patched_versions: Vec<String>,
    #[serde(default)]
    unaffected_versions: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Versions {
    #[serde(default)]
    patched: Vec<String>,
    #[serde(default)]
    unaffected: Vec<String>,
}

/// Splits Markdown into the TOML at its beginning and the rest.
fn front_matter(text: &str) -> Result<(&str, &str), String> {
    let after = text.trim_start_matches('\u{feff}').trim_start().strip_prefix("```toml");
    let toml = after.and_then(|after| after.split_once('\n')).map(|(_, toml)| toml);
    let toml = toml.ok_or("it does not begin with a block of TOML")?;
    let mut at = 0;
    for line in toml.split_inclusive('\n') {
        if line.trim_end() == "```" {
            return Ok((&toml[..at], &toml[at + line.len()..]));
        }
        at += line.len();
    }
    Err("its block of TOML has no end".to_owned())
}

/// Returns the first heading of Markdown.
fn heading(body: &str) -> Option<&str> {
    body.lines().find_map(|line| line.strip_prefix("# "))
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
