#![doc = include_str!("../README.md")]

mod advisories;
mod cursor;
mod download;
mod dry_run;
mod error;
mod gaps;
mod given;
mod held_view;
mod licences;
mod list;
mod names;
mod observe;
mod offer;
mod options;
mod outcome;
mod package;
mod packaged;
mod plan;
mod policy;
mod prune;
mod rebuild;
mod removed;
mod reported;
mod run;
pub mod snapshot;
mod source;
mod spool;
mod tally;
mod threads;
mod update;

pub use advisories::read_advisories;
pub use download::download;
pub use error::SyncError;
pub use gaps::{acknowledge_gaps, list_gaps, read_gaps};
pub use given::{MAX_TEXT_BYTES, read_text};
pub use mirror_fetch::{CancellationToken, FetchObserver, FetchOptions, FetchSetupError, Wait};
pub use mirror_git::{IndexError, UpdateError, UpdateEvent, UpdateStatus, Updated};
pub use mirror_index::sparse::{AnswerLimits, ConfigError};
pub use mirror_index::{ClosureCounts, ClosureLimits, ClosureOptions, LockSources, NameSet, Shard, Target};
pub use mirror_index::{LockError, SelectionError};
pub use mirror_manifest::{HeldBackCount, ManifestError, UpstreamRemoval};
pub use mirror_policy::{
    Advisories, DatabaseCommit, Decision, Finding, HeldBack, LoadedPolicy, Policy, PolicyError, Rule,
    SAMPLE as SAMPLE_POLICY, Verdict,
};
pub use mirror_repo::{BUNDLES, Gap, ListedGap, MANIFEST, OpenReport, RebuildOutcome, RepoError};
pub use mirror_store::{CrateStore, StoreError};
pub use mirror_types::{
    Address, Advice, Cause, CrateName, ExitStatus, FailedRecord, FaultKind, IndexRecord, Layout, Location,
    Printable, ReleaseId, Sha256, StoreId, Unexpected, VersionText, human_bytes, upstream,
};
pub use observe::{SyncEvent, SyncObserver, SyncPhase};
pub use options::{AdvisoryUpdate, DownloadOptions, IndexUpdate, Prune, RebuildOptions, Storage, Upstream};
pub use outcome::{AdvisoriesUsed, Estimate, Outcome, Reported};
pub use policy::{Explained, POLICY_FILE, PolicyFile, explain, load_policy, read_policy};
pub use rebuild::rebuild_catalogue;
pub use run::diagnosis::Diagnosis;
