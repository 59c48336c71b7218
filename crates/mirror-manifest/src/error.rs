use std::io;
use std::path::{Path, PathBuf};

use mirror_types::{Advice, Cause, FaultKind, MirrorId, disk_advice};
#[cfg(feature = "catalogue")]
use rusqlite::ErrorCode;

/// The reason why manifest or catalogue could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file that was named is no manifest, and nothing was written; name the mirror's own.
    #[error(
        "{} is no manifest ({reason}); it was left as it is. Name the manifest of this mirror, or a file that is not \
         there yet",
        path.display()
    )]
    NotAManifest {
        /// The file.
        path: PathBuf,
        /// The reason why it is none.
        reason: &'static str,
    },
    /// The manifest belongs to another mirror, and nothing was written; give each mirror one of its own.
    #[error(
        "the manifest {} belongs to another mirror ({owner}, this one is {mirror}); it was left as it is. Give each \
         mirror a manifest of its own",
        path.display()
    )]
    OthersManifest {
        /// The file.
        path: PathBuf,
        /// The mirror that it belongs to.
        owner: MirrorId,
        /// The mirror that was to write to it.
        mirror: MirrorId,
    },
    /// Another run is writing to the manifest; wait for it to end, and give each mirror one of its own.
    #[error(
        "the manifest {} is in use by another run; wait for it to end, and give each mirror a manifest of its own",
        path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Nothing is offered, because a policy is in force and has not judged what the catalogue holds; a run judges it.
    #[error(
        "the catalogue {} was made anew, and the policy of the mirror has not judged it yet: nothing is offered until \
         a run has",
        path.display()
    )]
    Unjudged {
        /// The catalogue.
        path: PathBuf,
    },
    /// The catalogue cannot tell what a snapshot offered.
    #[error(
        "{} does not know what snapshot {serial} offered: there was none, it is not kept any more, or the catalogue was \
         rebuilt since", path.display()
    )]
    UnknownSnapshot {
        /// The catalogue.
        path: PathBuf,
        /// The serial.
        serial: u64,
    },
    /// The operating system refused; the source says why.
    #[error("could not {doing} the manifest {}{}", path.display(), disk_advice(source.kind()))]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The manifest.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A line before the last one is no record; restore the manifest from a copy, or cut that line out and hash
    /// everything that is held again.
    #[error(
        "the manifest {} is damaged, the line at byte {offset} is no record: restore it from a copy, or cut that line \
         out and have what is held hashed again",
        path.display()
    )]
    BadLine {
        /// The manifest.
        path: PathBuf,
        /// The offset at which the line begins, in bytes.
        offset: u64,
        /// The reason why it is no record.
        source: Cause,
    },
    /// Something other than a regular file is in the place of one of the mirror's files; remove it.
    #[error("{} is not a regular file; links and special files do not belong in a mirror, remove it", path.display())]
    Strange {
        /// Its path.
        path: PathBuf,
    },
    /// SQLite failed; the source says why. A damaged catalogue can be rebuilt.
    #[cfg(feature = "catalogue")]
    #[error("could not {doing} the catalogue {}{}", path.display(), advice(source))]
    Catalogue {
        /// The operation that failed.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
    /// The catalogue is damaged, or another kind of database; rebuild it.
    #[error("the catalogue {} is damaged ({reason}){REBUILD}", path.display())]
    DamagedCatalogue {
        /// The database.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The operating system refused an operation on a file of the index cache; the source says why.
    #[error("could not {doing} the index lines {}{}", path.display(), disk_advice(source.kind()))]
    IndexCacheFile {
        /// The operation that failed.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// SQLite failed on the index cache; the source says why. A damaged cache can be filled again.
    #[cfg(feature = "catalogue")]
    #[error("could not {doing} the index cache {}{}", path.display(), cache_advice(source))]
    IndexCache {
        /// The operation that failed.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
    /// The index cache is damaged, or another kind of database; the next run sets it aside and fills a new one.
    #[error("the index cache {} is damaged ({reason}){REFILL}", path.display())]
    DamagedIndexCache {
        /// The database.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The lines of an index file differ from what was written; they can be read from the index again.
    #[error("in the index cache {}, the lines of {file} are damaged{REFILL}", path.display())]
    BadLines {
        /// The database.
        path: PathBuf,
        /// The index file whose lines they are.
        file: String,
    },
    /// The index cache was made by a newer version; use that, or delete the cache.
    #[error(
        "the index cache {} has format {found}, this version knows {known}; use a newer version, or delete it, and the \
         next run reads the index again",
        path.display()
    )]
    NewerIndexCache {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known format.
        known: i64,
    },
    /// The index lines are still in the log of an earlier version; a run that changes the mirror converts them.
    #[error(
        "the index lines {} have the form of an earlier version; run an update of the mirror, or rebuild its \
         catalogue, to convert them",
        path.display()
    )]
    OldIndexCache {
        /// The log.
        path: PathBuf,
    },
    /// The catalogue was made by a newer version; use that, or rebuild a damaged one.
    #[error("the catalogue {} has format {found}, this version knows {known}; use a newer version; if it is damaged, it can be \
         rebuilt", path.display())]
    NewerCatalogue {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known format.
        known: i64,
    },
}

/// The advice for a damaged catalogue.
const REBUILD: &str =
    ": what is held is not lost; the catalogue can be rebuilt from the manifest, the bundles and the files";

/// The advice for a damaged index cache.
const REFILL: &str = ": a run that verifies what is held repairs it, and reads the index again";

#[cfg(feature = "catalogue")]
fn cache_advice(source: &rusqlite::Error) -> &'static str {
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => disk_advice(io::ErrorKind::StorageFull),
        _ if is_damage(source) => REFILL,
        _ => "",
    }
}

#[cfg(feature = "catalogue")]
fn advice(source: &rusqlite::Error) -> &'static str {
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => disk_advice(io::ErrorKind::StorageFull),
        _ if is_damage(source) => REBUILD,
        _ => "",
    }
}

#[cfg(feature = "catalogue")]
/// Returns whether an error of SQLite is about the contents of the file, and not about the disk, the system, or another
/// user of it. Damage appears in many forms: a missing table, a constraint that does not hold, a value of another type.
pub(crate) fn is_damage(source: &rusqlite::Error) -> bool {
    /// A read beyond the end of a file that should be longer: `SQLITE_IOERR_SHORT_READ`.
    const SHORT_READ: i32 = 522;
    let rusqlite::Error::SqliteFailure(failure, _) = source else { return true };
    match failure.code {
        ErrorCode::SystemIoFailure => failure.extended_code == SHORT_READ,
        ErrorCode::PermissionDenied
        | ErrorCode::OperationAborted
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::OutOfMemory
        | ErrorCode::ReadOnly
        | ErrorCode::OperationInterrupted
        | ErrorCode::DiskFull
        | ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::AuthorizationForStatementDenied => false,
        _ => true,
    }
}

impl ManifestError {
    /// Returns the kind of fault that this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Busy { .. } => FaultKind::Locked,
            Self::Unjudged { .. } => FaultKind::Refused,
            Self::NotAManifest { .. } | Self::OthersManifest { .. } | Self::UnknownSnapshot { .. } => {
                FaultKind::Usage
            }
            Self::Io { .. } | Self::IndexCacheFile { .. } => FaultKind::Storage,
            Self::Strange { .. }
            | Self::BadLine { .. }
            | Self::BadLines { .. }
            | Self::DamagedCatalogue { .. }
            | Self::NewerCatalogue { .. }
            | Self::DamagedIndexCache { .. }
            | Self::NewerIndexCache { .. }
            | Self::OldIndexCache { .. } => FaultKind::Integrity,
            #[cfg(feature = "catalogue")]
            Self::Catalogue { source, .. } | Self::IndexCache { source, .. } if is_damage(source) => {
                FaultKind::Integrity
            }
            #[cfg(feature = "catalogue")]
            Self::Catalogue { .. } | Self::IndexCache { .. } => FaultKind::Storage,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::NotAManifest { .. } | Self::OthersManifest { .. } | Self::Busy { .. } => {
                Some(Advice::NameTheManifest)
            }
            Self::Io { source, .. } | Self::IndexCacheFile { source, .. }
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                Some(Advice::AnotherRoot)
            }
            Self::BadLine { .. } | Self::BadLines { .. } | Self::DamagedIndexCache { .. } => {
                Some(Advice::VerifyExisting)
            }
            #[cfg(feature = "catalogue")]
            Self::IndexCache { source, .. } if is_damage(source) => Some(Advice::VerifyExisting),
            #[cfg(feature = "catalogue")]
            Self::Catalogue { source, .. } if is_damage(source) => Some(Advice::RebuildCatalogue),
            Self::DamagedCatalogue { .. } | Self::NewerCatalogue { .. } => Some(Advice::RebuildCatalogue),
            Self::UnknownSnapshot { .. } => Some(Advice::ListSnapshots),
            Self::Io { .. }
            | Self::IndexCacheFile { .. }
            | Self::Strange { .. }
            | Self::Unjudged { .. }
            | Self::NewerIndexCache { .. }
            | Self::OldIndexCache { .. } => None,
            #[cfg(feature = "catalogue")]
            Self::Catalogue { .. } | Self::IndexCache { .. } => None,
        }
    }
}

pub(crate) fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ManifestError + 'a {
    move |source| match mirror_fs::not_plain(&source) {
        Some(_) => ManifestError::Strange { path: path.to_owned() },
        None => ManifestError::Io { doing, path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_a_value() {
        let path = || PathBuf::from("p");
        let table = [
            (ManifestError::Busy { path: path() }, Some(Advice::NameTheManifest)),
            (
                ManifestError::BadLine { path: path(), offset: 0, source: Cause::new("x") },
                Some(Advice::VerifyExisting),
            ),
            (
                ManifestError::DamagedCatalogue { path: path(), reason: "x".to_owned() },
                Some(Advice::RebuildCatalogue),
            ),
            (
                ManifestError::Catalogue {
                    doing: "read",
                    path: path(),
                    source: rusqlite::Error::QueryReturnedNoRows,
                },
                Some(Advice::RebuildCatalogue),
            ),
            (ManifestError::Strange { path: path() }, None),
        ];
        for (error, advice) in table {
            assert_eq!(error.advice(), advice, "{error:?}");
        }
    }

    #[test]
    fn a_full_disk_is_called_so_whichever_file_it_hits() {
        let (path, full) = (|| PathBuf::from("m"), || io::Error::from(io::ErrorKind::StorageFull));
        for error in [
            ManifestError::Io { doing: "append to", path: path(), source: full() },
            ManifestError::IndexCacheFile { doing: "append to", path: path(), source: full() },
        ] {
            assert!(error.to_string().contains("disk is full"), "{error}");
        }
    }
}
