use std::time::SystemTime;

use mirror_checksum::Hasher;
use mirror_types::{Cause, CrateName, MirrorId, Sha256, VersionText};
use serde::{Deserialize, Serialize};

use crate::contents::{Contents, Counts, Gap, GapKind, GitId, IndexState};
use crate::error::SnapshotError;
use crate::time;
use crate::unit::UnitDigests;

/// The version of the format that this crate reads and writes.
pub const FORMAT: u64 = 1;
/// The largest number in a snapshot, 2^53 - 1: other programs read numbers as floats and would round a larger one.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The most gaps in a snapshot.
pub const MAX_GAPS: usize = 65_536;
/// The most bytes of one gap in the document: names, version and an escaped reason at their longest, and what is around
/// them.
pub const MAX_GAP_BYTES: usize = 1_024;
/// The longest document that is read: 256 KiB, and [`MAX_GAPS`] gaps of [`MAX_GAP_BYTES`].
pub const MAX_SNAPSHOT_BYTES: usize = 256 * 1024 + MAX_GAPS * MAX_GAP_BYTES;

/// Returns the name of the file of a snapshot: `snapshot-SERIAL.json`.
#[must_use]
pub fn snapshot_file_name(serial: u64) -> String {
    format!("snapshot-{serial}.json")
}

/// A snapshot: everything that it states, and its one canonical document.
///
/// The document is JSON in UTF-8, and ASCII alone: the fields in a fixed order, each on a line of its own, two spaces of
/// indentation for each level, every array item on a line of its own, an empty array as `[]`, integers up to
/// [`MAX_NUMBER`] and no other numbers, a newline at the end. `jq .` writes the same bytes. `docs/snapshot.md` describes
/// the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    contents: Contents,
    bytes: Vec<u8>,
    digest: Sha256,
}

impl Snapshot {
    /// Checks contents and makes a snapshot of them: cuts times to whole seconds, and sorts the gaps.
    ///
    /// # Errors
    /// When a value contradicts the format or another value, or there are too many gaps.
    pub fn new(mut contents: Contents) -> Result<Self, SnapshotError> {
        contents.gaps.sort_by(Gap::order);
        for (field, time) in [("created", &mut contents.created), ("expires", &mut contents.expires)] {
            *time = time::whole(*time)
                .ok_or(SnapshotError::invalid(field, "is before the year 1970 or after the year 9998"))?;
        }
        check(&contents)?;
        Self::of_checked(contents)
    }

    /// Parses a document, and accepts only its canonical form. Memory is bounded by a small multiple of the length of
    /// the document.
    ///
    /// # Errors
    /// When the document is too long, has another format, is no snapshot, is in another form, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        if bytes.len() > MAX_SNAPSHOT_BYTES {
            let (bytes, most) = (bytes.len() as u64, MAX_SNAPSHOT_BYTES as u64);
            return Err(SnapshotError::TooLarge { bytes, most });
        }
        let not_a_snapshot = |error| SnapshotError::NotASnapshot(Cause::new(error));
        // First the format: a newer one may have other fields.
        let Version { format } = serde_json::from_slice(bytes).map_err(not_a_snapshot)?;
        if format != FORMAT {
            return Err(SnapshotError::UnknownFormat { format });
        }
        let document: Document = serde_json::from_slice(bytes).map_err(not_a_snapshot)?;
        let (root, contents) = document.into_contents()?;
        check(&contents)?;
        let snapshot = Self::of_checked(contents)?;
        if snapshot.root() != root {
            return Err(SnapshotError::invalid("root", "is not the digest of its units"));
        }
        match snapshot.bytes.iter().zip(bytes).position(|(canonical, given)| canonical != given) {
            None if snapshot.bytes.len() == bytes.len() => Ok(snapshot),
            at => {
                let same = &bytes[..at.unwrap_or(bytes.len().min(snapshot.bytes.len()))];
                let line = 1 + same.iter().filter(|byte| **byte == b'\n').count() as u64;
                Err(SnapshotError::NotCanonical { line })
            }
        }
    }

    fn of_checked(contents: Contents) -> Result<Self, SnapshotError> {
        let document = Document::of(&contents)?;
        let mut bytes = serde_json::to_vec_pretty(&document)
            .map_err(|error| SnapshotError::NotASnapshot(Cause::new(error)))?;
        bytes.push(b'\n');
        let digest = Hasher::of(&bytes);
        Ok(Self { contents, bytes, digest })
    }

    /// Returns what the snapshot states.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Returns the document.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns SHA-256 of the document, by which the next snapshot names this one.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Returns the digest of the unit digests: two snapshots with the same root offer the same.
    #[must_use]
    pub fn root(&self) -> Sha256 {
        self.contents.units.root()
    }

    /// Returns the id of the mirror.
    #[must_use]
    pub fn mirror(&self) -> MirrorId {
        self.contents.mirror
    }

    /// Returns the number of the snapshot.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.contents.serial
    }

    /// Returns the name of its file: `snapshot-SERIAL.json`.
    #[must_use]
    pub fn file_name(&self) -> String {
        snapshot_file_name(self.contents.serial)
    }

    /// Returns whether the snapshot is too old to be accepted at this time.
    #[must_use]
    pub fn is_expired(&self, at: SystemTime) -> bool {
        at >= self.contents.expires
    }
}

/// Checks everything but the canonical form.
fn check(contents: &Contents) -> Result<(), SnapshotError> {
    let invalid = |field, why| Err(SnapshotError::invalid(field, why));
    let Contents { serial, created, expires, previous, counts, gaps, .. } = contents;
    if *serial == 0 {
        return invalid("serial", "is 0, and the first one is 1");
    }
    if *serial == 1 && previous.is_some() {
        return invalid("previous", "names a snapshot before the first");
    }
    let numbers = [
        ("serial", *serial),
        ("crates", counts.crates),
        ("releases", counts.releases),
        ("bytes", counts.bytes),
    ];
    if let Some((field, _)) = numbers.into_iter().find(|(_, number)| *number > MAX_NUMBER) {
        return invalid(field, "is above 2^53 - 1");
    }
    if counts.crates > counts.releases {
        return invalid("crates", "is above the number of releases");
    }
    if expires <= created {
        return invalid("expires", "is not after the time of creation");
    }
    if gaps.len() > MAX_GAPS {
        return Err(SnapshotError::TooManyGaps { count: gaps.len(), most: MAX_GAPS });
    }
    if !gaps.is_sorted_by(|a, b| a.order(b).is_lt()) {
        return invalid("gaps", "are not sorted, or name a release twice");
    }
    Ok(())
}

#[derive(Deserialize)]
struct Version {
    format: u64,
}

/// The document, field by field in its order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u64,
    mirror: MirrorId,
    serial: u64,
    created: String,
    expires: String,
    previous: Option<Sha256>,
    index: DocumentIndex,
    policy: Option<Sha256>,
    counts: Counts,
    gaps: Vec<DocumentGap>,
    root: Sha256,
    units: Vec<Sha256>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentIndex {
    commit: Option<GitId>,
    tree: Option<GitId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentGap {
    name: CrateName,
    version: Option<VersionText>,
    kind: GapKind,
    reason: String,
}

impl Document {
    fn of(contents: &Contents) -> Result<Self, SnapshotError> {
        let text = |field, time| {
            time::text(time)
                .ok_or(SnapshotError::invalid(field, "is before the year 1970 or after the year 9998"))
        };
        let gaps = contents.gaps.iter().map(|gap| DocumentGap {
            name: gap.name.clone(),
            version: gap.version.clone(),
            kind: gap.kind,
            reason: gap.reason().to_owned(),
        });
        Ok(Self {
            format: FORMAT,
            mirror: contents.mirror,
            serial: contents.serial,
            created: text("created", contents.created)?,
            expires: text("expires", contents.expires)?,
            previous: contents.previous,
            index: DocumentIndex { commit: contents.index.commit.clone(), tree: contents.index.tree.clone() },
            policy: contents.policy,
            counts: contents.counts,
            gaps: gaps.collect(),
            root: contents.units.root(),
            units: contents.units.as_slice().to_vec(),
        })
    }

    /// Returns the root that the document states, and its contents.
    fn into_contents(self) -> Result<(Sha256, Contents), SnapshotError> {
        let invalid = SnapshotError::invalid;
        let time = |field, text: &str| {
            time::parse(text).ok_or(invalid(field, "is not a time as in 2026-11-27T03:00:00Z"))
        };
        let units = UnitDigests::from_slice(&self.units).ok_or(invalid("units", "are not 256"))?;
        let gaps = self.gaps.into_iter().map(|gap| {
            Gap::exact(gap.name, gap.version, gap.kind, gap.reason)
                .ok_or(invalid("gaps", "have a reason that is too long, or not printable ASCII"))
        });
        let contents = Contents {
            mirror: self.mirror,
            serial: self.serial,
            created: time("created", &self.created)?,
            expires: time("expires", &self.expires)?,
            previous: self.previous,
            index: IndexState { commit: self.index.commit, tree: self.index.tree },
            policy: self.policy,
            counts: self.counts,
            gaps: gaps.collect::<Result<_, _>>()?,
            units,
        };
        Ok((self.root, contents))
    }
}
