//! The ground under everything that is written: files without links in their way, atomic replacement, syncs, locks,
//! logs that only grow, reads by position. Blocking code.
//!
//! An attacker who can put a link where a program keeps its state decides what that program reads, cuts and overwrites.
//! So nothing that opens or makes a file here follows a link at the end of a path, waits for the far end of a pipe, or
//! takes a directory for a file: all of these are [`NotPlain`]. The directories above belong to the caller, who checks
//! them once, from the root of what is his own downward.
//!
//! What a commit consists of goes through [`Fs`], so that tests can stop between any two steps: see `sim` (feature
//! `simulator`).
#![expect(clippy::disallowed_methods, reason = "this crate opens, makes and removes files for all others")]

mod append;
mod file;
mod fs;
mod lock;
mod open;
mod patient;
mod read;
#[cfg(any(test, feature = "simulator"))]
pub mod sim;
mod sync;

pub use append::{AppendLog, FileError};
pub use file::{
    TempFile, create_anew, create_new, create_whole, hard_link, remove, remove_tree, rename, replace,
    replace_unsynced,
};
pub use fs::{Fs, LocalFs};
pub use lock::{FileLock, LockFault, is_at, try_lock};
pub use open::{
    NotPlain, in_the_way, is_file, make_dir, make_dir_all, make_dirs, make_root, not_plain, open,
    open_at_once, open_or_create, open_to_read,
};
pub use patient::patient;
pub use read::{FileReader, ReadAt, ReadPart, SequentialReader, read_exact_at, write_all_at};
pub use sync::{SyncMode, sync, sync_dir};
