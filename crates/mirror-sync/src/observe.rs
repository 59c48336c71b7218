//! The events of a run, and the trait that receives them.

use std::path::Path;
use std::time::SystemTime;

use mirror_fetch::FetchObserver;
use mirror_git::{UpdateError, UpdateEvent, UpdateStatus, Updated};
use mirror_manifest::{HeldBackCount, ManifestError, UpstreamRemoval};
use mirror_policy::Advisories;
use mirror_repo::OpenReport;
use mirror_repo::RepoError;
use mirror_types::{CrateName, Location, ReleaseId, Sha256};

/// Receives the events of a run: to count, log or draw them. `()` ignores them all.
pub trait SyncObserver: FetchObserver {
    /// Receives an event. Called by several threads at a time, up to some hundred thousand times a second: it must not
    /// block.
    fn event(&self, event: SyncEvent<'_>) {
        let _ = event;
    }
}

impl SyncObserver for () {}

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPhase {
    /// Cloning or updating the index, or the advisory database.
    UpdateIndex,
    /// Opening the mirror and the index.
    Open,
    /// Fetching what is missing.
    Download,
    /// Hashing what is held, and fetching what is missing.
    Verify,
    /// Committing the rest.
    Finish,
    /// The run is over.
    Done,
}

/// One thing that happened in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum SyncEvent<'a> {
    /// Another phase begins.
    Phase(SyncPhase),

    /// The index is not updated: this is a dry run.
    IndexLeft,
    /// Something happened while the index in `dir` was updated.
    IndexUpdate {
        /// The index.
        dir: &'a Path,
        /// The event.
        event: &'a UpdateEvent,
    },
    /// The progress of an update, of the index or of the advisory database; `None` when it is over.
    IndexUpdating(Option<&'a UpdateStatus>),
    /// The index was updated.
    IndexUpdated(&'a Updated),
    /// A local index was opened.
    IndexOpened {
        /// Its path.
        dir: &'a Path,
        /// A description of it for people.
        what: &'a str,
    },

    /// The advisory database is not updated: this is a dry run, or the database is a plain directory.
    AdvisoriesLeft {
        /// The database.
        dir: &'a Path,
        /// True if the reason is the dry run.
        is_dry_run: bool,
    },
    /// Something happened while the advisory database was updated.
    AdvisoriesUpdate {
        /// The database.
        dir: &'a Path,
        /// The event.
        event: &'a UpdateEvent,
    },
    /// The advisory database was updated.
    AdvisoriesUpdated(&'a Updated),
    /// The advisory database could not be updated; the run uses it as it is.
    AdvisoriesOutdated {
        /// The database.
        dir: &'a Path,
        /// The reason.
        error: &'a UpdateError,
    },
    /// The advisory database was read.
    AdvisoriesRead {
        /// The database.
        dir: &'a Path,
        /// Its advisories.
        advisories: &'a Advisories,
        /// The moment by which the run decides.
        now: SystemTime,
    },

    /// The index is the one that an earlier run went through.
    IndexUnchanged,
    /// The index differs from the one that an earlier run went through in so many files.
    IndexChanged {
        /// Files that differ.
        files: usize,
    },

    /// The mirror was opened, or could not be.
    Opened(&'a OpenReport),
    /// A catalogue is rebuilt without the old record of which index listed what: the next run records it anew.
    SourcesUnknown(&'a ManifestError),

    /// Policy has judged what is held: when a run begins, and when it ends.
    Judged {
        /// Releases that policy holds back, by rule.
        held_back: &'a [HeldBackCount],
        /// Offered releases with an advisory that is only reported; `None` where there are no advisories.
        reported: Option<u64>,
    },

    /// The number of releases that will be selected.
    Expected(u64),
    /// This many more releases are selected.
    Selected(u64),
    /// This many more selected releases are held, and need not be looked at.
    Existing(u64),
    /// This many more selected releases are not fetched yet, because policy holds them back.
    Deferred(u64),
    /// Everything is planned.
    Planned,
    /// A line of an index file or of a list cannot be read.
    BadLine(&'a str),
    /// More lines of an index file cannot be read than were reported one by one.
    MoreBadLines {
        /// The file, by its path in the index.
        path: &'a str,
        /// The number of further lines.
        lines: u64,
    },
    /// Upstream has replaced the bytes of a held release.
    Republished {
        /// The release.
        release: &'a ReleaseId,
        /// The hash of the bytes that are held.
        held: Sha256,
    },
    /// In a dry run: nothing could be fetched for a release.
    WouldFail {
        /// The release.
        release: &'a ReleaseId,
        /// The reason, in one line.
        why: &'a str,
    },
    /// In a dry run: nothing is known of a crate that was named.
    WouldFailCrate {
        /// The crate.
        name: &'a CrateName,
        /// The reason, in one line.
        why: &'a str,
    },

    /// A release was downloaded and is durable.
    Downloaded {
        /// Its size.
        bytes: u64,
    },
    /// A held release was hashed and has the right checksum.
    Verified,
    /// A store holds damaged or other bytes of a release. They were set aside where the store can do that; the release
    /// is fetched again unless another store holds it.
    Wrong {
        /// The release.
        release: &'a ReleaseId,
        /// The place where it is held.
        at: &'a Location,
        /// The checksum that its bytes must have; `None` when they cannot be read as a release.
        sha256: Option<Sha256>,
    },
    /// A release could not be fetched.
    Failed {
        /// The release.
        release: &'a ReleaseId,
        /// The kind, as in the failure ledger.
        kind: &'a str,
        /// The reason, in one line.
        why: &'a str,
        /// True if upstream does not have the release.
        unavailable: bool,
        /// True if a person has acknowledged the gap.
        acknowledged: bool,
    },
    /// Nothing could be learned about a crate.
    CrateFailed {
        /// The crate.
        name: &'a CrateName,
        /// The kind, as in the failure ledger.
        kind: &'a str,
        /// The reason, in one line.
        why: &'a str,
    },
    /// An acknowledged gap could be fetched after all.
    GapFilled(&'a ReleaseId),

    /// Upstream removed a held release.
    RemovedUpstream {
        /// The release.
        release: &'a ReleaseId,
        /// The kind of removal.
        kind: UpstreamRemoval,
    },
    /// Upstream offers a held release again that it had deleted.
    Reinstated(&'a ReleaseId),
    /// Upstream deleted these held releases; they are not offered any more.
    Hidden(&'a [ReleaseId]),
    /// Upstream deleted so many held releases at once that they are still offered.
    MassRemovalRefused {
        /// The number of releases.
        releases: u64,
    },
    /// Nothing is pruned: the run did not go through the whole of a local index that stayed as it was.
    PruneSkipped,
    /// A release that upstream removed is to be pruned.
    Pruning(&'a ReleaseId),
    /// A release that upstream removed stays, because a bundle holds it.
    PruneKept(&'a ReleaseId),
    /// A snapshot of what is offered was taken.
    SnapshotTaken {
        /// Its serial.
        serial: u64,
        /// True if it was signed.
        is_signed: bool,
    },
    /// No snapshot was taken: more releases could not be got than one can name.
    TooManyGaps {
        /// The number of releases.
        releases: usize,
    },
    /// A snapshot was due and could not be taken or signed. Everything else of the run is done, and the next run takes
    /// one.
    SnapshotFailed(&'a crate::SyncError),
    /// The run could not be recorded in the history of the mirror. Everything else of it is done.
    HistoryFailed(&'a RepoError),
    /// The document of an earlier snapshot cannot be read; it is passed over.
    BadSnapshot(&'a RepoError),
    /// The file of a held release was gone when the run ended.
    Lost(&'a ReleaseId),
}
