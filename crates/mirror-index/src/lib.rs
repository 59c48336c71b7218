//! Records out of a registry index: a git repository (bare or checked out, through its objects), a
//! plain directory, or the responses of a sparse registry; and what of them is wanted.
//!
//! Blocking code; only [`update_index`] speaks with a network or writes. Index lines stay byte for
//! byte in [`IndexFile::data`].

mod closure;
mod dir;
mod error;
mod features;
mod git;
mod glance;
mod lockfile;
mod oversize;
mod record;
mod repository;
mod selection;
mod source;
pub mod sparse;
mod target;
mod update;

pub use closure::{Closure, ClosureLimits, ClosureOptions, ClosureReport};
pub use error::{IndexError, LockError, SelectionError};
pub use glance::Glance;
pub use lockfile::{LockSet, LockSources};
pub use mirror_index_line::lines;
pub use oversize::MAX_FILE_BYTES;
pub use record::{FileChecker, IndexFile, IndexLimits, LineFault, parse_file};
pub use selection::{NameSet, Selected, Selection, Shard};
pub use source::{BlobId, Change, IndexSource, Visit};
pub use target::Target;
pub use update::{
    History, ProxyRule, QuietWatch, UpdateError, UpdateEvent, UpdateOptions, UpdatePhase, UpdateStatus,
    UpdateWatch, Updated, update_index,
};
