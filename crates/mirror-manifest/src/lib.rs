#![doc = include_str!("../README.md")]

mod catalogue;
#[cfg(test)]
mod damages;
mod error;
mod index_cache;
mod reader;
mod record;
mod shape;
mod sqlite;
mod writer;

pub use catalogue::{
    BundlesIdentity, Catalogue, Change, DeferredCrate, DeferredRelease, DirRow, FailureRow, GapRow, Held,
    HeldRelease, HeldTotals, IndexCursor, LOST, ReplayReport, UnavailableRow, UpstreamRemoval,
};
pub use error::ManifestError;
pub use index_cache::{
    CacheState, IndexCacheReader, IndexCacheReport, IndexCacheWriter, LinePacker, PackedLines, TextDigest,
    index_cache_in,
};
pub use reader::{HoldingRecord, InvalidRecord, ManifestLine, ManifestReader, ManifestRecords, read_from};
pub use record::{
    EXISTING, ManifestRecord, PRUNED, REINSTATED, REMOVED_UPSTREAM, RecordedMember, RecordedPlace,
    SCHEMA_VERSION, rfc3339, storage_name,
};
pub use shape::{ManifestShape, manifest_shape};
pub use writer::{ManifestWriter, OpenReport};
