use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use mirror_types::{CrateName, MirrorId, ReleaseId, Sha256, VersionText, clipped};
use serde::de::Error as _;

use crate::row::name_order;
use crate::unit::UnitDigests;

/// The longest reason of a gap, in bytes.
pub const MAX_REASON_BYTES: usize = 200;

/// The facts that a snapshot states. [`Snapshot::new`](crate::Snapshot::new) checks them and makes the document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// The mirror whose state this is.
    pub mirror: MirrorId,
    /// The number of the snapshot: the first of a mirror has 1, each later one a higher number.
    pub serial: u64,
    /// The time at which the snapshot was made, in whole seconds.
    pub created: SystemTime,
    /// The time from which the snapshot is too old to be accepted, in whole seconds.
    pub expires: SystemTime,
    /// SHA-256 of the whole file of the snapshot before; `None` for the first, and when the mirror lost the one before.
    pub previous: Option<Sha256>,
    /// The state of the index.
    pub index: IndexState,
    /// The digest of the policy; `None` when there is none.
    pub policy: Option<Sha256>,
    /// The numbers of crates, releases and bytes that are offered.
    pub counts: Counts,
    /// Releases that upstream lists and that are not offered because they could not be fetched.
    pub gaps: Vec<Gap>,
    /// The digest of the rows of each unit.
    pub units: UnitDigests,
}

impl Contents {
    /// Returns the contents of a first snapshot, without index, policy, counts and gaps.
    #[must_use]
    pub fn new(mirror: MirrorId, created: SystemTime, expires: SystemTime, units: UnitDigests) -> Self {
        Self {
            mirror,
            serial: 1,
            created,
            expires,
            previous: None,
            index: IndexState::default(),
            policy: None,
            counts: Counts::default(),
            gaps: Vec::new(),
            units,
        }
    }
}

/// The state of the git index that a mirror was brought up to. Sparse and subset mirrors have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexState {
    /// Id of the commit.
    pub commit: Option<GitId>,
    /// Id of its tree.
    pub tree: Option<GitId>,
}

/// The id of a git object: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitId(String);

/// The text is not 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a git object is 40 or 64 lower-case hexadecimal digits")]
pub struct InvalidGitId;

impl GitId {
    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GitId {
    type Err = InvalidGitId;

    fn from_str(text: &str) -> Result<Self, InvalidGitId> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && matches!(text.len(), 40 | 64) { Ok(Self(text.to_owned())) } else { Err(InvalidGitId) }
    }
}

impl fmt::Display for GitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for GitId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for GitId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Numbers of everything that is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Crates that have an offered release.
    pub crates: u64,
    /// Releases.
    pub releases: u64,
    /// Bytes of their `.crate` files.
    pub bytes: u64,
}

/// The kind of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapKind {
    /// The run tried to fetch the release and failed.
    Failed,
    /// A person acknowledged that upstream cannot deliver it.
    Acknowledged,
}

/// A release that upstream lists and that the mirror could not get; or a whole crate, whose index file it could not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The crate.
    pub name: CrateName,
    /// Its version; `None` for all versions that are not offered.
    pub version: Option<VersionText>,
    /// The kind.
    pub kind: GapKind,
    reason: String,
}

impl Gap {
    /// Makes the gap of a release. The reason is escaped to printable ASCII and clipped to [`MAX_REASON_BYTES`].
    #[must_use]
    pub fn new(id: ReleaseId, kind: GapKind, reason: &str) -> Self {
        let reason = clipped(reason, MAX_REASON_BYTES);
        Self { name: id.name, version: Some(id.version), kind, reason }
    }

    /// Makes the gap of a whole crate; as [`Gap::new`] otherwise.
    #[must_use]
    pub fn of_crate(name: CrateName, kind: GapKind, reason: &str) -> Self {
        Self { name, version: None, kind, reason: clipped(reason, MAX_REASON_BYTES) }
    }

    /// Returns the reason: printable ASCII.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Takes a reason as it is; `None` when [`Gap::new`] would change it.
    pub(crate) fn exact(
        name: CrateName,
        version: Option<VersionText>,
        kind: GapKind,
        reason: String,
    ) -> Option<Self> {
        (clipped(&reason, MAX_REASON_BYTES) == reason).then_some(Self { name, version, kind, reason })
    }

    /// Compares two gaps in the order of the document: that of rows, a whole crate before its releases.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        name_order(&self.name, &other.name).then_with(|| self.version.cmp(&other.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_git_is_40_or_64_digits() {
        for good in ["0a".repeat(20), "0a".repeat(32)] {
            assert_eq!(good.parse::<GitId>().expect("id").to_string(), good);
        }
        for bad in ["", "HEAD", &"0A".repeat(20), &"0".repeat(41), &"g".repeat(40)] {
            assert_eq!(bad.parse::<GitId>(), Err(InvalidGitId), "{bad}");
        }
    }

    #[test]
    fn a_reason_from_elsewhere_does_no_harm() {
        let id =
            || ReleaseId { name: "a".parse().expect("name"), version: "1.0.0".parse().expect("version") };
        let gap = Gap::new(id(), GapKind::Failed, "404\x1b[31m\nNot Found \u{e9}");
        assert_eq!(gap.reason(), "404\\u{1b}[31m\\nNot Found \\u{e9}");
        let exact = |reason: String| Gap::exact(id().name, Some(id().version), GapKind::Failed, reason);
        assert_eq!(exact(gap.reason().to_owned()), Some(gap));
        let long = Gap::new(id(), GapKind::Acknowledged, &"x".repeat(10_000));
        assert_eq!(long.reason().len(), MAX_REASON_BYTES);
        assert_eq!(exact("caf\u{e9}".to_owned()), None);
    }
}
