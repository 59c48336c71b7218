use std::path::PathBuf;

use mirror_types::Advice;

use crate::sparse::ConfigError;

/// Why an index could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Nothing is there.
    #[error("there is no index at {}; check --index-dir", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Something is there that holds no crate.
    #[error("the index at {} {what}", path.display())]
    NotAnIndex {
        /// The path that was opened.
        path: PathBuf,
        /// A description of what it holds instead, and advice.
        what: String,
    },
    /// A directory or a file could not be read.
    #[error("could not read {} of the index", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Its `config.json` does not say where its crates are.
    #[error("could not learn from {} where the crates of the index are; mend it, or say where they are", path.display())]
    Config {
        /// The file; for a git repository that and its path in it.
        path: PathBuf,
        /// The reason.
        source: ConfigError,
    },
    /// The git repository is of a form that cannot be read.
    #[error("the git index {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The repository.
        path: PathBuf,
        /// What it is, and what to do.
        why: &'static str,
    },
    /// The git repository could not be read.
    #[error("could not {doing} the git index {}: {reason}. Run `git fsck` there, or clone it again", path.display())]
    Git {
        /// What was being done.
        doing: &'static str,
        /// The repository.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

impl IndexError {
    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Missing { .. } => Some(Advice::NameTheIndex),
            Self::NotAnIndex { .. }
            | Self::Io { .. }
            | Self::Config { .. }
            | Self::Unreadable { .. }
            | Self::Git { .. } => None,
        }
    }
}

/// Why a lockfile could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is no `Cargo.lock`.
    #[error("{label} is not a Cargo.lock that this program understands: {reason}")]
    Parse {
        /// The file.
        label: String,
        /// Why.
        reason: String,
    },
    /// Two lockfiles, or two entries of one, disagree.
    #[error("{label} gives {release} the checksum {second}, an earlier entry {first}; one of them is wrong")]
    Conflict {
        /// The file.
        label: String,
        /// Crate and version.
        release: String,
        /// The earlier checksum.
        first: String,
        /// The later one.
        second: String,
    },
}

/// Why a selection makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// Neither a name nor a glob.
    #[error("{text} is neither a crate name nor a pattern with * or ?")]
    Name {
        /// The text, printable.
        text: String,
    },
    /// No target triple.
    #[error("{text} is not a target triple, as x86_64-unknown-linux-gnu is one")]
    Target {
        /// The text, printable.
        text: String,
    },
    /// Not `i/n`.
    #[error("a share is i/n with 1 <= i <= n, for example 2/4")]
    Shard,
}
