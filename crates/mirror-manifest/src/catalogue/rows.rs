//! Rows of the catalogue.

use mirror_types::{CrateName, Locations, ReleaseId, Sha256, VersionText};

/// One held version of a crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Version text.
    pub version: String,
    /// Hash of the held bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// The places where they are held.
    pub locations: Locations,
    /// The recorded sources in which it was seen, a bit for each
    /// ([`Catalogue::source_bit`](super::Catalogue::source_bit)).
    pub seen: u64,
}

/// A release that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The bytes, and where they are.
    pub held: Held,
    /// Whether a snapshot offered it as yanked; `None` from a connection that tells what is offered now, of which the line
    /// of the index says so.
    pub yanked: Option<bool>,
}

/// A release that is held from now on. If its hash is new, no other place holds it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRelease {
    /// Crate and version.
    pub id: ReleaseId,
    /// Hash of the held bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// The places, including those where the same bytes were held before.
    pub locations: Locations,
}

/// A directory whose listing matched the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirRow {
    /// Path below the root.
    pub path: String,
    /// Its modification time before it was listed, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The time of the last change of any attribute, the times included; 0 where the system has none.
    pub ctime_ns: i64,
    /// The time of the listing, nanoseconds since 1970.
    pub listed_ns: i64,
}

/// The way in which upstream removed a held release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamRemoval {
    /// Kept for old lockfiles, not offered to new ones.
    Yanked,
    /// Not in the index any more.
    Deleted,
}

impl UpstreamRemoval {
    /// Returns its name in the catalogue's table `withdrawn`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yanked => "yanked",
            Self::Deleted => "deleted",
        }
    }

    pub(super) fn read(text: &str) -> Self {
        if text == "yanked" { Self::Yanked } else { Self::Deleted }
    }
}

/// A line of the failure ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    /// The crate.
    pub name: CrateName,
    /// Its version; `None` for a whole crate, whose index file could not be fetched.
    pub version: Option<VersionText>,
    /// Checksum of the index.
    pub cksum: Option<Sha256>,
    /// Readable URL.
    pub url: String,
    /// Kind of the failure.
    pub kind: String,
    /// The error, one line.
    pub error: String,
    /// Last HTTP status.
    pub http_status: Option<u16>,
    /// Attempts, over all runs.
    pub attempts: u32,
    /// The first time, RFC 3339.
    pub first_seen: String,
    /// The last time, RFC 3339.
    pub last_seen: String,
}

#[cfg(test)]
impl FailureRow {
    /// Returns the row of a release that failed once.
    pub(crate) fn once(id: ReleaseId, cksum: Option<Sha256>) -> Self {
        Self {
            name: id.name,
            version: Some(id.version),
            cksum,
            url: String::new(),
            kind: "status".to_owned(),
            error: String::new(),
            http_status: None,
            attempts: 1,
            first_seen: String::new(),
            last_seen: String::new(),
        }
    }
}

/// The kind of failure of a release that lost its file. A bundle may hold it nevertheless.
pub const LOST: &str = "lost";
