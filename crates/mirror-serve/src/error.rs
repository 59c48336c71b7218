use std::io;
use std::path::PathBuf;

use mirror_bundle::BundleError;
use mirror_manifest::ManifestError;
use mirror_repo::RepoError;
use mirror_store::StoreError;
use mirror_types::{Advice, Cause, FaultKind, Printable, Unexpected};

/// The reason why a mirror cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is no mirror; make it first, or name another one.
    #[error("there is no mirror at {}: it has no .mirror/catalogue.sqlite", path.display())]
    NoMirror {
        /// The path where it should be.
        path: PathBuf,
    },
    /// Releases are in bundles, which are missing; name their directory.
    #[error("the mirror holds releases in bundles, and there are none at {}; say where they are", path.display())]
    NoBundles {
        /// The path where they should be.
        path: PathBuf,
    },
    /// A certificate or a key cannot be used; the source says why.
    #[error("could not use {} for TLS", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Cause,
    },
    /// The server cannot listen at the address; choose another, or end the program that does.
    #[error("could not listen on {addr}")]
    Listen {
        /// The address.
        addr: String,
        /// The reason.
        source: io::Error,
    },
    /// The address at which clients are to reach the mirror is not valid; write an http or https address.
    #[error("{text} is no address like https://crates.example.org or https://example.org/crates")]
    PublicUrl {
        /// The text, printable.
        text: String,
    },
    /// An export would write into a mirror; choose another directory.
    #[error("{} is a mirror itself; export to another directory", dir.display())]
    ExportIntoMirror {
        /// The directory.
        dir: PathBuf,
    },
    /// The catalogue or the lines of the index failed; the error says what to do.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The mirror as a whole cannot be used; the error says what to do.
    #[error(transparent)]
    Repo(RepoError),
    /// A held file or a bundle cannot be read; the error says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of this program; report it.
    #[error("internal error: {0}")]
    Internal(String),
    /// A fault of this program that a library reported; report it.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
}

impl From<RepoError> for ServeError {
    /// Turns errors that a person can act on into those of this crate, which have advice.
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

impl From<BundleError> for ServeError {
    fn from(error: BundleError) -> Self {
        Self::Store(error.into())
    }
}

impl ServeError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NoMirror { .. }
            | Self::NoBundles { .. }
            | Self::Tls { .. }
            | Self::PublicUrl { .. }
            | Self::ExportIntoMirror { .. } => FaultKind::Usage,
            Self::Manifest(error) => error.kind(),
            Self::Repo(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Listen { .. } => FaultKind::Storage,
            Self::Internal(_) | Self::Unexpected(_) => FaultKind::Internal,
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
            Self::Tls { .. }
            | Self::PublicUrl { .. }
            | Self::ExportIntoMirror { .. }
            | Self::Listen { .. }
            | Self::Internal(_)
            | Self::Unexpected(_) => None,
        }
    }
}

/// Displays an error with all of its causes.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Printable(self.0.to_string()))?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {}", Printable(source.to_string()))?;
            error = source;
        }
        Ok(())
    }
}
