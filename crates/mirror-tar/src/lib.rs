#![doc = include_str!("../README.md")]

mod block;
mod error;
mod header;
mod read;
mod records;
#[cfg(test)]
mod tests;

pub use block::{BLOCK_BYTES, END, is_zero, padding};
pub use error::{HeaderFault, RecordFault};
pub use header::{Header, MODE, NAME_BYTES};
pub use read::CheckedBlock;
pub use records::{Records, records};
pub use tar::EntryType;
