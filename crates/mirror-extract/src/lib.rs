//! Bundles back to loose files. Blocking code, on threads of its own.
//!
//! Bundles are read in parallel, and so are the frames of each; every member is hashed against the manifest of its
//! bundle, staged, and committed in batches as downloads are. [`extract`] does that; it takes [`ExtractOptions`] and
//! returns an [`ExtractOutcome`]. An [`ExtractObserver`] receives the progress.
//!
//! Memory: 2 MiB of a bundle for each thread, what is staged for a commit (128 MiB at most), and some 100 bytes for
//! each member of the bundles that are being read.

mod error;
mod extract;
mod observe;
mod one;
mod open;
mod options;
mod output;
mod settle;
mod work;

pub use error::ExtractError;
pub use extract::extract;
pub use mirror_bundle::BundleLimits;
pub use mirror_types::{CrateName, ReleaseId, VersionText};
pub use observe::{ExtractEvent, ExtractObserver};
pub use options::{ExtractOptions, ExtractOutcome, ExtractTask, Wanted};
