//! Files and directories that only this system writes. Blocking code.
//!
//! Whoever can put a link where a program keeps its state decides what that program reads, cuts and overwrites.
//! So nothing here follows a link at the end of a path, waits for the far end of a pipe, or takes a directory for a
//! file: all of these are [`NotPlain`]. The directories above belong to the caller, who checks them once, from the
//! root of what is his own downward.
#![expect(clippy::disallowed_methods, reason = "this crate opens and makes files for those who keep state")]

mod open;

pub use open::{NotPlain, is_file, make_dir, make_dirs, not_plain, open, open_to_read};
