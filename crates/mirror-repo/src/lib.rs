#![doc = include_str!("../README.md")]

pub mod bundle_lines;
mod bundles;
mod change_detector;
mod error;
mod gaps;
mod inspect;
mod listing;
mod mirror;
mod open;
mod path;
mod pieces;
mod presence;
mod preview;
mod prune;
mod rebuild;
mod recorded;
mod records;
mod resolve;
mod scan;
mod snapshot;
mod stores;
mod survey;
mod transaction;
mod unlisted;
mod writer;

pub use bytes::Bytes;
pub use change_detector::MirrorState;
pub use error::{RepoError, SharedPlace};
pub use gaps::{Gap, ListedGap, acknowledge_gaps, list_gaps, parse_gaps};
pub use inspect::{
    BundleReport, DiskReport, MirrorNumbers, RunReport, RunsReport, SnapshotReport, StorageReport,
};
pub use listing::Listing;
pub use mirror::{Located, Mirror};
pub use mirror_bundle::{BundleError, BundleReader, OpenBundle, OpenBundles};
pub use mirror_fs::{DiskSpace, Fs, disk_space};
pub use mirror_manifest::{
    Catalogue, DeferredGroup, Held, HeldBackRelease, HeldTotals, IndexCacheReader, IndexCacheReport,
};
pub use mirror_manifest::{IndexCursor, ManifestError, PackedLines, UpstreamRemoval};
pub use mirror_store::{CrateStore, OpenCrate, StagedCrate, Store, StoreError};
pub use mirror_types::{CrateName, Layout, Location, Locations, MemberLocation, MirrorId, ReleaseId, Sha256};
pub use mirror_types::{FaultKind, StoreId, VersionText};
pub use open::{LockedMirror, OpenOptions, OpenReport};
pub use presence::Presence;
pub use preview::Preview;
pub use prune::{is_mass, split_by_bundles};
pub use rebuild::{RebuildOutcome, RebuildReport, rebuild};
pub use recorded::RecordedPlaces;
pub use records::{FailedAttempt, VerifiedBytes, WantedRelease};
pub use resolve::{BUNDLES, MANIFEST};
pub use snapshot::{
    At, OfferedUnits, SNAPSHOTS, SnapshotDir, SnapshotFile, check_offered, check_rows, offered_units, rows_of,
};
pub use stores::Stores;
pub use transaction::{Committed, NewRelease, Transaction};
pub use writer::{MirrorWriter, catalogue_in};
