use std::path::PathBuf;

use mirror_git::IndexError;
use mirror_index::sparse::ConfigError;
use mirror_repo::RepoError;
use mirror_store::StoreError;
use mirror_types::{Advice, FaultKind, Unexpected};

/// The reason why sidecars could not be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// No index was named, and the mirror keeps none; name one, or fill the mirror first.
    #[error("{} keeps nothing of {what}; name an index, or fill the mirror first", mirror.display())]
    NothingKept {
        /// The root of the mirror.
        mirror: PathBuf,
        /// The object that was looked for.
        what: &'static str,
    },
    /// The mirror keeps the indexes of several registries; choose one.
    #[error("{} keeps {count} sparse registries; choose one", mirror.display())]
    SeveralRegistries {
        /// The root of the mirror.
        mirror: PathBuf,
        /// The number of them.
        count: usize,
    },
    /// No source has the address of the crates; name it.
    #[error("the cache has no config.json that says where crates come from")]
    NoAddress,
    /// The index changed while it was read; run again when no program updates it.
    #[error(
        "{what} of the index changed while it was read; wait until its update has ended, then run the same \
         command again"
    )]
    IndexChanged {
        /// The file of the index, printable.
        what: String,
    },
    /// A file that was named could not be read; the source says why.
    #[error("could not read {what} {}", path.display())]
    Read {
        /// The kind of file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The address of the downloads, or what the registry says of it, makes no sense; name another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The index could not be read; the error says what to do.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Storage failed; the error says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record of the mirror could not be read; the error says what to do.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A fault of this program; report it.
    #[error("internal error: {0}; please report it")]
    Internal(String),
    /// A fault of this program that a library reported; report it.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
}

impl GenerateError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NothingKept { .. }
            | Self::SeveralRegistries { .. }
            | Self::NoAddress
            | Self::IndexChanged { .. }
            | Self::Read { .. }
            | Self::Config(_) => FaultKind::Usage,
            Self::Index(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Repo(error) => error.kind(),
            Self::Internal(_) | Self::Unexpected(_) => FaultKind::Internal,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Index(error) => error.advice(),
            Self::Store(error) => error.advice(),
            Self::Repo(error) => error.advice(),
            Self::NothingKept { .. } => Some(Advice::NameTheIndex),
            Self::SeveralRegistries { .. } => Some(Advice::NameTheRegistry),
            Self::NoAddress => Some(Advice::NameTheDownloads),
            Self::IndexChanged { .. }
            | Self::Read { .. }
            | Self::Config(_)
            | Self::Internal(_)
            | Self::Unexpected(_) => None,
        }
    }
}
