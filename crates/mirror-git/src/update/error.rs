use std::path::{Path, PathBuf};

use mirror_types::{Advice, Cause, FaultKind};

/// The reason why an index could not be cloned or updated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The existing repository must not be touched; do what the text says, or update an index elsewhere.
    #[error("the index at {} is not updated and stays as it is: {why}", dir.display())]
    Refused {
        /// The directory of the index.
        dir: PathBuf,
        /// The reason, and what to do there.
        why: String,
        /// The alternative.
        advice: Option<Advice>,
    },
    /// Another run is updating it; wait for it to end, or use the index as it is.
    #[error("another run{holder} is updating the index at {}; wait for it to end, or use the index as it is", dir.display())]
    Locked {
        /// The directory of the index.
        dir: PathBuf,
        /// The holder, when that is known.
        holder: String,
    },
    /// The remote refused, did not answer, or answered nonsense; check the network and the address, or use the index as
    /// it is.
    #[error(
        "could not fetch the index from {url}{}; the index is as it was, check the network and the address",
        tries(*attempts)
    )]
    Origin {
        /// The address.
        url: String,
        /// The reason, without the secrets of the address.
        source: Cause,
        /// The number of attempts.
        attempts: u32,
    },
    /// The disk refused; the source says why.
    #[error("could not {doing} {}", path.display())]
    Storage {
        /// The operation that failed.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The disk refused in the middle of a fetch; make room or mend the disk, then run again.
    #[error("could not store the index below {}; the index is as it was, free some space or repair the disk, then run again", dir.display())]
    Unstorable {
        /// The directory of the index.
        dir: PathBuf,
        /// The reason.
        source: Cause,
    },
    /// The repository could not be read or changed; run `git fsck` there, and move a damaged one away: a new clone is
    /// made.
    #[error("could not {doing} the git index {} (run `git fsck` there; if it is damaged, move it away and a new clone is made)", dir.display())]
    Repository {
        /// The operation that failed.
        doing: &'static str,
        /// The directory of the index.
        dir: PathBuf,
        /// The reason.
        source: Cause,
    },
    /// The caller stopped it; run again to continue.
    #[error(
        "the update of the index was stopped; its HEAD is where it was, and the next run continues from there"
    )]
    Stopped,
}

impl UpdateError {
    /// Returns what kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Refused { .. } | Self::Repository { .. } => FaultKind::Usage,
            Self::Locked { .. } => FaultKind::Locked,
            Self::Origin { .. } => FaultKind::Origin,
            Self::Storage { .. } | Self::Unstorable { .. } => FaultKind::Storage,
            Self::Stopped => FaultKind::Stopped,
        }
    }

    pub(crate) fn refused(dir: &Path, why: impl Into<String>, advice: Option<Advice>) -> Self {
        Self::Refused { dir: dir.to_owned(), why: why.into(), advice }
    }

    /// Makes the error for an index that a new clone at another path would replace.
    pub(crate) fn not_here(dir: &Path, why: impl Into<String>) -> Self {
        Self::refused(dir, why, Some(Advice::AnotherIndex))
    }

    pub(crate) fn storage(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { doing, path, source }
    }

    pub(crate) fn git<E>(doing: &'static str, dir: &Path) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let dir = dir.to_owned();
        move |error| Self::Repository { doing, dir, source: Cause::new(error) }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Locked { .. } => Some(Advice::SkipIndexUpdate),
            Self::Origin { .. } => Some(Advice::AnotherRemoteOrNoUpdate),
            Self::Refused { advice, .. } => *advice,
            Self::Storage { .. } | Self::Unstorable { .. } | Self::Repository { .. } | Self::Stopped => None,
        }
    }
}

fn tries(attempts: u32) -> String {
    if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() }
}
