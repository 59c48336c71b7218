//! The index cache: the index files of the crates that a mirror holds, byte for byte as upstream has them. The server
//! reads them here.
//!
//! `.mirror/index.sqlite` is a database of its own, so that it outlives the catalogue. It has a row for each index
//! file, with its text as one zstd frame. The catalogue records the [`CacheState`] that its cursor belongs to. From
//! that, a run notices a cache that was lost, exchanged or restored from a copy; so neither file need be durable before
//! the other.

mod database;
mod digest;
mod packer;
mod reader;
mod state;
mod takeover;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use database::index_cache_in;
pub use digest::TextDigest;
pub use packer::{LinePacker, PackedLines};
pub use reader::IndexCacheReader;
pub use state::CacheState;
pub use writer::{IndexCacheReport, IndexCacheWriter};
