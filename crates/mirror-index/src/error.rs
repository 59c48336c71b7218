use std::path::PathBuf;

use mirror_types::{Advice, Cause};

use crate::sparse::ConfigError;

/// Why an index could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Nothing is there; look at the path, or clone the index.
    #[error("there is no index at {}", path.display())]
    Missing {
        /// The path that was to be opened.
        path: PathBuf,
    },
    /// Something is there that holds no crate; name another path, or clone the index.
    #[error("the index at {} {what}", path.display())]
    NotAnIndex {
        /// The path that was opened.
        path: PathBuf,
        /// A description of what it holds instead, and advice.
        what: String,
    },
    /// A directory or a file could not be read; the source says why.
    #[error("could not read {} of the index", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Its `config.json` does not say where its crates are; mend it, or say where they are.
    #[error("could not learn from {} where the crates of the index are; mend it, or say where they are", path.display())]
    Config {
        /// The file; for a git repository that and its path in it.
        path: PathBuf,
        /// The reason.
        source: ConfigError,
    },
    /// The git repository is of a form that cannot be read; clone it again as the text says.
    #[error("the git index {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The repository.
        path: PathBuf,
        /// What it is, and what to do.
        why: &'static str,
    },
    /// The git repository could not be read; run `git fsck` there, or clone it again.
    #[error("could not {doing} the git index {} (run `git fsck` there, or clone it again)", path.display())]
    Git {
        /// What was being done.
        doing: &'static str,
        /// The repository.
        path: PathBuf,
        /// The reason.
        source: Cause,
    },
}

impl IndexError {
    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Missing { .. } | Self::NotAnIndex { .. } => Some(Advice::NameTheIndex),
            Self::Io { .. } | Self::Config { .. } | Self::Unreadable { .. } | Self::Git { .. } => None,
        }
    }
}

/// Why a lockfile could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is no `Cargo.lock`, or one of a later format; let a current Cargo write it again.
    #[error("{label} is not a Cargo.lock that this program understands")]
    Parse {
        /// The file.
        label: String,
        /// Why.
        source: Cause,
    },
    /// Two lockfiles, or two entries of one, disagree; find out which of them is right.
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
    /// Neither a name nor a glob; write one.
    #[error("{text} is neither a crate name nor a pattern with * or ?")]
    Name {
        /// The text, printable.
        text: String,
    },
    /// No target triple; write one, as `rustc` prints them.
    #[error("{text} is not a target triple, as x86_64-unknown-linux-gnu is one")]
    Target {
        /// The text, printable.
        text: String,
    },
    /// Not `i/n`; write it like that.
    #[error("a share is i/n with 1 <= i <= n, for example 2/4")]
    Shard,
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_the_source_and_not_told_twice() {
        let git = IndexError::Git { doing: "read", path: "i".into(), source: Cause::new("no object") };
        assert_eq!(git.source().map(ToString::to_string).as_deref(), Some("no object"));
        assert!(!git.to_string().contains("no object"), "{git}");
    }

    #[test]
    fn who_names_the_wrong_place_is_told_to_name_another() {
        let missing = IndexError::Missing { path: "i".into() };
        assert_eq!(missing.advice(), Some(Advice::NameTheIndex));
        let unreadable = IndexError::Unreadable { path: "i".into(), why: "x" };
        assert_eq!(unreadable.advice(), None);
    }
}
