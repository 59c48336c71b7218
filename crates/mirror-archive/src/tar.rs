//! Tar in the form of POSIX.1-2001: ustar headers, and PAX records for what they cannot hold.

mod read;
mod write;

pub(crate) use read::Unpacker;
pub(crate) use write::{Packed, Packer};
