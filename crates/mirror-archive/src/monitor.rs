use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::error::ArchiveError;
use crate::observe::{ArchiveEvent, ArchiveObserver};

/// A run as its caller sees it: reports progress and events, and can cancel the run.
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
    /// Finished files.
    pub files: u64,
    /// Finished bytes.
    pub bytes: u64,
    /// All files; 0 until they are counted.
    pub total_files: u64,
    /// All bytes; 0 until they are counted.
    pub total_bytes: u64,
}

impl Monitor {
    /// Makes a monitor without an observer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a monitor that passes the events of the run to `observer`.
    #[must_use]
    pub fn observed_by(observer: impl ArchiveObserver + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..Self::default() }
    }

    pub(crate) fn emit(&self, event: ArchiveEvent<'_>) {
        if let Some(observer) = &self.observer {
            observer.event(event);
        }
    }

    /// Asks the run to stop; it ends with [`ArchiveError::Interrupted`] and publishes nothing.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// Returns the progress so far.
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
