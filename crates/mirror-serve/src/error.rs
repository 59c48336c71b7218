use std::io;
use std::path::PathBuf;

use mirror_manifest::ManifestError;
use mirror_repo::RepoError;
use mirror_store::StoreError;
use mirror_types::{Advice, FaultKind};

/// Why a mirror cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is no mirror.
    #[error("there is no mirror at {}: it has no .mirror/catalogue.sqlite; make it with download-crates", path.display())]
    NoMirror {
        /// Where it should be.
        path: PathBuf,
    },
    /// Releases are in bundles, which are not there.
    #[error("the mirror holds releases in bundles, and there are none at {}; say where they are with --bundles-dir", path.display())]
    NoBundles {
        /// Where they should be.
        path: PathBuf,
    },
    /// A certificate or a key cannot be used.
    #[error("could not use {} for TLS: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The address cannot be listened at.
    #[error("could not listen on {addr}")]
    Listen {
        /// The address.
        addr: String,
        /// The reason.
        source: io::Error,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The catalogue, or the lines of the index.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The mirror as a whole.
    #[error(transparent)]
    Repo(RepoError),
    /// A held file or a bundle.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of the server ended badly.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<RepoError> for ServeError {
    /// Adds to what a person can do something about what that is.
    fn from(error: RepoError) -> Self {
        match error {
            RepoError::NoMirror { path } => Self::NoMirror { path },
            RepoError::NoBundles { path } => Self::NoBundles { path },
            RepoError::Store(error) => Self::Store(error),
            RepoError::Manifest(error) => Self::Manifest(error),
            RepoError::Internal(what) => Self::Internal(what),
            other => Self::Repo(other),
        }
    }
}

impl ServeError {
    /// What kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NoMirror { .. } | Self::NoBundles { .. } | Self::Tls { .. } | Self::Usage(_) => {
                FaultKind::Usage
            }
            Self::Manifest(error) => error.kind(),
            Self::Repo(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Listen { .. } => FaultKind::Storage,
            Self::Internal(_) => FaultKind::Internal,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::NoMirror { .. } => Some(Advice::MakeTheMirror),
            Self::NoBundles { .. } => Some(Advice::NameTheBundles),
            Self::Manifest(error) => error.advice(),
            Self::Repo(error) => error.advice(),
            Self::Store(error) => error.advice(),
            Self::Tls { .. } | Self::Usage(_) | Self::Listen { .. } | Self::Internal(_) => None,
        }
    }
}
