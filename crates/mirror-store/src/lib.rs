//! Durable bytes: staging, batched commit, the lock, listing, repair. Blocking code.
//!
//! A file gets its final name only after its bytes are durable. See [`Store::commit`].
#![expect(clippy::disallowed_methods, reason = "this is the crate that writes mirror files")]

pub mod bundle;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
mod disk;
mod error;
mod hash;
mod held;
mod listing;
mod output;
mod path;
mod record;
mod stage;
mod store;
mod tree_form;

pub use error::StoreError;
pub use held::HeldFile;
pub use listing::{DirListing, DirTimes};
pub use output::OutputFile;
pub use record::MirrorRecord;
pub use stage::{Staged, StagedWriter};
pub use store::Store;
pub use tree_form::TreeForm;
