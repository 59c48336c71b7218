use std::collections::{HashMap, HashSet};

use mirror_manifest::{DeferredRelease, UpstreamRemoval};
use mirror_types::{CrateName, Locations, ReleaseId, Sha256};

use crate::error::SyncError;

/// A held release, as a plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldRow {
    pub(crate) sha256: Sha256,
    pub(crate) bytes: u64,
    pub(crate) locations: Locations,
    pub(crate) seen: SeenIn,
    /// True if the catalogue says so. A file that lies there and is in no record may be it.
    pub(crate) recorded: bool,
}

/// The sources in which a held release was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeenIn {
    /// In the index that is planned.
    Here,
    /// Only in others.
    Elsewhere,
    /// Nobody recorded that.
    Unknown,
}

/// A release, or a whole crate, in the failure ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedRelease {
    /// `None` when nothing was known of the crate, because its index file could not be fetched.
    pub(crate) id: Option<ReleaseId>,
    /// True if it is there because it was gone.
    pub(crate) lost: bool,
}

/// A view for a plan of what is held, known to be removed upstream, and in the failure ledger. Blocks.
pub(crate) trait HeldView: Send {
    /// Returns the held versions of a crate.
    fn versions(&self, name: &CrateName) -> Result<HashMap<String, HeldRow>, SyncError>;
    /// Names all crates of which something is held.
    fn crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), SyncError>;
    /// Names the held crates whose index file is called `file` by whatever case.
    fn crates_of_file(&self, file: &str) -> Result<Vec<String>, SyncError>;
    /// Returns the held releases that are known to be removed upstream.
    fn removed_upstream(&self) -> Result<HashMap<ReleaseId, UpstreamRemoval>, SyncError>;
    /// Names the crates in the failure ledger.
    fn failed_crates(&self) -> Result<HashSet<String>, SyncError>;
    /// Returns what is in the failure ledger of a crate.
    fn failures_of(&self, name: &CrateName) -> Result<Vec<FailedRelease>, SyncError>;
    /// Names the crates of which releases are deferred.
    fn deferred_crates(&self) -> Result<Vec<String>, SyncError>;
    /// Returns the deferred releases of a crate.
    fn deferred_of(&self, name: &CrateName) -> Result<Vec<DeferredRelease>, SyncError>;
    /// Returns whether a file lies where a release that is in no record would.
    fn has_unrecorded(&mut self, id: &ReleaseId) -> Result<bool, SyncError>;
}
