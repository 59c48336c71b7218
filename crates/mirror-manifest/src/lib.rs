//! The JSONL audit log and the SQLite catalogue of what a mirror holds. Blocking code.
//!
//! The manifest is the truth about what was done, the catalogue an index over it: delete the
//! catalogue, and [`Catalogue::replay`] makes it again. Beside them stand the lines of the index, as
//! upstream has them ([`LinesWriter`], [`LinesReader`]).

mod catalogue;
mod error;
mod lines;
mod reader;
mod record;
mod shape;
mod sqlite;
mod writer;

pub use catalogue::{
    BundlesIdentity, Catalogue, Census, Change, DeferredCrate, DeferredRelease, DirRow, FailureRow, GapRow,
    Held, HeldRelease, IndexCursor, LOST, ReplayReport, UnavailableRow, Withdrawal,
};
pub use error::ManifestError;
pub use lines::{IndexFileRow, LinePacker, LinesReader, LinesReport, LinesWriter, PackedLines, TextDigest};
pub use reader::{HoldingRecord, InvalidRecord, ManifestLine, ManifestReader, read_from};
pub use record::{
    EXISTING, ManifestRecord, PRUNED, REINSTATED, REMOVED_UPSTREAM, RecordedMember, RecordedPlace,
    SCHEMA_VERSION, rfc3339, storage_name,
};
pub use shape::{ManifestShape, manifest_shape};
pub use writer::{ManifestWriter, OpenReport};
