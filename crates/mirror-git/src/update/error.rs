use std::path::{Path, PathBuf};

use mirror_types::{Advice, Cause, FaultKind};

/// The word for a repository, unless [`UpdateOptions::what`](super::UpdateOptions::what) has another.
pub(crate) const INDEX: &str = "index";

/// The reason why an index could not be cloned or updated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The existing repository must not be touched; do what the text says, or update an index elsewhere.
    #[error("the {what} at {} is not updated and stays as it is: {why}", dir.display())]
    Refused {
        /// The word for the repository.
        what: &'static str,
        /// The directory of the index.
        dir: PathBuf,
        /// The reason, and what to do there.
        why: String,
        /// The alternative.
        advice: Option<Advice>,
    },
    /// Another run is updating it; wait for it to end, or use the index as it is.
    #[error("another run{holder} is updating the {what} at {}; wait for it to end, or use the {what} as it is", dir.display())]
    Locked {
        /// The word for the repository.
        what: &'static str,
        /// The directory of the index.
        dir: PathBuf,
        /// The holder, when that is known.
        holder: String,
    },
    /// The remote refused, did not answer, or answered nonsense; check the network and the address, or use the index as
    /// it is.
    #[error(
        "could not fetch the {what} from {url}{}; the {what} is as it was, check the network and the address",
        tries(*attempts)
    )]
    Origin {
        /// The word for the repository.
        what: &'static str,
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
    #[error("could not store the {what} below {}; the {what} is as it was, free some space or repair the disk, then run again", dir.display())]
    Unstorable {
        /// The word for the repository.
        what: &'static str,
        /// The directory of the index.
        dir: PathBuf,
        /// The reason.
        source: Cause,
    },
    /// The repository could not be read or changed; run `git fsck` there, and move a damaged one away: a new clone is
    /// made.
    #[error("could not {doing} the git {what} {} (run `git fsck` there; if it is damaged, move it away and a new clone is made)", dir.display())]
    Repository {
        /// The word for the repository.
        what: &'static str,
        /// The operation that failed.
        doing: &'static str,
        /// The directory of the index.
        dir: PathBuf,
        /// The reason.
        source: Cause,
    },
    /// The caller stopped it; run again to continue.
    #[error("the update was stopped; HEAD is where it was, and the next run continues from there")]
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
        Self::Refused { what: INDEX, dir: dir.to_owned(), why: why.into(), advice }
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
        move |error| Self::Repository { what: INDEX, doing, dir, source: Cause::new(error) }
    }

    /// Returns the same error, with this word for the repository.
    pub(crate) fn about(mut self, word: &'static str) -> Self {
        match &mut self {
            Self::Refused { what, .. }
            | Self::Locked { what, .. }
            | Self::Origin { what, .. }
            | Self::Unstorable { what, .. }
            | Self::Repository { what, .. } => *what = word,
            Self::Storage { .. } | Self::Stopped => {}
        }
        self
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
