use std::time::SystemTime;

use mirror_types::MirrorId;
use serde::{Deserialize, Serialize};

/// The schema that is written: that of the source system (1) plus additions.
pub const SCHEMA_VERSION: u32 = 2;

/// One line of the manifest. Readers accept schema 1 and 2 and ignore unknown fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestRecord {
    /// 1 or 2.
    pub schema_version: u32,
    /// Where it came from, `+` readable.
    pub url: String,
    /// File, as the run saw it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// `filesystem`, `bundle`, `filesystem+bundle` or `object`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub storage: String,
    /// Bundle that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_path: Option<String>,
    /// Its name in the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_member: Option<String>,
    /// Offset of its frame in the bundle (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_offset: Option<u64>,
    /// Length of its frame in the bundle (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_len: Option<u64>,
    /// Bytes.
    pub size: u64,
    /// Hash of the bytes, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub finished_at: String,
    /// Whether it is held now.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// `downloaded`, [`EXISTING`], `verified_existing`, `error`, `unavailable`, or [`PRUNED`].
    pub status: String,
    /// Crate name (since 2).
    #[serde(rename = "crate", skip_serializing_if = "Option::is_none")]
    pub crate_name: Option<String>,
    /// Version (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Checksum of the index (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cksum: Option<String>,
    /// Last HTTP status (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The run that wrote it (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The mirror that it speaks of (since 2, not in the first records of that schema). Written by
    /// [`ManifestWriter::append`](crate::ManifestWriter::append).
    #[serde(skip_serializing)]
    pub mirror: Option<MirrorId>,
}

/// The status of a release that was found, and not held against an index.
pub const EXISTING: &str = "existing";

/// The status of a release that is not held any more: it was removed because upstream withdrew it or, where `error`
/// says so, its file or its bundle was found gone or damaged. A record behind it may say where it is still held.
pub const PRUNED: &str = "pruned";

/// The status of a release that upstream took down while it is held: it is held on and not offered. No `path`, and not
/// `ok`, so that no reader takes the record for one of a file.
pub const REMOVED_UPSTREAM: &str = "removed_upstream";

/// The status of a release that came back upstream and is offered again.
pub const REINSTATED: &str = "reinstated";

/// A time as the manifest shows it: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => "1970-01-01T00:00:00.000Z".to_owned(),
    }
}
