use std::sync::OnceLock;

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// With its target, as it is.
    Symlink(Vec<u8>),
}

/// One entry of a tree.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative, `/` between components.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Of a file.
    pub(crate) size_bytes: u64,
    /// Seconds since 1970, UTC.
    pub(crate) modified_s: i64,
    /// Permission bits.
    pub(crate) mode: u32,
    /// True if it stands beside the directory's own contents, as the metadata in a tar does.
    pub(crate) is_metadata: bool,
    /// Of a file, once it is hashed.
    pub(crate) digests: Digests,
}

/// The digests that two hashers compute of a file, each at its own pace.
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
