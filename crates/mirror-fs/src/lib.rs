#![doc = include_str!("../README.md")]
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
mod space;
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
pub use space::{DiskSpace, disk_space};
pub use sync::{SyncMode, sync, sync_dir};
