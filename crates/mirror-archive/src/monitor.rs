use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::error::ArchiveError;

/// Shared with the caller: how far a run is, and whether it should stop.
#[derive(Debug, Default)]
pub struct Monitor {
    cancelled: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
    total_files: AtomicU64,
    total_bytes: AtomicU64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Files that are through.
    pub files: u64,
    /// Bytes that are through.
    pub bytes: u64,
    /// Files in all; 0 as long as that is not known.
    pub total_files: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl Monitor {
    /// Nothing done yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to stop; it ends with [`ArchiveError::Interrupted`] and publishes nothing.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// Returns how far it is.
    #[must_use]
    pub fn done(&self) -> Done {
        Done {
            files: self.files.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            total_files: self.total_files.load(Relaxed),
            total_bytes: self.total_bytes.load(Relaxed),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        if self.cancelled.load(Relaxed) { Err(ArchiveError::Interrupted) } else { Ok(()) }
    }

    pub(crate) fn expect(&self, files: u64, bytes: u64) {
        self.total_files.store(files, Relaxed);
        self.total_bytes.store(bytes, Relaxed);
    }

    pub(crate) fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
