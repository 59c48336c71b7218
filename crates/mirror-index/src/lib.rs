#![doc = include_str!("../README.md")]

mod closure;
mod dir;
mod error;
mod features;
mod glance;
mod lockfile;
pub mod oversize;
mod paths;
mod record;
mod selection;
pub mod sparse;
mod target;

pub use closure::{Closure, ClosureCounts, ClosureLimits, ClosureOptions, ClosureReport};
pub use dir::DirIndex;
pub use error::{DirError, LockError, SelectionError};
pub use glance::Glance;
pub use lockfile::{LockSet, LockSources};
pub use mirror_index_line::{Dependency, IndexLine, InvalidLine, LineError, Requirements, lines, records};
pub use oversize::MAX_FILE_BYTES;
pub use paths::{holds_index_files, is_index_file};
pub use record::{FileChecker, IndexFile, IndexLimits, LineFault, Visit, parse_file};
pub use selection::{NameSet, Selected, Selection, Shard, canonical_glob};
pub use target::Target;
