use std::io;
use std::path::{Path, PathBuf};

use mirror_types::{Advice, FaultKind};

use crate::names::shown;

/// Why a directory could not be archived, or an archive not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file that was named is not there, or is not what it should be.
    #[error("{what} {}", path.display())]
    Input {
        /// What was to be done with it.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Something that is neither file, directory nor symbolic link.
    #[error(
        "{} is a {kind}; only files, directories and symbolic links can be archived: remove it or choose another --dir",
        shown(path)
    )]
    Special {
        /// Path below the directory.
        path: Vec<u8>,
        /// What it is.
        kind: &'static str,
    },
    /// Something changed or vanished while it was being read.
    #[error(
        "{} {how} while it was being read; nothing was published, run again when nobody writes there",
        shown(path)
    )]
    Changed {
        /// Path below the directory.
        path: Vec<u8>,
        /// What was noticed.
        how: &'static str,
    },
    /// Reading or writing failed.
    #[error("{what} {}", shown(path))]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: Vec<u8>,
        /// The reason.
        source: io::Error,
    },
    /// A key could not be read, unlocked or used.
    #[error("{0}")]
    Key(String),
    /// The inventory is not one, or is damaged.
    #[error("the inventory is damaged, or not one of ours: line {line}: {why}")]
    Inventory {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// Another run writes the same outputs.
    #[error("another run holds {}; wait for it, or choose another --out-prefix", .0.display())]
    Locked(PathBuf),
    /// Something other than a regular file stands where the lock of the outputs belongs.
    #[error("{} is not a regular file; remove it", .0.display())]
    Strange(PathBuf),
    /// The caller asked to stop.
    #[error("stopped before the end; nothing was published")]
    Interrupted,
    /// A fault of this program.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl ArchiveError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Internal(_) => FaultKind::Internal,
            Self::Usage(_) | Self::Input { .. } | Self::Special { .. } | Self::Key(_) => FaultKind::Usage,
            Self::Changed { .. } | Self::Inventory { .. } | Self::Strange(_) => FaultKind::Integrity,
            Self::Io { .. } => FaultKind::Storage,
            Self::Locked(_) => FaultKind::Locked,
            Self::Interrupted => FaultKind::Stopped,
        }
    }

    pub(crate) fn io(what: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_vec(), source }
    }

    /// The same for a path of the operating system.
    pub(crate) fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.as_os_str().as_encoded_bytes().to_vec(), source }
    }

    pub(crate) fn input(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Input { what, path: path.to_owned(), source }
    }

    pub(crate) fn changed(path: &[u8], how: &'static str) -> Self {
        Self::Changed { path: path.to_vec(), how }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Special { .. } => Some(Advice::AnotherInput),
            Self::Locked(_) => Some(Advice::NameTheOutputs),
            Self::Usage(_)
            | Self::Input { .. }
            | Self::Changed { .. }
            | Self::Io { .. }
            | Self::Key(_)
            | Self::Inventory { .. }
            | Self::Strange(_)
            | Self::Interrupted
            | Self::Internal(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_kind_of_fault() {
        let io = || io::Error::other("x");
        let table = [
            (ArchiveError::Internal("x"), FaultKind::Internal),
            (ArchiveError::Usage("x".to_owned()), FaultKind::Usage),
            (ArchiveError::Input { what: "x", path: "p".into(), source: io() }, FaultKind::Usage),
            (ArchiveError::Special { path: b"p".to_vec(), kind: "fifo" }, FaultKind::Usage),
            (ArchiveError::Key("x".to_owned()), FaultKind::Usage),
            (ArchiveError::changed(b"p", "grew"), FaultKind::Integrity),
            (ArchiveError::Inventory { line: 1, why: "x".to_owned() }, FaultKind::Integrity),
            (ArchiveError::io("reading", b"p")(io()), FaultKind::Storage),
            (ArchiveError::Strange("p".into()), FaultKind::Integrity),
            (ArchiveError::Locked("p".into()), FaultKind::Locked),
            (ArchiveError::Interrupted, FaultKind::Stopped),
        ];
        for (error, kind) in table {
            assert_eq!(error.kind(), kind, "{error:?}");
        }
    }

    #[test]
    fn hostile_names_do_not_reach_the_terminal() {
        let error = ArchiveError::changed(b"a\x1b[31m\n\xff", "grew");
        assert!(error.to_string().chars().all(|c| !c.is_control()), "{error}");
    }
}
