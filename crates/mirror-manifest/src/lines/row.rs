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
