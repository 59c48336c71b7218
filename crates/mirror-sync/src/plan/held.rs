use std::collections::{HashMap, HashSet};

use mirror_manifest::{DeferredGroup, HeldBackRelease, LicenceRow, ReplacedRelease, UpstreamRemoval};
use mirror_types::{CrateName, Locations, ReleaseId, Sha256};

use crate::error::SyncError;

/// A held release, as a plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldRow {
    pub(crate) sha256: Sha256,
    pub(crate) bytes: u64,
    pub(crate) locations: Locations,
    pub(crate) seen: SeenIn,
    /// True if the catalogue lists the release. A file without a record may hold its bytes.
    pub(crate) recorded: bool,
}

/// The sources in which a held release was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeenIn {
    /// In the index that is planned.
    Here,
    /// Only in others.
    Elsewhere,
    /// No source was recorded.
    Unknown,
}

/// A release, or a whole crate, in the failure ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedRelease {
    /// `None` for a whole crate, whose index file could not be fetched.
    pub(crate) id: Option<ReleaseId>,
    /// True if the release is there because its file was gone.
    pub(crate) lost: bool,
}

/// A plan's view of what is held, what upstream is known to have removed, and what is in the failure ledger. Blocks.
pub(crate) trait HeldView: Send {
    /// Returns the held versions of a crate.
    fn versions(&self, name: &CrateName) -> Result<HashMap<String, HeldRow>, SyncError>;
    /// Visits the names of all crates with held releases.
    fn crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), SyncError>;
    /// Returns the held crates whose index file is called `file`, ignoring case.
    fn crates_of_file(&self, file: &str) -> Result<Vec<String>, SyncError>;
    /// Returns the releases that are known to be removed upstream, held or not.
    fn removed_upstream(&self) -> Result<HashMap<ReleaseId, UpstreamRemoval>, SyncError>;
    /// Returns the crates in the failure ledger.
    fn failed_crates(&self) -> Result<HashSet<String>, SyncError>;
    /// Returns the ledger's entries of a crate.
    fn failures_of(&self, name: &CrateName) -> Result<Vec<FailedRelease>, SyncError>;
    /// Returns the crates with releases that are deferred until a date, or because their bytes replace others.
    fn deferred_crates(&self) -> Result<Vec<String>, SyncError>;
    /// Returns these releases of a crate.
    fn deferred_of(&self, name: &CrateName) -> Result<Vec<HeldBackRelease>, SyncError>;
    /// Visits the names of all crates with releases that are deferred without a date; a name may come several times.
    fn grouped_crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), SyncError>;
    /// Returns the crates with such releases whose index file is called `file`, ignoring case.
    fn grouped_crates_of_file(&self, file: &str) -> Result<Vec<String>, SyncError>;
    /// Returns these releases of a crate, by reason.
    fn deferred_groups_of(&self, name: &CrateName) -> Result<Vec<DeferredGroup>, SyncError>;
    /// Returns the releases of a crate whose bytes replace others.
    fn replaced_of(&self, name: &CrateName) -> Result<Vec<ReplacedRelease>, SyncError>;
    /// Returns the licences of the held releases of a crate, as far as they were read.
    fn licences_of(&self, name: &CrateName) -> Result<Vec<LicenceRow>, SyncError>;
    /// Returns whether a file without a record lies at the path of a release.
    fn has_unrecorded(&mut self, id: &ReleaseId) -> Result<bool, SyncError>;
}
