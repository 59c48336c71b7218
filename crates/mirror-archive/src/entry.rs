use std::sync::OnceLock;

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// With its target, verbatim.
    Symlink(Vec<u8>),
}

/// One entry of a tree.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative, `/` between components.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// The size of a file; 0 for other entries.
    pub(crate) size_bytes: u64,
    /// Seconds since 1970, UTC.
    pub(crate) modified_s: i64,
    /// Permission bits.
    pub(crate) mode: u32,
    /// True for the metadata in a tar, which is no part of the directory.
    pub(crate) is_metadata: bool,
    /// The digests of a file, once it is hashed.
    pub(crate) digests: Digests,
}

/// The digests of a file, which two tasks compute independently.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    pub(crate) sha256: OnceLock<[u8; 32]>,
    pub(crate) blake3: OnceLock<[u8; 32]>,
}

impl Entry {
    pub(crate) fn is_file(&self) -> bool {
        self.kind == EntryKind::File
    }
}
