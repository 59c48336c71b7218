//! Stores for the bytes of releases, as one trait.

mod bundles;
mod crate_store;
mod loose;
mod memory;

pub use bundles::BundleStore;
pub use crate_store::{
    Aside, CrateBody, CrateStore, Hashed, Listed, NewCrate, OpenCrate, Removal, StagedCrate, StoreBatch,
};
pub use loose::LooseStore;
pub use memory::MemoryStore;
