#![doc = include_str!("../README.md")]

mod commit;
mod error;
mod read;
mod repository;
mod source;
#[cfg(feature = "update")]
mod update;

pub use commit::{CommitEntry, CommitError, CommitFiles, EntrySort};
pub use error::IndexError;
pub use mirror_index::sparse::{ConfigError, DlTemplate};
pub use mirror_index::{DirError, DirIndex, Glance, IndexFile, Visit};
pub use mirror_types::Address;
pub use read::GitIndex;
pub use source::{BlobId, Change, IndexSource};
#[cfg(feature = "update")]
pub use update::{
    History, ProxyRule, QuietObserver, UpdateError, UpdateEvent, UpdateObserver, UpdateOptions, UpdatePhase,
    UpdateStatus, Updated, update_index,
};
