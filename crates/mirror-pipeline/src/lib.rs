//! Composes index, fetch, store, manifest and telemetry into a download run.
//!
//! One direction: records are planned on a thread of their own, fetched on the runtime, staged by
//! a few writer threads and committed in batches by one committer. [`download`] takes
//! [`DownloadOptions`] and gives an [`Outcome`]; [`rebuild_catalogue`] makes the catalogue of a mirror again, and
//! [`acknowledge_gaps`] takes note of releases that upstream cannot deliver.

mod closing;
mod cursor;
mod dispatch;
mod download;
mod dry_run;
mod error;
mod finish;
mod gaps;
mod given;
mod handful;
mod held_view;
mod lines_filter;
mod list;
mod message;
mod names;
mod observe;
mod opened;
mod options;
mod outcome;
mod packaged;
mod plan;
mod prune;
mod rebuild;
mod removed;
mod route;
mod run;
mod size_estimate;
mod source;
mod sparse;
mod spool;
mod stage;
mod tally;
mod threads;
mod update;
mod verify;

pub use download::download;
pub use error::PipelineError;
pub use gaps::{acknowledge_gaps, list_gaps, read_gaps};
pub use given::{MAX_TEXT_BYTES, read_text};
pub use mirror_fetch::FetchOptions;
pub use mirror_index::sparse::AnswerLimits;
pub use mirror_index::{ClosureLimits, ClosureOptions, LockSources, NameSet, Shard, Target};
pub use mirror_manifest::Withdrawal;
pub use mirror_repo::{BUNDLES, Gap, ListedGap, MANIFEST, RebuildOutcome};
pub use mirror_store::{StoreError, bundle};
pub use mirror_types::{
    Address, CrateName, Layout, Printable, ReleaseId, VersionText, human_bytes, upstream,
};
pub use observe::{SyncEvent, SyncObserver, SyncPhase};
pub use options::{DownloadOptions, IndexUpdate, Prune, RebuildOptions, Storage, Upstream};
pub use outcome::{Estimate, Outcome};
pub use rebuild::rebuild_catalogue;
