//! The git index: its records are read through the objects of a repository, bare or checked out, and it is cloned and
//! updated. [`IndexSource`] is any local index, one of these or a plain directory of `mirror-index`.
//!
//! The one crate that knows gix, whose types stay inside. Blocking code; only [`update_index`] speaks with a network or
//! writes.

mod error;
mod read;
mod repository;
mod source;
mod update;

pub use error::IndexError;
pub use mirror_index::sparse::{ConfigError, DlTemplate};
pub use mirror_index::{DirError, DirIndex, Glance, IndexFile, Visit};
pub use mirror_types::Address;
pub use read::GitIndex;
pub use source::{BlobId, Change, IndexSource};
pub use update::{
    History, ProxyRule, QuietWatch, UpdateError, UpdateEvent, UpdateOptions, UpdatePhase, UpdateStatus,
    UpdateWatch, Updated, update_index,
};
