//! A mirror on disk as one thing. Blocking code.
//!
//! A mirror is a folder: loose releases, bundles, a manifest, and below `.mirror` its state.
//!
//! - [`Mirror`] reads it, while others may change it: what is held and offered, its bytes, its index lines.
//! - [`Preview`] is a mirror as a run would find it, for a dry run: all of it may be missing.
//! - [`MirrorWriter`] takes the lock, takes in what the manifest says and the catalogue does not know, and holds both
//!   against bundles and files. Nobody else writes meanwhile.
//! - [`Transaction`] gathers changes, which [`MirrorWriter::commit`] makes durable: bytes, records, catalogue. No other
//!   code knows that order, and no other code makes records of the manifest.
//! - [`LockedMirror`] finds out which manifest and which bundles are this mirror's, refuses those of another one, and
//!   takes over mirrors of earlier versions; [`RecordedPlaces`] tells a reader what the folder's record says.
//! - [`rebuild()`] makes a catalogue again that is damaged or gone.
//!
//! The record is `.mirror/mirror.json`; `docs/manifest.md` describes it.

pub mod bundle_lines;
mod bundles;
mod change_detector;
mod error;
mod gaps;
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
mod stores;
mod survey;
mod transaction;
mod unlisted;
mod writer;

pub use change_detector::MirrorState;
pub use error::{RepoError, SharedPlace};
pub use gaps::{Gap, ListedGap, acknowledge_gaps, list_gaps, parse_gaps};
pub use listing::Listing;
pub use mirror::{Located, Mirror};
pub use mirror_bundle::{BundleReader, OpenBundle, OpenBundles};
pub use mirror_manifest::Held;
pub use mirror_store::OpenCrate;
pub use mirror_types::{CrateName, MemberLocation, ReleaseId, VersionText};
pub use open::{LockedMirror, OpenOptions, OpenReport};
pub use presence::Presence;
pub use preview::Preview;
pub use prune::{is_mass, split_by_bundles};
pub use rebuild::{RebuildOutcome, RebuildReport, rebuild};
pub use recorded::RecordedPlaces;
pub use records::{FailedAttempt, VerifiedBytes, WantedRelease};
pub use resolve::{BUNDLES, MANIFEST};
pub use stores::Stores;
pub use transaction::{Committed, NewRelease, Transaction};
pub use writer::{MirrorWriter, catalogue_in};
