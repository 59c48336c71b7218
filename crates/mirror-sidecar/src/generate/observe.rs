//! The events of a run of the generator, and the trait that receives them.

use std::path::Path;

/// Receives the events of a run: to count, log or draw them. `()` ignores them all.
pub trait SidecarObserver: Send + Sync {
    /// Receives an event. Called by several threads at a time, once or twice for each file of the index: it must not
    /// block.
    fn event(&self, event: SidecarEvent<'_>) {
        let _ = event;
    }
}

impl SidecarObserver for () {}

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SidecarPhase {
    /// Opening the index and the manifest.
    Open,
    /// Reading the index a first time, to find the offset of each line of a JSONL. Nothing is written yet.
    Measure,
    /// Writing sidecars.
    Write,
    /// The run is over.
    Done,
}

/// One thing that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SidecarEvent<'a> {
    /// Another phase begins.
    Phase(SidecarPhase),

    /// A local index was opened.
    IndexOpened {
        /// Its path.
        dir: &'a Path,
        /// A description of it for people.
        what: &'a str,
    },
    /// The mirror's cache of a sparse registry was opened.
    CacheOpened {
        /// The root of the mirror.
        mirror: &'a Path,
        /// Index files that it keeps.
        files: usize,
    },
    /// The named manifest does not exist; the one that the mirror remembers is read.
    ManifestElsewhere {
        /// The path that was named.
        named: &'a Path,
        /// The one that is read.
        used: &'a Path,
    },
    /// The manifest ends in a torn record, which is left out.
    ManifestTorn(&'a Path),
    /// The manifest was read.
    ManifestRead {
        /// The manifest.
        manifest: &'a Path,
        /// Its records.
        records: u64,
        /// Releases with a known place.
        releases: u64,
    },
    /// The licences that the catalogue of the mirror has were read: of so many releases.
    LicencesRead(u64),
    /// Only these files of the index are read: they changed since an earlier run.
    OnlyChanged {
        /// Files that changed.
        files: usize,
    },
    /// Existing sidecars may have earlier lines; they stay as they are until they are refreshed.
    StaleKept,

    /// The number of selected releases. Only for a JSONL, whose lines are counted beforehand.
    Selected(u64),
    /// More sidecars were written.
    Written {
        /// The number of sidecars.
        sidecars: u64,
        /// Their bytes, where they are known: for the lines of a JSONL.
        bytes: u64,
    },
    /// This many more sidecars exist already, and stay as they are.
    Existing(u64),
}
