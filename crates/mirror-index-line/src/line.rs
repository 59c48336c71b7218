use std::borrow::Cow;
use std::time::SystemTime;

use mirror_types::{CrateName, IndexRecord, ReleaseId, Sha256, VersionText};

use crate::checked::{field, said};
use crate::error::{InvalidLine, LineError};
use crate::published;
use crate::requirements::Requirements;
use crate::skim::{Fields, skim};

/// A line of an index: its release, and its text, from which everything else is read on demand. The fields are not
/// validated; [`IndexLine::record`] does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexLine<'a> {
    /// The crate.
    pub name: Cow<'a, str>,
    /// Its version.
    pub vers: Cow<'a, str>,
    /// Checksum of its `.crate`.
    pub cksum: Cow<'a, str>,
    /// True if it is yanked; false when the field is missing or `null`.
    pub yanked: bool,
    text: &'a [u8],
}

impl<'a> IndexLine<'a> {
    /// Reads a line without checking more of it than its structure: faults inside fields that are not wanted are not
    /// found. Leaves anything unusual to [`IndexLine::parse`], whose answer counts.
    ///
    /// # Errors
    /// When it is no line of an index.
    pub fn skim(line: &'a [u8]) -> Result<Self, InvalidLine> {
        match skim(line) {
            Some(fields) => Ok(Self::of(fields, line)),
            None => Self::parse(line),
        }
    }

    /// Reads a line that must be JSON to its last byte.
    ///
    /// # Errors
    /// When it is no line of an index.
    pub fn parse(line: &'a [u8]) -> Result<Self, InvalidLine> {
        Ok(Self::of(serde_json::from_slice(line)?, line))
    }

    fn of(fields: Fields<'a>, text: &'a [u8]) -> Self {
        let Fields { name, vers, cksum, yanked } = fields;
        Self { name, vers, cksum, yanked: yanked.unwrap_or_default(), text }
    }

    /// Returns the line, byte for byte.
    #[must_use]
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Returns the release, when the mirror can keep its name and version.
    #[must_use]
    pub fn release(&self) -> Option<ReleaseId> {
        let (name, version) = (CrateName::new(&self.name).ok()?, VersionText::new(&self.vers).ok()?);
        Some(ReleaseId { name, version })
    }

    /// Returns the record, when the mirror can keep name, version and checksum. Does not read the time of publication:
    /// [`IndexLine::published`] does.
    #[must_use]
    pub fn record(&self) -> Option<IndexRecord> {
        let cksum = Sha256::from_hex(&self.cksum).ok()?;
        Some(IndexRecord { id: self.release()?, cksum, yanked: self.yanked, published: None })
    }

    /// Returns the JSON of a field, as it is in the line; the last one of several with that name. Reads the whole line
    /// each time.
    ///
    /// # Errors
    /// When the line is not JSON to its last byte.
    pub fn field(&self, name: &str) -> Result<Option<&'a str>, LineError> {
        field(self.text, name)
    }

    /// Reads the time of publication in the form of the registry: RFC 3339, UTC, seconds.
    ///
    /// # Errors
    /// As [`IndexLine::field`], and when it is no string.
    pub fn pubtime(&self) -> Result<Option<Cow<'a, str>>, LineError> {
        self.text_of("pubtime")
    }

    /// Returns the time of publication; `None` when the line has none in RFC 3339. Reads the whole line only when it is
    /// written in an unusual way.
    #[must_use]
    pub fn published(&self) -> Option<SystemTime> {
        let text = match published::find(self.text) {
            Some(text) => Cow::Borrowed(text?),
            None => self.pubtime().ok()??,
        };
        text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
    }

    /// Reads the least version of Rust with which the release builds, as it states.
    ///
    /// # Errors
    /// As [`IndexLine::field`], and when it is no string.
    pub fn rust_version(&self) -> Result<Option<Cow<'a, str>>, LineError> {
        self.text_of("rust_version")
    }

    /// Reads the system library that the release links, which no other crate of a build may link.
    ///
    /// # Errors
    /// As [`IndexLine::field`], and when it is no string.
    pub fn links(&self) -> Result<Option<Cow<'a, str>>, LineError> {
        self.text_of("links")
    }

    fn text_of(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, LineError> {
        self.field(name)?.filter(|value| *value != "null").map(|value| said(value, name)).transpose()
    }

    /// Reads dependencies and features.
    ///
    /// # Errors
    /// When the line is not JSON to its last byte, or one of these fields is not as in an index.
    pub fn requirements(&self) -> Result<Requirements, InvalidLine> {
        Requirements::read(self.text)
    }
}
