use std::path::PathBuf;
use std::time::Duration;

use mirror_bundle::BundleLimits;
use mirror_types::{CrateName, ExitStatus, FailedRecord, KEPT_FAILURES, ReleaseId, VersionText};

/// The task for the bundles.
#[derive(Debug, Clone)]
pub enum ExtractTask {
    /// Make a loose mirror of them.
    Extract {
        /// Its root.
        out: PathBuf,
        /// True if files that are there already are replaced.
        overwrite: bool,
    },
    /// Hash every member against the bundle's manifest; write nothing.
    Verify,
    /// Tell what is in them; write nothing.
    List,
}

/// One crate, or one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The crate.
    pub name: CrateName,
    /// Its version; `None` is all of them.
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

/// Options of [`extract`](crate::extract): on what it works, and how.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// The directory of the bundles.
    pub bundles_dir: PathBuf,
    /// Glob of their names; one that still grows is taken by its name without `.partial`.
    pub pattern: String,
    /// Only this.
    pub only: Option<Wanted>,
    /// The task.
    pub task: ExtractTask,
    /// Threads; 0 means one for each processor.
    pub concurrency: usize,
    /// The limits of the reader.
    pub limits: BundleLimits,
}

impl ExtractOptions {
    /// Does this with all bundles in a directory, on a thread for each processor.
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
    /// Members that were read and wanted.
    pub members: u64,
    /// Written, durable.
    pub extracted: u64,
    /// There already, with the same bytes; or listed only.
    pub existing: u64,
    /// Hashed and as the manifest says.
    pub verified: u64,
    /// Replaced by a later bundle, which has other bytes for the same path.
    pub superseded: u64,
    /// Not as they should be.
    pub failed: u64,
    /// Of these, members in whose place a file with other bytes stands.
    pub in_the_way: u64,
    /// Bundles in which a fault was found, or which do not have what their manifest lists.
    pub bad_bundles: u64,
    /// Members that no manifest lists, because the bundle has none.
    pub unlisted: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// The first faults.
    pub first_failures: Vec<FailedRecord>,
    /// Set when what was wanted alone is in no bundle.
    pub not_found: bool,
    /// Time taken.
    pub elapsed: Duration,
    /// Stopped before the end.
    pub interrupted: bool,
}

impl ExtractOutcome {
    /// Returns how a run ends that came to this end.
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
