use std::path::{Path, PathBuf};

use mirror_types::{Advice, CLIPPED_MESSAGE_BYTES, FaultKind, clipped};

/// Why an index could not be cloned or updated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// What is there must not be touched.
    #[error("--update-index leaves {} alone: {why}", dir.display())]
    Refused {
        /// `--index-dir`.
        dir: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// Another run is at it.
    #[error("another run{holder} is updating the index at {}; wait for it to end, or use --skip-index-update", dir.display())]
    Locked {
        /// `--index-dir`.
        dir: PathBuf,
        /// Who, when that is known.
        holder: String,
    },
    /// The remote refused, never answered, or answered nonsense.
    #[error(
        "could not fetch the index from {url}{}: {reason}. The index is as it was; check the network and \
         --index-url, or go on with what is there by --skip-index-update",
        tries(*attempts)
    )]
    Origin {
        /// Where from.
        url: String,
        /// Why, in one line.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The disk refused.
    #[error("could not {doing} {}", path.display())]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The disk refused in the middle of a fetch.
    #[error("could not store the index below {}: {reason}. The index is as it was; make room or mend the disk, then run again", dir.display())]
    Unstorable {
        /// `--index-dir`.
        dir: PathBuf,
        /// Why, in one line.
        reason: String,
    },
    /// The repository could not be read or changed.
    #[error("could not {doing} the git index {}: {reason}. Run `git fsck` there; if it is damaged, move it away and a new clone is made", dir.display())]
    Repository {
        /// What was being done.
        doing: &'static str,
        /// `--index-dir`.
        dir: PathBuf,
        /// Why, in one line.
        reason: String,
    },
    /// The caller's wish.
    #[error(
        "the update of the index was stopped; its HEAD is where it was, and the next run goes on from there"
    )]
    Stopped,
}

impl UpdateError {
    /// What kind of failure it is.
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

    pub(crate) fn refused(dir: &Path, why: impl Into<String>) -> Self {
        Self::Refused { dir: dir.to_owned(), why: why.into() }
    }

    pub(crate) fn storage(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { doing, path, source }
    }

    pub(crate) fn git<E: std::fmt::Display>(doing: &'static str, dir: &Path) -> impl FnOnce(E) -> Self {
        let dir = dir.to_owned();
        move |error| Self::Repository { doing, dir, reason: one_line(&error.to_string()) }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Locked { .. } => Some(Advice::SkipIndexUpdate),
            Self::Origin { .. } => Some(Advice::AnotherRemoteOrNoUpdate),
            Self::Refused { .. }
            | Self::Storage { .. }
            | Self::Unstorable { .. }
            | Self::Repository { .. }
            | Self::Stopped => None,
        }
    }
}

/// Returns causes on one line, escaped and clipped: parts of it come from the remote.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    clipped(lines.collect::<Vec<_>>().join(": "), CLIPPED_MESSAGE_BYTES)
}

fn tries(attempts: u32) -> String {
    if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() }
}
