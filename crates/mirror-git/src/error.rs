use std::path::PathBuf;

use mirror_index::DirError;
use mirror_index::sparse::ConfigError;
use mirror_types::{Advice, Cause, FaultKind};

/// The reason why an index could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Nothing is at the path; check it, or clone the index.
    #[error("there is no index at {}", path.display())]
    Missing {
        /// The path that was to be opened.
        path: PathBuf,
    },
    /// The path holds something without a crate; name another path, or clone the index.
    #[error("the index at {} {what}", path.display())]
    NotAnIndex {
        /// The path that was opened.
        path: PathBuf,
        /// A description of what it holds instead, and advice.
        what: String,
    },
    /// A directory or a file could not be read; the source says why.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The `config.json` of the index does not say where its crates are; correct it, or name their address.
    #[error("could not read from {} where the crates of the index are; repair it, or say where they are", path.display())]
    Config {
        /// The file; in a git repository, the repository and the path in it.
        path: PathBuf,
        /// The reason.
        source: ConfigError,
    },
    /// The git repository has a form that cannot be read; clone it again as the text says.
    #[error("the git index {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The repository.
        path: PathBuf,
        /// The reason, and what to do.
        why: &'static str,
    },
    /// The git repository could not be read; run `git fsck` there, or clone it again.
    #[error("could not {doing} the git index {} (run `git fsck` there, or clone it again)", path.display())]
    Git {
        /// The operation that failed.
        doing: &'static str,
        /// The repository.
        path: PathBuf,
        /// The reason.
        source: Cause,
    },
}

impl IndexError {
    /// Returns what kind of fault this is. An index is an input of the person who names it, who must repair what keeps it
    /// from being read.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Missing { .. }
            | Self::NotAnIndex { .. }
            | Self::Dir(_)
            | Self::Config { .. }
            | Self::Unreadable { .. }
            | Self::Git { .. } => FaultKind::Usage,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Missing { .. } => Some(Advice::NameOrCloneTheIndex),
            Self::NotAnIndex { .. } => Some(Advice::NameTheIndex),
            Self::Dir(_) | Self::Config { .. } | Self::Unreadable { .. } | Self::Git { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_the_source_and_not_repeated() {
        let git = IndexError::Git { doing: "read", path: "i".into(), source: Cause::new("no object") };
        assert_eq!(git.source().map(ToString::to_string).as_deref(), Some("no object"));
        assert!(!git.to_string().contains("no object"), "{git}");
    }

    #[test]
    fn an_index_that_cannot_be_read_is_for_a_person_to_repair() {
        let path = || std::path::PathBuf::from("i");
        for error in [
            IndexError::Missing { path: path() },
            IndexError::NotAnIndex { path: path(), what: "holds no crate".to_owned() },
            IndexError::Config { path: path(), source: ConfigError::Size { bytes: 1 } },
            IndexError::Unreadable { path: path(), why: "x" },
            IndexError::Git { doing: "read", path: path(), source: Cause::new("no object") },
        ] {
            assert_eq!(error.kind(), FaultKind::Usage, "{error:?}");
        }
    }

    #[test]
    fn a_wrong_path_leads_to_the_advice_to_name_another() {
        let missing = IndexError::Missing { path: "i".into() };
        assert_eq!(missing.advice(), Some(Advice::NameOrCloneTheIndex));
        let unreadable = IndexError::Unreadable { path: "i".into(), why: "x" };
        assert_eq!(unreadable.advice(), None);
    }
}
