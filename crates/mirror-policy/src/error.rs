use std::path::PathBuf;

use mirror_types::FaultKind;

/// The reason why a text is not a policy. Correct the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
#[non_exhaustive]
pub struct PolicyFault {
    /// The line, counted from 1.
    pub line: usize,
    /// The fault, and the values that are allowed there.
    pub reason: String,
}

/// The reason why a policy file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The disk refused. Check that the file is there and may be read.
    #[error("could not read the policy {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is larger than a policy can be, or not UTF-8. Check that it is the right file.
    #[error("{} is no policy: {reason}", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file has a key or a value that this version does not know. Correct it.
    #[error("could not use the policy {}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The line and the fault.
        source: PolicyFault,
    },
}

impl PolicyError {
    /// Returns the kind of this fault.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        FaultKind::Usage
    }
}

/// The reason why an advisory database could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdvisoriesError {
    /// The disk refused. Check that the database is there and may be read.
    #[error("could not read {} of the advisory database", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Nothing is at the path; check it, or clone the database.
    #[error("there is no advisory database at {}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// It has more than any advisory database; name another one.
    #[error("{} is no advisory database: it has {what}", path.display())]
    TooLarge {
        /// The database.
        path: PathBuf,
        /// A description of what is too much.
        what: String,
    },
    /// The directory has no directory `crates`. Name the root of the database.
    #[error("{} is no advisory database: it has no directory named crates", path.display())]
    NoDatabase {
        /// The directory.
        path: PathBuf,
    },
}

impl AdvisoriesError {
    /// Returns the kind of this fault.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Read { .. } => FaultKind::Storage,
            Self::Missing { .. } | Self::NoDatabase { .. } | Self::TooLarge { .. } => FaultKind::Usage,
        }
    }
}
