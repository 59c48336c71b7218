use std::collections::HashSet;
use std::time::SystemTime;

use crate::{ReleaseId, Sha256};

/// Most lines that are compared rather than hashed: most crates have few versions.
const MAX_COMPARED_LINES: usize = 12;

/// The fields of an index line that the mirror needs. Callers that need its other fields keep the
/// line itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRecord {
    /// Crate and version.
    pub id: ReleaseId,
    /// SHA-256 of the `.crate` file.
    pub cksum: Sha256,
    /// True if the release is yanked: kept for old lockfiles, not offered to new ones.
    pub yanked: bool,
    /// The time of publication; `None` where the line has none, or it was not read.
    pub published: Option<SystemTime>,
}

/// Keeps the last line of each release, as Cargo does; the order stays.
pub fn last_of_each<T>(lines: &mut Vec<T>, id: impl Fn(&T) -> &ReleaseId) {
    let repeated: Vec<usize> = if lines.len() <= MAX_COMPARED_LINES {
        (0..lines.len())
            .filter(|at| lines[at + 1..].iter().any(|later| id(later) == id(&lines[*at])))
            .collect()
    } else {
        let mut later = HashSet::with_capacity(lines.len());
        let mut repeated: Vec<usize> =
            (0..lines.len()).rev().filter(|at| !later.insert(id(&lines[*at]))).collect();
        repeated.reverse();
        repeated
    };
    if repeated.is_empty() {
        return;
    }
    let (mut at, mut repeated) = (0, repeated.into_iter().peekable());
    lines.retain(|_| {
        at += 1;
        repeated.next_if_eq(&(at - 1)).is_none()
    });
}
