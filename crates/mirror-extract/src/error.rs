use std::path::PathBuf;

use mirror_bundle::BundleError;
use mirror_repo::RepoError;
use mirror_store::StoreError;
use mirror_types::{Advice, FaultKind, Printable, Unexpected};

/// The reason why bundles could not be read, or a mirror could not be made of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The pattern is no glob; give one.
    #[error("{} is no pattern for the names of bundles", Printable(pattern))]
    Pattern {
        /// The pattern, as given.
        pattern: String,
        /// The fault in it.
        source: globset::Error,
    },
    /// There is no directory of bundles; name its place.
    #[error("there is no directory of bundles at {}", dir.display())]
    NoDirectory {
        /// The path where it should be.
        dir: PathBuf,
    },
    /// No bundle has a wanted name; name another directory or another pattern.
    #[error("no bundle in {} matches {}", dir.display(), Printable(pattern))]
    NoBundles {
        /// The directory.
        dir: PathBuf,
        /// The pattern that their names are compared with.
        pattern: String,
    },
    /// A bundle cannot be opened, or the disk refuses; the error says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index lines beside the bundles could not be copied along; the error says what to do.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A fault of this program; report it.
    #[error("internal error: {0}; please report it")]
    Internal(String),
    /// A fault of this program that a library reported; report it.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
}

impl From<BundleError> for ExtractError {
    fn from(error: BundleError) -> Self {
        Self::Store(error.into())
    }
}

impl ExtractError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Pattern { .. } | Self::NoDirectory { .. } | Self::NoBundles { .. } => FaultKind::Usage,
            Self::Store(error) => error.kind(),
            Self::Repo(error) => error.kind(),
            Self::Internal(_) | Self::Unexpected(_) => FaultKind::Internal,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Pattern { .. } => Some(Advice::PatternOfBundles),
            Self::NoDirectory { .. } => Some(Advice::NameTheBundles),
            Self::NoBundles { .. } => Some(Advice::NameTheBundlesOrPattern),
            Self::Store(error) => error.advice(),
            Self::Repo(error) => error.advice(),
            Self::Internal(_) | Self::Unexpected(_) => None,
        }
    }
}

/// The reason why reading ends early.
pub(crate) enum Stop {
    Cancelled,
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BundleError> for Stop {
    fn from(error: BundleError) -> Self {
        Self::Store(error.into())
    }
}

/// Returns whether a fault concerns one bundle, so that the others can still be read.
pub(crate) fn is_of_bundle(kind: FaultKind) -> bool {
    kind == FaultKind::Integrity
}
