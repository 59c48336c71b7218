use std::sync::Arc;

use mirror_index::sparse::DlTemplate;
use mirror_manifest::{DeferredGroup, HeldBackRelease, PackedLines};
use mirror_types::{CrateName, ReleaseId, Sha256};
use url::Url;

use super::held::HeldRow;
use super::totals::Totals;
use crate::error::SyncError;
use crate::list::readable;

/// One thing that a plan decides. Each selected release leads to exactly one of the first five.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Selected and held; nothing to do. `audit`: what the manifest records of it, when the run is to record that.
    Existing { id: ReleaseId, bytes: u64, audit: Option<Box<Audited>> },
    /// Selected and held: the bytes are to be hashed before the release counts as held, and fetched if they are wrong.
    Verify { job: Box<Job>, held: HeldRow },
    /// Selected, and not held with the bytes that the index lists.
    Fetch(Box<Job>),
    /// Selected, and nothing can be fetched for it.
    Fail { id: ReleaseId, cksum: Option<Sha256>, url: String, fault: PlanFault },
    /// Selected, not held with the bytes that the index lists, and held back by policy. `known`: the list of deferred
    /// releases has it already, or gets it with the group of its crate.
    Deferred { release: Box<HeldBackRelease>, known: bool },
    /// A crate that was named is not known; counts as one selected release.
    FailCrate { name: CrateName, fault: PlanFault },
    /// Releases that need not be looked at: an earlier run selected and held them.
    Unchanged(Totals),
    /// Yanked releases that are left out.
    YankedSkipped(u64),
    /// Releases that are left out because nothing says when they were published.
    Undated(u64),
    /// The index file of a crate in the failure ledger could be read.
    CrateRead(CrateName),
    /// A release in the failure ledger is held after all.
    Resolved(ReleaseId),
    /// A release in the failure ledger is not wanted any more.
    Dropped(ReleaseId),
    /// The deferred releases of a crate that have no date, by reason, are others than those of the list.
    DeferredGroups { name: CrateName, groups: Vec<DeferredGroup> },
    /// A deferred release is to leave the list: it is held, not wanted, or gone.
    Undeferred(ReleaseId),
    /// The index lists a held release that was never seen in it.
    Seen(ReleaseId),
    /// The index lists a held release as yanked.
    Yanked(ReleaseId),
    /// A release is yanked that is selected and not held yet.
    YankedBefore(ReleaseId),
    /// The index lists a held release that is not yanked any more.
    Unyanked(ReleaseId),
    /// The index lists a held release again that upstream had deleted.
    Reinstated(ReleaseId),
    /// The index does not list a held release any more.
    Removed(ReleaseId),
    /// The lines of an index file that the mirror does not keep yet. `removes`: held releases are not in them any more.
    IndexFile { lines: Box<PackedLines>, removes: bool },
    /// An index file has `bad` bad lines, the first of which are reported.
    BadFile { path: String, bad: u64, first: Vec<String> },
    /// A bad line of a list, or of an index file in a closure.
    BadLine(String),
}

/// A held release of which nothing but a record is to be written.
#[derive(Debug)]
pub(crate) struct Audited {
    pub(crate) id: ReleaseId,
    /// The checksum of the source, when it has one.
    pub(crate) cksum: Option<Sha256>,
    /// Its address in the form for records.
    pub(crate) url: String,
    pub(crate) held: HeldRow,
}

/// A release that is to be fetched or hashed.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: ReleaseId,
    /// The checksum that the bytes must have; `None` when no source has one.
    pub(crate) cksum: Option<Sha256>,
    pub(crate) from: DownloadAddress,
    /// The hash of other bytes that are held under its name and were republished upstream.
    pub(crate) replaces: Option<Sha256>,
    /// Bytes held under its name.
    pub(crate) held_bytes: Option<u64>,
    /// Bytes of the largest held release of its crate; 0 when none is.
    pub(crate) largest_held_bytes: u64,
}

/// The address of a release, made only on demand: most releases are held and need none.
#[derive(Debug, Clone)]
pub(crate) enum DownloadAddress {
    Template(Arc<DlTemplate>, Sha256),
    Given(Url),
}

impl DownloadAddress {
    pub(crate) fn url(&self, id: &ReleaseId) -> Result<Url, SyncError> {
        match self {
            Self::Given(url) => Ok(url.clone()),
            Self::Template(template, cksum) => Ok(template.url(id, cksum)?),
        }
    }

    /// Returns the address in the form for people and records.
    pub(crate) fn readable(&self, id: &ReleaseId) -> String {
        match self {
            Self::Given(url) => readable(url.as_str()),
            Self::Template(template, cksum) => template.readable(id, cksum),
        }
    }
}

/// The reason why nothing is fetched for a selected release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanFault {
    #[error(
        "Cargo.lock says its checksum is {lock}, the index says {index}; one of them is wrong, so it was not fetched. \
         Run `cargo update -p {name}` or look at where the lockfile comes from"
    )]
    LockConflict { name: CrateName, lock: Sha256, index: Sha256 },
    #[error("the list of checksums says {given}, the index says {index}; it was not fetched")]
    ChecksumsConflict { given: Sha256, index: Sha256 },
    #[error("no checksum is given for its URL, so it was not fetched")]
    NoChecksum,
    #[error("its index file could not be read: {0}")]
    IndexUnread(String),
    #[error("the index has no such crate; check how it is spelled")]
    NoCrate,
    #[error("no version of {name} in the index satisfies {requirement}; check what was asked for")]
    NoVersion { name: CrateName, requirement: String },
    #[error("the mirror has no index lines of it, and this run is offline")]
    NoCrateOffline,
    #[error("the lockfile names it, the index does not have it")]
    NoRelease,
    #[error("the lockfile names it, the mirror has no index line of it, and this run is offline")]
    NoReleaseOffline,
}

impl PlanFault {
    /// Returns the name of the fault in the failure ledger.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::LockConflict { .. } | Self::ChecksumsConflict { .. } => "checksum-conflict",
            Self::NoChecksum => "no-checksum",
            Self::IndexUnread(_) => "index",
            Self::NoCrate
            | Self::NoVersion { .. }
            | Self::NoCrateOffline
            | Self::NoRelease
            | Self::NoReleaseOffline => "not-in-index",
        }
    }
}
