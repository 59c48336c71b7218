use std::time::SystemTime;

use mirror_types::IndexRecord;

/// The licence of a release, as far as the caller knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Licence<'a> {
    /// The caller has not read it.
    #[default]
    Unknown,
    /// The release states none, or names only a file.
    Missing,
    /// Its `Cargo.toml` cannot be read, for this reason.
    Unreadable(&'a str),
    /// The text of `license` in its `Cargo.toml`.
    Stated(&'a str),
}

/// A release, and the facts by which policy decides about it. The facts that [`Policy::needs`](crate::Policy::needs) does
/// not name may be left out.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The release, as in the index.
    pub record: &'a IndexRecord,
    /// The moment from which its age counts: the time of publication, or the later moment at which the mirror saw these
    /// bytes replace others of the same name and version. `None` where it is unknown.
    pub counts_from: Option<SystemTime>,
    /// The moment at which a run saw that upstream deleted it; `None` while upstream lists it.
    pub deleted: Option<SystemTime>,
    /// The size of its `.crate` file, bytes; `None` where it is unknown.
    pub size_bytes: Option<u64>,
    /// Its licence.
    pub licence: Licence<'a>,
}

impl<'a> Candidate<'a> {
    /// Makes a candidate of a release that upstream lists. Its age counts from the record's time of publication, which is
    /// there only if the caller read it from the index line; size and licence are unknown.
    #[must_use]
    pub fn new(record: &'a IndexRecord) -> Self {
        Self {
            record,
            counts_from: record.published,
            deleted: None,
            size_bytes: None,
            licence: Licence::Unknown,
        }
    }
}
