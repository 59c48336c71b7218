use crate::{ReleaseId, Sha256};

/// What the mirror needs to know of one line of the index. The line itself is kept by whoever
/// needs its other fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRecord {
    /// Crate and version.
    pub id: ReleaseId,
    /// SHA-256 of the `.crate` file.
    pub cksum: Sha256,
    /// Whether the release is yanked: kept for old lockfiles, not offered to new ones.
    pub yanked: bool,
}
