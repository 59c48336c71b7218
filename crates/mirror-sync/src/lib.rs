//! Mirrors a registry: plans what is to be done, and does it.
//!
//! [`download`] takes [`DownloadOptions`], tells a [`SyncObserver`] what happens, and returns an [`Outcome`]. A plan of its
//! own thread decides, the runtime fetches, a few writer threads stage, and one dispatcher commits in batches: one
//! direction, with bounded queues between. [`rebuild_catalogue`] makes the catalogue of a mirror again, and
//! [`acknowledge_gaps`] takes note of releases that upstream cannot deliver.
//!
//! ```no_run
//! # async fn run() -> Result<(), mirror_sync::SyncError> {
//! use mirror_sync::{DownloadOptions, Upstream, download};
//!
//! let options = DownloadOptions::new(Upstream::Local("index".into()), "mirror".into());
//! let outcome = download(options, std::sync::Arc::new(()), Default::default()).await?;
//! println!("{} of {} releases are held", outcome.selected - outcome.failed, outcome.selected);
//! # Ok(())
//! # }
//! ```

mod cursor;
mod download;
mod dry_run;
mod error;
mod gaps;
mod given;
mod held_view;
mod list;
mod names;
mod observe;
mod options;
mod outcome;
mod packaged;
mod plan;
mod prune;
mod rebuild;
mod removed;
mod run;
mod source;
mod spool;
mod tally;
mod threads;
mod update;

pub use download::download;
pub use error::SyncError;
pub use gaps::{acknowledge_gaps, list_gaps, read_gaps};
pub use given::{MAX_TEXT_BYTES, read_text};
pub use mirror_fetch::{CancellationToken, FetchObserver, FetchOptions};
pub use mirror_index::sparse::AnswerLimits;
pub use mirror_index::{ClosureLimits, ClosureOptions, LockSources, NameSet, Shard, Target};
pub use mirror_index::{Deferral, DeferralPolicy};
pub use mirror_manifest::Withdrawal;
pub use mirror_repo::{BUNDLES, Gap, ListedGap, MANIFEST, RebuildOutcome};
pub use mirror_types::{
    Address, CrateName, ExitStatus, IndexRecord, Layout, Printable, ReleaseId, VersionText, human_bytes,
    upstream,
};
pub use observe::{SyncEvent, SyncObserver, SyncPhase};
pub use options::{DownloadOptions, IndexUpdate, Prune, RebuildOptions, Storage, Upstream};
pub use outcome::{Estimate, Outcome};
pub use rebuild::rebuild_catalogue;
