use std::fmt;
use std::path::PathBuf;

use mirror_bundle::BundleError;
use mirror_manifest::ManifestError;
use mirror_snapshot::{RowError, SnapshotError};
use mirror_store::StoreError;
use mirror_types::{Advice, Cause, FaultKind, StoreId};

/// The reason why a mirror could not be opened or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepoError {
    /// The store failed; its error says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Manifest or catalogue failed; the error says what to do.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest has records of other mirrors and none of this one; give each mirror a manifest of its own.
    #[error(
        "the manifest {} belongs to {whose}, not to the mirror {}; it was left as it is. Give each mirror a manifest \
         of its own",
        path.display(), root.display()
    )]
    OthersManifest {
        /// The manifest.
        path: PathBuf,
        /// The mirror that was opened.
        root: PathBuf,
        /// `the mirror at PATH` or `the mirror with the id ID`.
        whose: String,
    },
    /// The remembered manifest is gone together with its directory; bring it back, or name its new place.
    #[error(
        "the manifest of the mirror {} is remembered at {}, and that directory is missing; mount it or bring it \
         back, or name the new place of the manifest",
        root.display(), path.display()
    )]
    ManifestGone {
        /// The mirror that was opened.
        root: PathBuf,
        /// The earlier place of the manifest.
        path: PathBuf,
    },
    /// The folder is a copy of a mirror that still exists, and both would write to one place; name another.
    #[error(
        "{} is a copy of the mirror at {}, and both would write into {}; name another {what} for this one",
        root.display(), original.display(), path.display()
    )]
    SharedWithOriginal {
        /// The mirror that was opened.
        root: PathBuf,
        /// The mirror that it was copied from.
        original: PathBuf,
        /// The object that both would write to.
        what: SharedPlace,
        /// Its path in both.
        path: PathBuf,
    },
    /// A path cannot be recorded; choose a name that is Unicode text.
    #[error("{} cannot be remembered, because it is not Unicode text; choose another name", path.display())]
    NotText {
        /// The place.
        path: PathBuf,
    },
    /// A file could not be read during the search for old records; the source says why.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Bundles in use are not where they were; put them back, name their new place, or rebuild the catalogue without
    /// them.
    #[error(
        "this mirror holds releases in bundles that are not in {}, or are shorter than they were: {what}; put them \
         back, or say where they are. If they are gone for good, the catalogue can be rebuilt without them, and the \
         next run fetches what was in them",
        dir.display()
    )]
    BundlesMissing {
        /// The directory that was searched.
        dir: PathBuf,
        /// The bundles.
        what: String,
    },
    /// The bundles belong to another mirror; name the place of the right ones, or rebuild the catalogue without them.
    #[error(
        "the bundles in {} are not those of this mirror: the first member is another one; say where they are. If they \
         are gone for good, the catalogue can be rebuilt without them, and the next run fetches what was in them",
        dir.display()
    )]
    OtherBundles {
        /// The directory that was searched.
        dir: PathBuf,
    },
    /// The bundles cannot be written to; restore the damaged one from a copy, or move it and its manifest away and
    /// rebuild the catalogue.
    #[error(
        "the bundles in {} are damaged where they are to be continued; restore the bundle that is named from a copy, \
         or move it and its manifest away and rebuild the catalogue, and the next run fetches its releases again",
        dir.display()
    )]
    BundleDamaged {
        /// Their directory.
        dir: PathBuf,
        /// The damage.
        source: Box<StoreError>,
    },
    /// The mirror's own list of acknowledged gaps is malformed.
    #[error("{}: {reason}", path.display())]
    BadGaps {
        /// The list.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// There is no mirror.
    #[error("there is no mirror at {}", path.display())]
    NoMirror {
        /// The path where it was expected.
        path: PathBuf,
    },
    /// Releases are in bundles, and their directory is missing.
    #[error("the mirror holds releases in bundles, and there are none at {}", path.display())]
    NoBundles {
        /// The path where it should be.
        path: PathBuf,
    },
    /// Releases are in a store that the mirror was opened without.
    #[error("the mirror holds releases in the store with the number {}, and was opened without it; open it with that store", store.0)]
    StoreMissing {
        /// The store.
        store: StoreId,
    },
    /// Two stores have one number.
    #[error("two stores have the number {}; give each one of its own, from 2 on", store.0)]
    StoreTwice {
        /// The number.
        store: StoreId,
    },
    /// The document of a snapshot is damaged; restore it from a copy.
    #[error(
        "the snapshot {} cannot be used; restore it from a copy, or remove it with its signatures: the next run takes \
         another", path.display()
    )]
    BadSnapshot {
        /// Its path.
        path: PathBuf,
        /// The fault.
        source: SnapshotError,
    },
    /// The document of a snapshot has the name of another; give it its own name.
    #[error("{} is the snapshot with serial {serial}; give it the name of that serial, or remove it", path.display())]
    MisnamedSnapshot {
        /// Its path.
        path: PathBuf,
        /// The serial that it states.
        serial: u64,
    },
    /// A snapshot could not be made; the source says why.
    #[error("could not make a snapshot")]
    MakeSnapshot(#[from] SnapshotError),
    /// The rows of a snapshot do not follow one another: a fault of this program, or a damaged catalogue.
    #[error("the catalogue has rows that no snapshot can have")]
    SnapshotRow(#[source] RowError),
    /// There is no snapshot with this serial; name another.
    #[error("there is no snapshot with serial {serial} in {}", dir.display())]
    NoSnapshot {
        /// The serial.
        serial: u64,
        /// The directory of the snapshots.
        dir: PathBuf,
    },
    /// The document is not the one that was published with this serial. Restore it.
    #[error(
        "the document of snapshot {serial} is not the one that this mirror took; restore that from a copy"
    )]
    OtherSnapshot {
        /// The serial.
        serial: u64,
    },
    /// The rows in the catalogue are not those of the document: one of the two was changed, or a later run was not
    /// finished.
    #[error(
        "the catalogue has other releases for snapshot {serial} than its document states, in unit {unit}: one of the two \
         was changed, or a run since then did not come to its end; run again where the mirror is made, or copy it again"
    )]
    OtherRows {
        /// The serial.
        serial: u64,
        /// The first unit that differs.
        unit: String,
    },
    /// A part of the mirror broke its contract.
    #[error("internal error: {0}; please report it")]
    Internal(String),
    /// The system returned no random numbers for the id of a new mirror; the source says why.
    #[error("the operating system returned no random numbers for the id of the new mirror")]
    Random(#[source] Cause),
}

impl From<BundleError> for RepoError {
    fn from(error: BundleError) -> Self {
        Self::Store(error.into())
    }
}

/// An object that a mirror and its copy would both write into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedPlace {
    /// The manifest.
    Manifest,
    /// The directory of the bundles.
    Bundles,
}

impl SharedPlace {
    fn advice(self) -> Advice {
        match self {
            Self::Manifest => Advice::NameTheManifest,
            Self::Bundles => Advice::AnotherBundlesDirectory,
        }
    }
}

impl fmt::Display for SharedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Bundles => "directory of bundles",
        })
    }
}

impl RepoError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Manifest(error) => error.kind(),
            Self::OthersManifest { .. }
            | Self::ManifestGone { .. }
            | Self::SharedWithOriginal { .. }
            | Self::NotText { .. }
            | Self::BadGaps { .. }
            | Self::NoMirror { .. }
            | Self::NoBundles { .. }
            | Self::StoreMissing { .. }
            | Self::StoreTwice { .. } => FaultKind::Usage,
            Self::BundlesMissing { .. } | Self::OtherBundles { .. } | Self::BundleDamaged { .. } => {
                FaultKind::Integrity
            }
            Self::BadSnapshot { .. }
            | Self::MisnamedSnapshot { .. }
            | Self::OtherSnapshot { .. }
            | Self::OtherRows { .. } => FaultKind::Refused,
            Self::NoSnapshot { .. } => FaultKind::Usage,
            Self::MakeSnapshot(_) | Self::SnapshotRow(_) | Self::Internal(_) => FaultKind::Internal,
            Self::Io { .. } | Self::Random(_) => FaultKind::Storage,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Store(error) => error.advice(),
            Self::Manifest(error) => error.advice(),
            Self::OthersManifest { .. } | Self::ManifestGone { .. } => Some(Advice::NameTheManifest),
            Self::SharedWithOriginal { what, .. } => Some(what.advice()),
            Self::BundlesMissing { .. } | Self::OtherBundles { .. } => Some(Advice::FindOrForgetBundles),
            Self::BundleDamaged { .. } => Some(Advice::ForgetTheBundle),
            Self::NoSnapshot { .. } => Some(Advice::ListSnapshots),
            Self::NotText { .. }
            | Self::Io { .. }
            | Self::BadGaps { .. }
            | Self::NoMirror { .. }
            | Self::NoBundles { .. }
            | Self::StoreMissing { .. }
            | Self::StoreTwice { .. }
            | Self::BadSnapshot { .. }
            | Self::MisnamedSnapshot { .. }
            | Self::MakeSnapshot(_)
            | Self::SnapshotRow(_)
            | Self::OtherSnapshot { .. }
            | Self::OtherRows { .. }
            | Self::Internal(_)
            | Self::Random(_) => None,
        }
    }
}
