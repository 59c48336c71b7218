use std::io;
use std::path::PathBuf;

use mirror_types::disk_advice;
use rusqlite::ErrorCode;

/// What kind of fault a [`ManifestError`] is; maps to an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestFault {
    /// Manifest or catalogue are damaged.
    Integrity,
    /// The disk or the file system failed.
    Storage,
}

/// Why manifest or catalogue could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The operating system said no.
    #[error("could not {doing} the manifest {}{}", path.display(), disk_advice(source.kind()))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The manifest.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A line that is not the last one is no record.
    #[error(
        "the manifest {} is damaged: the line at byte {offset} is no record ({reason}). Restore it from a copy, or \
         cut that line out and run with --verify-existing",
        path.display()
    )]
    BadLine {
        /// The manifest.
        path: PathBuf,
        /// Where the line begins, in bytes.
        offset: u64,
        /// Why it is no record.
        reason: String,
    },
    /// Something other than a regular file stands where the mirror keeps a file of its own.
    #[error("{} is not a regular file; links and special files do not belong into a mirror, remove it", path.display())]
    Strange {
        /// Its path.
        path: PathBuf,
    },
    /// SQLite failed.
    #[error("could not {doing} the catalogue {}{}", path.display(), advice(source))]
    Catalogue {
        /// What was being done.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
    /// The operating system said no to the file of index lines.
    #[error("could not {doing} the index lines {}", path.display())]
    Lines {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The lines of an index file are not what was written.
    #[error(
        "the index lines {} are damaged at byte {offset} ({file}); delete them, or run with --verify-existing: the \
         next run reads the index again",
        path.display()
    )]
    BadLines {
        /// The file.
        path: PathBuf,
        /// Where the frame begins, in bytes.
        offset: u64,
        /// The index file whose lines they are.
        file: String,
    },
    /// The catalogue was made by a newer version.
    #[error("the catalogue {} has format {found}, this version knows {known}; use a newer version, or delete it", path.display())]
    NewerCatalogue {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known format.
        known: i64,
    },
}

fn advice(source: &rusqlite::Error) -> &'static str {
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => disk_advice(io::ErrorKind::StorageFull),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            ": it is damaged; run again with --rebuild-catalogue"
        }
        _ => "",
    }
}

impl ManifestError {
    /// What kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> ManifestFault {
        match self {
            Self::Io { .. } | Self::Lines { .. } => ManifestFault::Storage,
            Self::Strange { .. }
            | Self::BadLine { .. }
            | Self::BadLines { .. }
            | Self::NewerCatalogue { .. } => ManifestFault::Integrity,
            Self::Catalogue { source, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ManifestFault::Integrity,
                _ => ManifestFault::Storage,
            },
        }
    }
}
