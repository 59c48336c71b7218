//! A mirror on disk as one thing. Blocking code.
//!
//! A mirror is a folder: loose releases, bundles, a manifest, and below `.mirror` its state. [`RecordedPlaces`] tells a
//! reader what the folder's record says; [`MirrorWriter::open`] takes the lock, finds out which manifest and
//! which bundles are this mirror's, refuses those of another one, and takes over mirrors of earlier versions.
//!
//! The record is `.mirror/mirror.json`; `docs/manifest.md` describes it.

pub mod bundle_lines;
mod error;
mod open;
mod path;
mod recorded;
mod resolve;
mod survey;

pub use error::RepoError;
pub use open::{MirrorWriter, OpenOptions, OpenReport};
pub use recorded::RecordedPlaces;
pub use resolve::{BUNDLES, MANIFEST};
