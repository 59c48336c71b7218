use std::io;
use std::path::{Path, PathBuf};

use mirror_fs::{FileError, FileLock, LockFault};
use mirror_types::{Advice, FaultKind, MirrorId, Printable, disk_advice};

use crate::fault::BundleFault;

/// The reason why bundles could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Another run holds the lock; wait for it to end, or use another directory.
    #[error("{} is locked by another run{holder}; wait for it to end, or use another directory", dir.display())]
    Locked {
        /// The directory of the bundles.
        dir: PathBuf,
        /// ` (process N)` when known.
        holder: String,
    },
    /// Something other than a regular file or a directory is in the way; remove it.
    #[error("{} is not {expected}; links and special files do not belong in a mirror, remove it", path.display())]
    Strange {
        /// Its path.
        path: PathBuf,
        /// The kind of object that was expected there.
        expected: &'static str,
    },
    /// The path of a new member is not that of its release; use the one in the layout of the mirror.
    #[error("refusing the path {path:?}: it is not a plain relative path")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// The bundles belong to another mirror, and nothing was written; give each mirror a directory of its own for them.
    #[error(
        "the bundles in {} belong to another mirror ({owner}, this one is {mirror}); they were left as they are. Give \
         each mirror a directory of its own for its bundles",
        dir.display()
    )]
    OthersBundles {
        /// Their directory.
        dir: PathBuf,
        /// The mirror that they belong to.
        owner: MirrorId,
        /// The mirror that was to write there.
        mirror: MirrorId,
    },
    /// A bundle or a file beside it is damaged or hostile; use another copy of it.
    #[error(
        "{}: {}{}{fault}",
        path.display(),
        member.as_ref().map_or_else(String::new, |member| format!("{}: ", Printable(member))),
        offset.map_or_else(String::new, |offset| format!("at byte {offset}: "))
    )]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// The member, when that is known.
        member: Option<String>,
        /// The offset in the file at which the frame begins, in bytes.
        offset: Option<u64>,
        /// The fault.
        fault: BundleFault,
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

impl BundleError {
    /// Makes the error for a fault of a bundle or a file beside it, with the member and the offset of its frame where
    /// they are known.
    #[must_use]
    pub fn damaged(path: &Path, member: Option<&str>, offset: Option<u64>, fault: BundleFault) -> Self {
        Self::Damaged { path: path.to_owned(), member: member.map(str::to_owned), offset, fault }
    }

    /// Returns what kind of fault this is.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Locked { .. } => FaultKind::Locked,
            Self::UnsafePath { .. } | Self::OthersBundles { .. } => FaultKind::Usage,
            Self::Strange { .. } | Self::Damaged { .. } => FaultKind::Integrity,
            Self::Io { .. } => FaultKind::Storage,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Locked { .. } => Some(Advice::AnotherRoot),
            Self::OthersBundles { .. } => Some(Advice::AnotherBundlesDirectory),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some(Advice::AnotherRoot)
            }
            Self::Strange { .. } | Self::UnsafePath { .. } | Self::Damaged { .. } | Self::Io { .. } => None,
        }
    }
}

impl From<FileError> for BundleError {
    fn from(error: FileError) -> Self {
        at(error.doing, &error.path)(error.source)
    }
}

/// Turns an I/O error into one that names operation and path. Distinguishes objects that are no plain file or directory
/// from refusals of the disk.
pub(crate) fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BundleError + 'a {
    move |source| match mirror_fs::in_the_way(path, &source) {
        Some((path, expected)) => BundleError::Strange { path, expected },
        None => BundleError::Io { doing, path: path.to_owned(), source },
    }
}

/// Takes the lock of the one writer in `dir`. It ends with the process in every case.
pub(crate) fn lock(dir: &Path, path: &Path) -> Result<FileLock, BundleError> {
    FileLock::take(path).map_err(|fault| match fault {
        LockFault::Held { holder } => BundleError::Locked { dir: dir.to_owned(), holder },
        LockFault::Open(error) => at("open the lock", path)(error),
        LockFault::Lock(error) => at("lock", path)(error),
        other => at("lock", path)(io::Error::other(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_a_kind_and_advice() {
        let path = || PathBuf::from("b");
        let io = |kind: io::ErrorKind| BundleError::Io { doing: "write", path: path(), source: kind.into() };
        let others = || {
            let id = |digit: &str| digit.repeat(32).parse().expect("id");
            BundleError::OthersBundles { dir: path(), owner: id("1"), mirror: id("2") }
        };
        let table = [
            (
                BundleError::Locked { dir: path(), holder: String::new() },
                FaultKind::Locked,
                Some(Advice::AnotherRoot),
            ),
            (others(), FaultKind::Usage, Some(Advice::AnotherBundlesDirectory)),
            (BundleError::UnsafePath { path: "..".to_owned() }, FaultKind::Usage, None),
            (BundleError::Strange { path: path(), expected: "a directory" }, FaultKind::Integrity, None),
            (BundleError::damaged(&path(), None, None, BundleFault::Torn), FaultKind::Integrity, None),
            (io(io::ErrorKind::ReadOnlyFilesystem), FaultKind::Storage, Some(Advice::AnotherRoot)),
            (io(io::ErrorKind::StorageFull), FaultKind::Storage, None),
        ];
        for (error, kind, advice) in table {
            assert_eq!((error.kind(), error.advice()), (kind, advice), "{error:?}");
        }
    }
}
