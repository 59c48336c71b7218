//! The lines of the index, byte for byte as upstream has them: what a mirror is served from.
//!
//! `.mirror/index.N.lines` begins with [`HEAD`]; behind it stands one zstd frame for each index file, in
//! the order in which they were read. The catalogue's table `index_files` says which frame is a file's
//! newest. A frame is durable before a row points to it, so what a crash leaves behind the last row is cut
//! by the next run. When more than half of the file is of no use any more, what is left is written into a
//! file of the next number: whoever reads the old one can go on.

mod packer;
mod reader;
mod writer;

use std::path::{Path, PathBuf};

pub use packer::{LinePacker, PackedLines};
pub use reader::LinesReader;
pub use writer::{LinesReport, LinesWriter};

/// Begins the file; the number is the version of its format.
const HEAD: &[u8] = b"mirror-index-lines 1\n";

/// The hash of an index file's text (BLAKE3, 32 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextDigest([u8; 32]);

impl TextDigest {
    /// The digest of a text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(*blake3::hash(text).as_bytes())
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where the lines of an index file are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFileRow {
    /// Its path in the index, `se/rd/serde`.
    pub path: String,
    /// Of its text.
    pub digest: TextDigest,
    /// Bytes of its text.
    pub size: u64,
    /// Offset of its frame in the file of lines, bytes.
    pub frame_offset: u64,
    /// Length of its frame, bytes.
    pub frame_len: u64,
}

fn file_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("index.{generation}.lines"))
}

/// The generation in the name of a file of lines.
fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix("index.")?.strip_suffix(".lines")?.parse().ok()
}
