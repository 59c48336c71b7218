use std::path::{Path, PathBuf};
use std::time::Duration;

use mirror_types::{Address, ExitStatus};

use super::error::GenerateError;

/// A function that returns true when the run is to stop.
pub type Stopped<'a> = dyn Fn() -> bool + Sync + 'a;

/// The source of the lines.
#[derive(Debug, Clone)]
pub enum SidecarSource {
    /// A local index: a checkout, a bare repository or a plain directory.
    Local(PathBuf),
    /// The mirror's cache of a sparse registry, without any request: the mirror, and the root of the registry when it
    /// keeps several.
    SparseCache {
        /// The mirror root.
        mirror: PathBuf,
        /// The registry, without the `sparse+` prefix.
        registry: Option<Address>,
    },
}

/// The form of the output.
#[derive(Debug, Clone)]
pub enum SidecarMode {
    /// A file for each release, beside its crate.
    Files {
        /// The mirror root.
        out: PathBuf,
    },
    /// One line for each release.
    Jsonl {
        /// The file.
        path: PathBuf,
        /// The mirror whose layout `crate_path` follows, if it exists.
        layout_of: PathBuf,
    },
    /// One `.tar.zst` with the files of [`SidecarMode::Files`].
    Tar {
        /// The file.
        path: PathBuf,
        /// The mirror whose layout the files follow, if it exists.
        layout_of: PathBuf,
    },
}

impl SidecarMode {
    /// Returns the root of the mirror that the sidecars are of.
    pub(super) fn mirror(&self) -> &Path {
        match self {
            Self::Files { out: mirror }
            | Self::Jsonl { layout_of: mirror, .. }
            | Self::Tar { layout_of: mirror, .. } => mirror,
        }
    }
}

/// The settings of a run, resolved from flags by the caller.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SidecarOptions {
    /// The source of the lines.
    pub source: SidecarSource,
    /// The form of the output.
    pub mode: SidecarMode,
    /// A downloader's manifest, of schema 1 or 2, with the places of releases.
    pub manifest: Option<PathBuf>,
    /// Also yanked releases.
    pub include_yanked: bool,
    /// First N records of the index only; 0 means all.
    pub limit: u64,
    /// Most threads.
    pub concurrency: usize,
    /// Base of download URLs; `None` takes the sparse registry's own `dl`, or the product's default.
    pub crates_base_url: Option<Address>,
    /// Update existing sidecars.
    pub refresh: bool,
    /// Only releases that the mirror offers, with the checksum of the index.
    pub offered: bool,
    /// Also the licence of each release, as far as the catalogue of the mirror has it.
    pub with_licence: bool,
}

impl SidecarOptions {
    /// Writes the sidecar of every release that is not yanked, in the form of `mode`. An existing sidecar stays as it
    /// is.
    #[must_use]
    pub fn new(source: SidecarSource, mode: SidecarMode) -> Self {
        Self {
            source,
            mode,
            manifest: None,
            include_yanked: false,
            limit: 0,
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            crates_base_url: None,
            refresh: false,
            offered: false,
            with_licence: false,
        }
    }
}

/// The releases that a manifest lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestRead {
    /// Records that were read.
    pub records: u64,
    /// Releases with a known place.
    pub releases: u64,
    /// Lines that are no records.
    pub bad_lines: u64,
    /// The first of these lines, with their numbers.
    pub first_bad_lines: Vec<String>,
    /// True if it ends in a torn line, as the manifest of an unfinished run may.
    pub torn: bool,
}

/// The outcome of a run. `selected` is the sum of `written`, `existing` and `refreshed`, unless the run was stopped.
#[derive(Debug, Clone, Default)]
pub struct SidecarOutcome {
    /// Records that were selected.
    pub selected: u64,
    /// New sidecars; for a JSONL or a tar, all that are in it.
    pub written: u64,
    /// Existing sidecars that stay as they are.
    pub existing: u64,
    /// Existing sidecars that were rewritten.
    pub refreshed: u64,
    /// Existing sidecars of yanked releases, not selected, that were rewritten.
    pub yanked_refreshed: u64,
    /// Yanked releases left out.
    pub yanked_skipped: u64,
    /// Releases left out because the mirror does not offer them.
    pub not_offered: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bad lines of the index.
    pub bad_lines: u64,
    /// The first of these lines.
    pub first_bad_lines: Vec<String>,
    /// The findings in the manifest.
    pub manifest: Option<ManifestRead>,
    /// Files of the index that were read, when the run did not read all.
    pub news: Option<u64>,
    /// Time taken.
    pub elapsed: Duration,
    /// True if the run was stopped before the end.
    pub interrupted: bool,
}

impl SidecarOutcome {
    /// Returns the exit status for this outcome.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        if self.interrupted {
            ExitStatus::Interrupted
        } else if self.bad_lines > 0 || self.manifest.as_ref().is_some_and(|read| read.bad_lines > 0) {
            ExitStatus::Records
        } else {
            ExitStatus::Complete
        }
    }

    /// Checks that a run that was not stopped has an answer for every selected record.
    pub(super) fn check(&self) -> Result<(), GenerateError> {
        let counted = self.written + self.existing + self.refreshed;
        if self.interrupted || counted == self.selected {
            return Ok(());
        }
        Err(GenerateError::Internal(format!(
            "{} records were selected, {counted} sidecars came of them",
            self.selected
        )))
    }
}
