use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::error::ArchiveError;
use crate::observe::{ArchiveEvent, ArchiveObserver};

/// Shared with the caller: how far a run is, what happens in it, and whether it should stop.
#[derive(Default)]
pub struct Monitor {
    observer: Option<Box<dyn ArchiveObserver>>,
    cancelled: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
    total_files: AtomicU64,
    total_bytes: AtomicU64,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").field("done", &self.done()).finish_non_exhaustive()
    }
}

/// The progress of a run.
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
    /// Makes the monitor of a run that has not begun, without an observer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one of a run that has not begun, and tells `observer` what happens in it.
    #[must_use]
    pub fn observed_by(observer: impl ArchiveObserver + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..Self::default() }
    }

    pub(crate) fn tell(&self, event: ArchiveEvent<'_>) {
        if let Some(observer) = &self.observer {
            observer.event(event);
        }
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
