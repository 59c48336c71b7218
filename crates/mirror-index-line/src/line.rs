use std::borrow::Cow;
use std::time::SystemTime;

use mirror_types::{CrateName, IndexRecord, ReleaseId, Sha256, VersionText};

use crate::checked::{field, said};
use crate::error::{InvalidLine, LineError};
use crate::requirements::Requirements;
use crate::skim::{Fields, skim};

/// A line of an index: which release it is of, and its text, out of which everything else is read when somebody asks.
/// Nothing is checked of what the fields say; [`IndexLine::record`] does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexLine<'a> {
    /// The crate.
    pub name: Cow<'a, str>,
    /// Its version.
    pub vers: Cow<'a, str>,
    /// Checksum of its `.crate`.
    pub cksum: Cow<'a, str>,
    /// True if it is yanked; a line that does not say, or says `null`, is not.
    pub yanked: bool,
    text: &'a [u8],
}

impl<'a> IndexLine<'a> {
    /// Reads a line and looks at no more of it than its structure: what is wrong inside of a field that is not wanted
    /// is not found. Whatever is not plain is read by [`IndexLine::parse`], whose answer counts.
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

    /// Returns the release, when its name and its version are some that the mirror can keep.
    #[must_use]
    pub fn release(&self) -> Option<ReleaseId> {
        let (name, version) = (CrateName::new(&self.name).ok()?, VersionText::new(&self.vers).ok()?);
        Some(ReleaseId { name, version })
    }

    /// Returns the record, when name, version and checksum are some that the mirror can keep. Does not look for the
    /// time of publication: [`IndexLine::published`] does.
    #[must_use]
    pub fn record(&self) -> Option<IndexRecord> {
        let cksum = Sha256::from_hex(&self.cksum).ok()?;
        Some(IndexRecord { id: self.release()?, cksum, yanked: self.yanked, published: None })
    }

    /// Returns the JSON of a field, as it is in the line; of several fields of that name the last. Reads all of the
    /// line, each time.
    ///
    /// # Errors
    /// When the line is not JSON to its last byte.
    pub fn field(&self, name: &str) -> Result<Option<&'a str>, LineError> {
        field(self.text, name)
    }

    /// Reads when the release was published, as the registry writes it: RFC 3339, UTC, seconds.
    ///
    /// # Errors
    /// As [`IndexLine::field`], and when it is no string.
    pub fn pubtime(&self) -> Result<Option<Cow<'a, str>>, LineError> {
        self.text_of("pubtime")
    }

    /// Returns when the release was published; `None` when the line does not say it as RFC 3339 has it. Reads all of
    /// the line.
    #[must_use]
    pub fn published(&self) -> Option<SystemTime> {
        let text = self.pubtime().ok()??;
        text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
    }

    /// Reads the least version of Rust that the release says it builds with.
    ///
    /// # Errors
    /// As [`IndexLine::field`], and when it is no string.
    pub fn rust_version(&self) -> Result<Option<Cow<'a, str>>, LineError> {
        self.text_of("rust_version")
    }

    /// Reads which library of the system the release links, as far as no other crate of a build may.
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
    /// When the line is not JSON to its last byte, or one of them is not as in an index.
    pub fn requirements(&self) -> Result<Requirements, InvalidLine> {
        Requirements::read(self.text)
    }
}
