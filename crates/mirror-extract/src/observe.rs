//! The events of an extraction, and the trait that receives them.

use mirror_bundle::BundleFault;
use mirror_store::StoreError;

/// Receives the events of an extraction: to count, log or draw them. `()` ignores them all.
pub trait ExtractObserver: Send + Sync {
    /// Receives an event. Called by several threads at a time, once for each member that is not written: it must not
    /// block.
    fn event(&self, event: ExtractEvent<'_>) {
        let _ = event;
    }
}

impl ExtractObserver for () {}

/// One event of an extraction. A listing has no events.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ExtractEvent<'a> {
    /// This many more members will be read.
    Selected(u64),
    /// No more members will be selected.
    Planned,
    /// A bundle has no manifest with which its members could be compared.
    NoManifest {
        /// Its name.
        bundle: &'a str,
    },
    /// A partial bundle ends in an incomplete frame; the members before it are used.
    PartialEnd {
        /// Its name.
        bundle: &'a str,
        /// The fault of the frame.
        fault: &'a BundleFault,
    },
    /// A bundle has a fault; the rest of it is not used.
    BundleFailed(&'a StoreError),
    /// Releases were written and are durable.
    Extracted {
        /// The number of files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A release was there already, with the same bytes.
    Existing,
    /// A member was hashed and has the right checksum.
    Verified,
    /// An object other than a file is in the place of a release, which was not written.
    Blocked(&'a StoreError),
    /// A release that had to be rechecked could not be written.
    Failed {
        /// Its path in the bundle.
        path: &'a str,
        /// The reason, in one line.
        why: &'a str,
    },
}
