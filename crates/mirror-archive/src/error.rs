use std::io;
use std::path::{Path, PathBuf};

use mirror_types::{Advice, FaultKind};

use crate::names::shown;

/// An error while archiving a directory or checking an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A word does not name a digest; the message lists the names.
    #[error("{word:?} is not a digest; choose from {known}, or take `all`")]
    UnknownDigest {
        /// The word.
        word: String,
        /// The names of all digests.
        known: String,
    },
    /// A named path is not of the kind that is needed; name another one.
    #[error("{} is not a {}", path.display(), given.expected())]
    WrongKind {
        /// The kind that is needed.
        given: Given,
        /// Its path.
        path: PathBuf,
    },
    /// A named path cannot be opened; check it and its permissions, or name another one.
    #[error("opening the {} {}", given.name(), path.display())]
    Open {
        /// The kind that is needed.
        given: Given,
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The directory has no name that the outputs can share; name them.
    #[error("{why}, so the outputs need to be named")]
    Unnamed {
        /// The reason.
        why: &'static str,
    },
    /// The outputs cannot have this name; choose another.
    #[error("{name:?} cannot be the name of the outputs: use a plain file name of at most 200 bytes")]
    BadName {
        /// The name.
        name: String,
    },
    /// The directory contains a file with the name of the metadata in the tar; choose another name for the outputs.
    #[error("the directory contains {name}, and the tar would hold its metadata under the same name")]
    NameTaken {
        /// The name, printable.
        name: String,
    },
    /// By default, the outputs go beside the directory, and the root has no such place; name a directory for them.
    #[error("the root of the file system has no place beside it, so the outputs need another directory")]
    NothingBeside,
    /// The outputs would become part of what is archived; choose a directory outside.
    #[error(
        "{} is inside the directory to archive, so the outputs would become part of it: choose a directory \
         outside",
        .0.display()
    )]
    OutputInside(PathBuf),
    /// The inventory is signed, but the public key to check it with is missing; get it from the sender.
    #[error("the inventory claims a signature by {fingerprint}, but that public key is missing")]
    NoPublicKey {
        /// The fingerprint in the inventory, printable.
        fingerprint: String,
    },
    /// The inventory describes no tar; compare with the directory.
    #[error("the inventory was made without a tar")]
    NoTar,
    /// A named file is missing or unsuitable; check its path and its permissions.
    #[error("{what} {}", path.display())]
    Input {
        /// The operation that failed.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// An entry is neither file, directory nor symbolic link; remove it, or archive another directory.
    #[error(
        "{} is a {kind}; only files, directories and symbolic links can be archived: remove it",
        shown(path)
    )]
    Special {
        /// Path below the directory.
        path: Vec<u8>,
        /// Its kind.
        kind: &'static str,
    },
    /// An entry changed or vanished while it was being read; run again when nothing writes there.
    #[error(
        "{} {how} while it was being read; nothing was published. Run again when nothing writes there",
        shown(path)
    )]
    Changed {
        /// Path below the directory.
        path: Vec<u8>,
        /// The change that was noticed.
        how: &'static str,
    },
    /// Reading or writing failed; the source says why.
    #[error("{what} {}", shown(path))]
    Io {
        /// The operation that failed.
        what: &'static str,
        /// Its path, bytes.
        path: Vec<u8>,
        /// The reason.
        source: io::Error,
    },
    /// A key cannot be used; the message says what is wrong with it.
    #[error("{0}")]
    Key(String),
    /// The private key is locked; give its passphrase.
    #[error("{} needs a passphrase", .0.display())]
    LockedKey(PathBuf),
    /// OpenPGP refused; the source says why.
    #[error("{what}")]
    OpenPgp {
        /// The operation that failed.
        what: String,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is not an inventory, or is damaged; take another copy of it.
    #[error("the inventory is damaged, or not one of ours: line {line}: {why}")]
    Inventory {
        /// Counted from 1.
        line: u64,
        /// The reason.
        why: String,
    },
    /// A build without OpenPGP was asked to make or check a signature; do without, or build with the feature `openpgp`.
    #[error("this program was built without OpenPGP: it can neither make nor check signatures")]
    NoOpenPgp,
    /// Another run writes the same outputs; wait for it, or choose another name for these.
    #[error("another run holds {}; wait for it", .0.display())]
    Locked(PathBuf),
    /// Something other than a regular file has the name of the lock of the outputs; remove it.
    #[error("{} is not a regular file; remove it", .0.display())]
    Strange(PathBuf),
    /// The caller asked to stop.
    #[error("stopped before the end; nothing was published")]
    Interrupted,
    /// A fault of this program; report it.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

/// The kind of path that a caller names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// The directory.
    Directory,
    /// The tar.
    Tar,
    /// The inventory.
    Inventory,
}

impl Given {
    fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Tar => "tar",
            Self::Inventory => "inventory",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Tar => "regular file, so it is not a tar",
            Self::Inventory => "regular file, so it is not an inventory",
        }
    }

    fn advice(self) -> Advice {
        match self {
            Self::Directory => Advice::AnotherInput,
            Self::Tar => Advice::NameTheTar,
            Self::Inventory => Advice::NameTheInventory,
        }
    }
}

impl ArchiveError {
    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Internal(_) => FaultKind::Internal,
            Self::UnknownDigest { .. }
            | Self::WrongKind { .. }
            | Self::Open { .. }
            | Self::Unnamed { .. }
            | Self::BadName { .. }
            | Self::NameTaken { .. }
            | Self::NothingBeside
            | Self::OutputInside(_)
            | Self::NoPublicKey { .. }
            | Self::NoTar
            | Self::Input { .. }
            | Self::Special { .. }
            | Self::Key(_)
            | Self::LockedKey(_)
            | Self::OpenPgp { .. }
            | Self::NoOpenPgp => FaultKind::Usage,
            Self::Changed { .. } | Self::Inventory { .. } | Self::Strange(_) => FaultKind::Integrity,
            Self::Io { .. } => FaultKind::Storage,
            Self::Locked(_) => FaultKind::Locked,
            Self::Interrupted => FaultKind::Stopped,
        }
    }

    pub(crate) fn io(what: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_vec(), source }
    }

    /// Wraps an I/O error, for a path of the operating system.
    pub(crate) fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.as_os_str().as_encoded_bytes().to_vec(), source }
    }

    pub(crate) fn input(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Input { what, path: path.to_owned(), source }
    }

    /// Makes the error for a named path that cannot be opened.
    pub(crate) fn open(given: Given, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Open { given, path: path.to_owned(), source }
    }

    /// Makes the error for a refusal of OpenPGP.
    #[cfg(feature = "openpgp")]
    pub(crate) fn pgp<E>(what: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |error| Self::OpenPgp { what: what.into(), source: Box::new(error) }
    }

    pub(crate) fn changed(path: &[u8], how: &'static str) -> Self {
        Self::Changed { path: path.to_vec(), how }
    }

    /// Returns advice for a person that goes beyond the message.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::WrongKind { given, .. } | Self::Open { given, .. } => Some(given.advice()),
            Self::Special { .. } => Some(Advice::AnotherInput),
            Self::Unnamed { .. } | Self::BadName { .. } => Some(Advice::NameTheOutputs),
            Self::Locked(_) | Self::NameTaken { .. } => Some(Advice::RenameTheOutputs),
            Self::NothingBeside | Self::OutputInside(_) => Some(Advice::AnotherOutputDirectory),
            Self::NoPublicKey { .. } => Some(Advice::NameThePublicKeyOrSkip),
            Self::NoTar => Some(Advice::CompareTheDirectory),
            Self::LockedKey(_) => Some(Advice::GivePassphrase),
            Self::NoOpenPgp => Some(Advice::DoWithoutSignature),
            Self::UnknownDigest { .. }
            | Self::Input { .. }
            | Self::OpenPgp { .. }
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
            (ArchiveError::BadName { name: "x".to_owned() }, FaultKind::Usage),
            (ArchiveError::open(Given::Tar, Path::new("p"))(io()), FaultKind::Usage),
            (ArchiveError::LockedKey("p".into()), FaultKind::Usage),
            (ArchiveError::NoOpenPgp, FaultKind::Usage),
            (ArchiveError::pgp("x")(io()), FaultKind::Usage),
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
    fn errors_have_typed_advice() {
        let path = || PathBuf::from("p");
        let table = [
            (ArchiveError::WrongKind { given: Given::Directory, path: path() }, Some(Advice::AnotherInput)),
            (ArchiveError::open(Given::Tar, &path())(io::Error::other("x")), Some(Advice::NameTheTar)),
            (ArchiveError::Unnamed { why: "x" }, Some(Advice::NameTheOutputs)),
            (ArchiveError::Locked(path()), Some(Advice::RenameTheOutputs)),
            (ArchiveError::OutputInside(path()), Some(Advice::AnotherOutputDirectory)),
            (ArchiveError::NoPublicKey { fingerprint: "x".to_owned() }, Some(Advice::NameThePublicKeyOrSkip)),
            (ArchiveError::NoTar, Some(Advice::CompareTheDirectory)),
            (ArchiveError::LockedKey(path()), Some(Advice::GivePassphrase)),
            (ArchiveError::NoOpenPgp, Some(Advice::DoWithoutSignature)),
            (ArchiveError::Interrupted, None),
        ];
        for (error, advice) in table {
            assert_eq!(error.advice(), advice, "{error:?}");
        }
    }

    #[test]
    fn a_cause_is_kept_and_printed_once() {
        let error = ArchiveError::pgp("signing failed")(io::Error::other("no way"));
        assert_eq!(error.to_string(), "signing failed");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("no way"));
    }

    #[test]
    fn hostile_names_do_not_reach_the_terminal() {
        let error = ArchiveError::changed(b"a\x1b[31m\n\xff", "grew");
        assert!(error.to_string().chars().all(|c| !c.is_control()), "{error}");
    }
}
