//! The head of an inventory, and its dates.

use jiff::Timestamp;

use crate::hashes::HashKind;

/// The schema version of the source system, all of whose fields keep their meaning here.
pub(super) const SCHEMA_VERSION: u32 = 1;
const DATE: &str = "%Y-%m-%d %H:%M:%S";

/// The facts in an inventory about the directory as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The date on which it was made, as written.
    pub(crate) date: String,
    /// The program that made it.
    pub(crate) generator: String,
    /// Name of the directory.
    pub(crate) name: Vec<u8>,
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) symlinks: u64,
    pub(crate) bytes: u64,
    pub(crate) hashes: Vec<(HashKind, String)>,
    pub(crate) tar: Option<TarFacts>,
    pub(crate) zip: Option<ZipFacts>,
}

/// The facts in an inventory about the tar made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TarFacts {
    /// File name.
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
    /// Name of the member with the legacy metadata.
    pub(crate) toml: String,
    pub(crate) toml_size_bytes: u64,
    pub(crate) toml_sha256: [u8; 32],
}

/// The facts in an inventory about the ZIP made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ZipFacts {
    /// File name.
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
}

/// Formats a time as `YYYY-MM-DD HH:MM:SS`, UTC; `None` before the year 0 and after 9999.
pub(crate) fn date(seconds: i64) -> Option<String> {
    let text = Timestamp::from_second(seconds).ok()?.strftime(DATE).to_string();
    (text.len() == 19 && !text.starts_with('-')).then_some(text)
}

/// Parses what [`date`] writes; `None` for any other text.
pub(super) fn undate(text: &str) -> Option<i64> {
    let civil = jiff::civil::DateTime::strptime(DATE, text).ok()?;
    let seconds = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    (date(seconds).as_deref() == Some(text)).then_some(seconds)
}
