//! The events of an extraction, and the trait that receives them.

use mirror_bundle::BundleFault;
use mirror_store::StoreError;

/// Watches an extraction: counts, logs, draws. `()` does nothing of it.
pub trait ExtractObserver: Send + Sync {
    /// Receives an event. Called by several threads at a time, once for each member that is not written: it must not
    /// block.
    fn event(&self, event: ExtractEvent<'_>) {
        let _ = event;
    }
}

impl ExtractObserver for () {}

/// One event of an extraction. A listing is no extraction and has no events.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ExtractEvent<'a> {
    /// So many more members will be read.
    Selected(u64),
    /// No more members will be selected.
    Planned,
    /// A bundle has no manifest, against which its members could be checked.
    NoManifest {
        /// Its name.
        bundle: &'a str,
    },
    /// A bundle that is still written ends in a frame that is not whole; what stands before it is used.
    PartialEnd {
        /// Its name.
        bundle: &'a str,
        /// The fault of the frame.
        fault: &'a BundleFault,
    },
    /// A bundle has a fault; nothing more of it is used.
    BundleFailed(&'a StoreError),
    /// So many releases were written and are durable.
    Extracted {
        /// The number of files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A release was there already, with the same bytes.
    Existing,
    /// A member was hashed and is right.
    Verified,
    /// Something that is no file stands where a release would be written; the release was not written.
    Blocked(&'a StoreError),
    /// A release that needed a second look could not be written.
    Failed {
        /// Its path in the bundle.
        path: &'a str,
        /// Why, in one line.
        why: &'a str,
    },
}
