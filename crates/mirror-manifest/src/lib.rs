#![doc = include_str!("../README.md")]

#[cfg(feature = "catalogue")]
mod catalogue;
#[cfg(all(test, feature = "catalogue"))]
mod damages;
mod error;
#[cfg(feature = "catalogue")]
mod index_cache;
mod reader;
mod record;
mod shape;
#[cfg(feature = "catalogue")]
mod sqlite;
mod writer;

#[cfg(feature = "catalogue")]
pub use catalogue::{
    BundleCounts, BundlesIdentity, Catalogue, Change, DeferredCrate, DeferredGroup, DirRow, FailureRow,
    FailureText, GapRow, Held, HeldBackCount, HeldBackRelease, HeldRelease, HeldTotals, IndexCursor, LOST,
    LicenceRow, Offered, OfferedRow, PlaceCounts, ReplacedRelease, ReplayReport, RunRow, SnapshotRow,
    StatedLicence, UnavailableRow, UnfetchedRow, UnitRow, UpstreamRemoval,
};
pub use error::ManifestError;
#[cfg(feature = "catalogue")]
pub use index_cache::{
    CacheState, IndexCacheReader, IndexCacheReport, IndexCacheWriter, LinePacker, PackedLines, TextDigest,
    index_cache_in,
};
pub use reader::{HoldingRecord, InvalidRecord, ManifestLine, ManifestReader, ManifestRecords, read_from};
pub use record::{
    EXISTING, ManifestRecord, PRUNED, REINSTATED, REMOVED_UPSTREAM, RecordedMember, RecordedPlace,
    SCHEMA_VERSION, millis, rfc3339, storage_name,
};
pub use shape::{ManifestShape, manifest_shape};
pub use writer::{ManifestWriter, OpenReport};
