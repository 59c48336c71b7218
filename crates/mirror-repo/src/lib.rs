//! A mirror on disk as one thing. Blocking code.
//!
//! A mirror is a folder: loose releases, bundles, a manifest, and below `.mirror` its state. [`RecordedPlaces`] tells a
//! reader what the folder's record says; [`LockedMirror::open`] takes the lock, finds out which manifest and
//! which bundles are this mirror's, refuses those of another one, and takes over mirrors of earlier versions.
//!
//! The record is `.mirror/mirror.json`; `docs/manifest.md` describes it.

pub mod bundle_lines;
mod bundles;
mod error;
mod gaps;
mod open;
mod path;
mod presence;
mod prune;
mod rebuild;
mod recorded;
mod records;
mod resolve;
mod scan;
mod survey;
mod transaction;
mod writer;

pub use bundles::check_bundles;
pub use error::RepoError;
pub use gaps::{Gap, ListedGap, acknowledge_gaps, list_gaps, parse_gaps};
pub use open::{LockedMirror, OpenOptions, OpenReport};
pub use presence::Presence;
pub use prune::{is_mass, split_by_bundles};
pub use rebuild::{RebuildOutcome, RebuildReport, rebuild};
pub use recorded::RecordedPlaces;
pub use records::{FailedAttempt, VerifiedBytes, WantedRelease};
pub use resolve::{BUNDLES, MANIFEST};
pub use scan::lost_files;
pub use transaction::{Committed, NewRelease, Transaction};
pub use writer::{MirrorWriter, catalogue_in};
