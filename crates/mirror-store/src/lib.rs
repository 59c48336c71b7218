#![doc = include_str!("../README.md")]
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests write their own files"))]

#[cfg(feature = "contract")]
pub mod contract;
#[cfg(test)]
mod crash;
mod error;
mod hash;
mod held;
mod listing;
mod move_releases;
mod output;
mod path;
mod record;
mod stage;
mod store;
mod stores;
mod times;
#[cfg(test)]
mod tree_contract;
mod tree_form;
mod tree_scan;

pub use error::StoreError;
pub use held::AtOnce;
pub use listing::{DirListing, DirTimes};
pub use mirror_bundle::{BundleError, BundleOptions};
pub use mirror_fs::{FileReader, Fs, LocalFs, ReadAt, ReadPart};
pub use mirror_types::{Layout, Location, MemberLocation, ReleaseId, Sha256, StoreId};
pub use output::OutputFile;
pub use record::MirrorRecord;
pub use stage::{Staged, StagedWriter};
pub use store::Store;
pub use stores::{
    Aside, BundleStore, CrateBody, CrateStore, Hashed, Listed, LooseStore, MemoryStore, NewCrate, OpenCrate,
    Removal, StagedCrate, StoreBatch,
};
pub use tree_form::TreeForm;
