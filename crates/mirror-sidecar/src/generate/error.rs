use std::path::PathBuf;

use mirror_index::IndexError;
use mirror_index::sparse::ConfigError;
use mirror_repo::RepoError;
use mirror_store::StoreError;
use mirror_types::{Advice, FaultKind};

/// Why sidecars could not be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The options or the files that they name do not make sense.
    #[error("{0}")]
    Usage(String),
    /// A file that was named could not be read.
    #[error("could not read {what} {}", path.display())]
    Read {
        /// What the file is.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The address of the downloads, or what the registry says of it, makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The index could not be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record of the mirror could not be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A fault of this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl GenerateError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Usage(_) | Self::Read { .. } | Self::Config(_) | Self::Index(_) => FaultKind::Usage,
            Self::Store(error) => error.kind(),
            Self::Repo(error) => error.kind(),
            Self::Internal(_) => FaultKind::Internal,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Index(error) => error.advice(),
            Self::Store(error) => error.advice(),
            Self::Repo(error) => error.advice(),
            Self::Usage(_) | Self::Read { .. } | Self::Config(_) | Self::Internal(_) => None,
        }
    }
}
