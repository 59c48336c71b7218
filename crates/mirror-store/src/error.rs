use std::io;
use std::path::{Path, PathBuf};

use mirror_bundle::BundleError;
use mirror_fs::FileError;
use mirror_types::{Advice, Cause, FaultKind, Layout, Printable, ReleaseId, disk_advice};

use crate::tree_form::TreeForm;

/// The reason why a store operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another run holds the lock; wait for it to end, or use another directory.
    #[error("{} is locked by another run{holder}; wait for it to end, or use another directory", root.display())]
    Locked {
        /// The mirror root.
        root: PathBuf,
        /// ` (process N)` when known.
        holder: String,
    },
    /// The mirror was made with another layout; request none, or use another directory.
    #[error(
        "{} was made with the layout {}, and {} was requested; layouts cannot be mixed in one mirror",
        root.display(), found.as_str(), asked.as_str()
    )]
    LayoutMismatch {
        /// The mirror root.
        root: PathBuf,
        /// The layout of the mirror.
        found: Layout,
        /// The requested layout.
        asked: Layout,
    },
    /// The releases there are in the layout of another tool; have them moved with
    /// [`Store::open_to_move`](crate::Store::open_to_move), or use another directory.
    #[error(
        "{} holds releases as {} (such as {}), which is no layout of a mirror: a run would fetch them a second \
         time. Nothing was written",
        root.display(), form.pattern(), Printable(example)
    )]
    OtherTree {
        /// The root of the tree.
        root: PathBuf,
        /// Their layout.
        form: TreeForm,
        /// The path of one of them.
        example: String,
    },
    /// Releases were being moved to their places, and that was interrupted; let it finish.
    #[error("a run that moved the releases below {} to where they belong was stopped before it moved all of them", root.display())]
    HalfMoved {
        /// The root of the mirror.
        root: PathBuf,
    },
    /// `.mirror/mirror.json` cannot be understood; use a newer version, or restore the file from a copy.
    #[error("{} cannot be understood; it was made by a newer version, or damaged", path.display())]
    BadRecord {
        /// Its path.
        path: PathBuf,
        /// The fault.
        source: Cause,
    },
    /// Something other than a regular file or a directory is in the way; remove it.
    #[error("{} is not {expected}; links and special files do not belong in a mirror, remove it", path.display())]
    Strange {
        /// Its path.
        path: PathBuf,
        /// The kind of object that was expected there.
        expected: &'static str,
    },
    /// The path would leave the mirror; use plain names as its parts.
    #[error("refusing the path {path:?}: it is not a plain relative path")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// The bundles failed; their error says what to do.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The object that was passed to a store belongs to another one.
    #[error("{id} was passed to a store that does not have it")]
    OtherStore {
        /// The release.
        id: ReleaseId,
    },
    /// The body of a release is not of the stated length.
    #[error("the body of {id} has {found} bytes, {said} were announced")]
    BodySize {
        /// The release.
        id: ReleaseId,
        /// The length of the body, bytes.
        found: u64,
        /// The stated length, bytes.
        said: u64,
    },
    /// The store was opened for reading only.
    #[error("{} was opened for reading only", path.display())]
    ReadOnly {
        /// Its path.
        path: PathBuf,
    },
    /// The store takes one batch at a time.
    #[error("a batch is open in {} already", path.display())]
    BatchOpen {
        /// Its path.
        path: PathBuf,
    },
    /// The operating system refused; the source says why.
    #[error("could not {doing} {}{}", path.display(), disk_advice(source.kind()))]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl StoreError {
    /// Returns a function that turns an I/O error into "could not DOING PATH". For authors of stores.
    pub fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        at(doing, path)
    }

    /// Returns the kind of fault that this is.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Locked { .. } => FaultKind::Locked,
            Self::LayoutMismatch { .. }
            | Self::OtherTree { .. }
            | Self::HalfMoved { .. }
            | Self::UnsafePath { .. } => FaultKind::Usage,
            Self::Bundle(error) => error.kind(),
            Self::BadRecord { .. } | Self::Strange { .. } => FaultKind::Integrity,
            Self::Io { .. } => FaultKind::Storage,
            Self::OtherStore { .. }
            | Self::BodySize { .. }
            | Self::ReadOnly { .. }
            | Self::BatchOpen { .. } => FaultKind::Internal,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Locked { .. } => Some(Advice::AnotherRoot),
            Self::LayoutMismatch { .. } => Some(Advice::KeepTheLayout),
            Self::OtherTree { .. } => Some(Advice::AdoptReleases),
            Self::HalfMoved { .. } => Some(Advice::FinishAdopting),
            Self::Bundle(error) => error.advice(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some(Advice::AnotherRoot)
            }
            Self::BadRecord { .. }
            | Self::Strange { .. }
            | Self::UnsafePath { .. }
            | Self::OtherStore { .. }
            | Self::BodySize { .. }
            | Self::ReadOnly { .. }
            | Self::BatchOpen { .. }
            | Self::Io { .. } => None,
        }
    }
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        at(error.doing, &error.path)(error.source)
    }
}

/// Turns an I/O error into one that names operation and path. Distinguishes objects that are no plain file or directory
/// from refusals of the disk.
pub(crate) fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| match mirror_fs::in_the_way(path, &source) {
        Some((path, expected)) => StoreError::Strange { path, expected },
        None => StoreError::Io { doing, path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_a_value() {
        let root = || PathBuf::from("m");
        let io = |kind: io::ErrorKind| StoreError::Io { doing: "write", path: root(), source: kind.into() };
        let table = [
            (StoreError::Locked { root: root(), holder: String::new() }, Some(Advice::AnotherRoot)),
            (
                StoreError::LayoutMismatch { root: root(), found: Layout::Shard, asked: Layout::Cargo },
                Some(Advice::KeepTheLayout),
            ),
            (StoreError::HalfMoved { root: root() }, Some(Advice::FinishAdopting)),
            (BundleError::Locked { dir: root(), holder: String::new() }.into(), Some(Advice::AnotherRoot)),
            (io(io::ErrorKind::ReadOnlyFilesystem), Some(Advice::AnotherRoot)),
            (io(io::ErrorKind::StorageFull), None),
            (StoreError::Strange { path: root(), expected: "a directory" }, None),
        ];
        for (error, advice) in table {
            assert_eq!(error.advice(), advice, "{error:?}");
        }
    }
}
