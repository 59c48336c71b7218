use std::path::PathBuf;
use std::time::Duration;

use mirror_bundle::BundleLimits;
use mirror_types::{CrateName, ExitStatus, FailedRecord, KEPT_FAILURES, ReleaseId, VersionText};

/// The task to do with the bundles.
#[derive(Debug, Clone)]
pub enum ExtractTask {
    /// Make a loose mirror of them.
    Extract {
        /// Its root.
        out: PathBuf,
        /// True if existing files are replaced.
        overwrite: bool,
    },
    /// Hash every member against the bundle's manifest; write nothing.
    Verify,
    /// List their members; write nothing.
    List,
}

/// One crate, or one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The crate.
    pub name: CrateName,
    /// Its version; `None` means all of them.
    pub version: Option<VersionText>,
}

impl Wanted {
    pub(crate) fn takes(&self, id: &ReleaseId) -> bool {
        id.name == self.name && self.version.as_ref().is_none_or(|version| *version == id.version)
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// The options of [`extract`](crate::extract).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExtractOptions {
    /// The directory of the bundles.
    pub bundles_dir: PathBuf,
    /// A glob for their names; a partial bundle is matched by its name without `.partial`.
    pub pattern: String,
    /// Only this crate or release.
    pub only: Option<Wanted>,
    /// The task.
    pub task: ExtractTask,
    /// Threads; 0 means one for each processor.
    pub concurrency: usize,
    /// The limits of the reader.
    pub limits: BundleLimits,
}

impl ExtractOptions {
    /// Makes options for all bundles in a directory, with a thread for each processor.
    #[must_use]
    pub fn new(bundles_dir: PathBuf, task: ExtractTask) -> Self {
        Self {
            bundles_dir,
            pattern: "*.tar.zst".to_owned(),
            only: None,
            task,
            concurrency: 0,
            limits: BundleLimits::default(),
        }
    }
}

/// The result of an extraction. `members` is the sum of `extracted`, `existing`, `verified`, `superseded` and `failed`,
/// unless it was stopped.
#[derive(Debug, Clone, Default)]
pub struct ExtractOutcome {
    /// Bundles that were read.
    pub bundles: u64,
    /// Wanted members that were read.
    pub members: u64,
    /// Written and durable.
    pub extracted: u64,
    /// Held already, with the same bytes; or only listed.
    pub existing: u64,
    /// Hashed, and matching the manifest.
    pub verified: u64,
    /// Replaced by a later bundle, which has other bytes for the same path.
    pub superseded: u64,
    /// Damaged, or not written.
    pub failed: u64,
    /// Of these, members in whose place there is a file with other bytes.
    pub in_the_way: u64,
    /// Bundles with a fault, or without a member that their manifest lists.
    pub bad_bundles: u64,
    /// Members that no manifest lists, because the bundle has none.
    pub unlisted: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// The first faults.
    pub first_failures: Vec<FailedRecord>,
    /// True if the one wanted crate or release is in no bundle.
    pub not_found: bool,
    /// Time taken.
    pub elapsed: Duration,
    /// True if it was stopped before the end.
    pub interrupted: bool,
}

impl ExtractOutcome {
    /// Returns the exit status for this outcome.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        if self.interrupted {
            ExitStatus::Interrupted
        } else if self.failed + self.bad_bundles > 0 {
            ExitStatus::Integrity
        } else if self.not_found {
            ExitStatus::Records
        } else {
            ExitStatus::Complete
        }
    }

    pub(crate) fn fail(&mut self, what: String, why: String) {
        if self.first_failures.len() < KEPT_FAILURES {
            self.first_failures.push(FailedRecord { what, why });
        }
    }
}
