use mirror_types::{Cause, FaultKind};

/// Why bytes are no snapshot, or contents cannot become one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The document is longer than any snapshot. It is another file, or made to use up memory.
    #[error("a snapshot has at most {most} bytes, and this one has {bytes}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The most that is read.
        most: u64,
    },
    /// The document has a format that this version does not know. Use a newer version.
    #[error("the snapshot has format {format}, and this version reads format 1: use a newer one")]
    UnknownFormat {
        /// The number that it states.
        format: u64,
    },
    /// The document is damaged, or no snapshot. Take another copy of it.
    #[error("the document is not a snapshot")]
    NotASnapshot(#[source] Cause),
    /// The document says the same in another form, so that it has another digest. Take the original.
    #[error("the snapshot is not in its canonical form: line {line} differs from it")]
    NotCanonical {
        /// Counted from 1.
        line: u64,
    },
    /// A value contradicts the format, or another value. The program that made the document is at fault.
    #[error("{field} of the snapshot {why}")]
    Invalid {
        /// The name of the field.
        field: &'static str,
        /// The contradiction.
        why: &'static str,
    },
    /// There are more gaps than a snapshot may have. Fetch the releases, or select fewer.
    #[error("a snapshot has at most {most} gaps, and here are {count}")]
    TooManyGaps {
        /// The number of gaps.
        count: usize,
        /// The most that a document may have.
        most: usize,
    },
}

impl SnapshotError {
    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        FaultKind::Refused
    }

    pub(crate) fn invalid(field: &'static str, why: &'static str) -> Self {
        Self::Invalid { field, why }
    }
}
