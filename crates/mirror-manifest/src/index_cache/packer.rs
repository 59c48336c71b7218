use std::io;

use zstd::bulk::Compressor;

use super::digest::TextDigest;

const LEVEL: i32 = 3;

/// The packed lines of one index file, to be stored in the index cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLines {
    /// The file's path in the index.
    pub path: String,
    /// The digest of its text.
    pub digest: TextDigest,
    /// The length of its text, bytes.
    pub size: u64,
    pub(super) frame: Vec<u8>,
}

impl PackedLines {
    /// Returns the number of bytes that it takes in the index cache.
    #[must_use]
    pub fn packed_bytes(&self) -> u64 {
        self.frame.len() as u64
    }
}

/// Packs lines; one for each thread.
pub struct LinePacker(Compressor<'static>);

impl std::fmt::Debug for LinePacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "zstd at level {LEVEL}")
    }
}

impl LinePacker {
    /// Makes a packer.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new() -> io::Result<Self> {
        Compressor::new(LEVEL).map(Self)
    }

    /// Packs the text of the index file at `path`, given its digest.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn pack(&mut self, path: &str, digest: TextDigest, text: &[u8]) -> io::Result<PackedLines> {
        let frame = self.0.compress(text)?;
        Ok(PackedLines { path: path.to_owned(), digest, size: text.len() as u64, frame })
    }
}
