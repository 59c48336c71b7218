use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::snapshot::SnapshotOptions;
use mirror_bundle::BundleOptions;
use mirror_fetch::FetchOptions;
use mirror_git::UpdateOptions;
use mirror_index::sparse::AnswerLimits;
use mirror_index::{ClosureOptions, IndexLimits, LockSources, NameSet, Shard};
use mirror_manifest::UpstreamRemoval;
use mirror_policy::LoadedPolicy;
use mirror_store::CrateStore;
use mirror_types::{Address, Layout, StoreId};

use mirror_repo::Gap;

/// The source of the records.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// A local index: a checkout, a bare repository or a plain directory.
    Local(PathBuf),
    /// The root of a sparse registry, without the `sparse+` prefix.
    Sparse(Address),
    /// A file of URLs, one a line.
    List(PathBuf),
}

/// The choice of removed releases to prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Releases that are not in the index any more.
    Deleted,
    /// Yanked ones too, which old lockfiles may need.
    Yanked,
}

impl Prune {
    /// Returns whether a release that upstream removed in this way is removed from the mirror, too.
    #[must_use]
    pub fn takes(self, kind: UpstreamRemoval) -> bool {
        self == Self::Yanked || kind == UpstreamRemoval::Deleted
    }
}

/// The places for the bytes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// As loose files.
    #[default]
    Loose,
    /// Only in bundles. A release that is held as a loose file counts as held.
    Bundle,
    /// In both: a loose file goes into a bundle without being fetched again, and the other way round.
    Both,
    /// In all of [`DownloadOptions::stores`]. With one store, a release that any store holds counts as held; with more,
    /// each is to hold every release.
    Others,
}

/// The settings for cloning or updating a local git index before it is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IndexUpdate {
    /// The address that the operator names; `None` takes the origin of the index, or the product's upstream for a new
    /// clone.
    pub url: Option<Address>,
    /// Fetch the whole history for a new clone.
    pub full: bool,
    /// Longest time in which nothing arrives. Default: 120 s.
    pub idle_timeout: std::time::Duration,
}

impl Default for IndexUpdate {
    fn default() -> Self {
        Self { url: None, full: false, idle_timeout: UpdateOptions::default().idle_timeout }
    }
}

/// The settings for cloning or updating the advisory database before it is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdvisoryUpdate {
    /// The address that the operator names; `None` takes the origin of the clone, or RustSec's own for a new one.
    pub url: Option<Address>,
    /// Longest time in which nothing arrives. Default: 120 s.
    pub idle_timeout: std::time::Duration,
}

impl Default for AdvisoryUpdate {
    fn default() -> Self {
        Self { url: None, idle_timeout: UpdateOptions::default().idle_timeout }
    }
}

/// The options of a download run. Begin with [`DownloadOptions::new`] and change fields.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DownloadOptions {
    /// The source of the records.
    pub upstream: Upstream,
    /// Clone or update the index first.
    pub update: Option<IndexUpdate>,
    /// Do nothing after that, but for `advisory_update`.
    pub index_only: bool,
    /// Only what these lockfiles name.
    pub cargo_locks: Vec<PathBuf>,
    /// The names by which lockfiles refer to this registry.
    pub lock_sources: LockSources,
    /// Only these crates; empty means all.
    pub include: NameSet,
    /// Never these crates.
    pub exclude: NameSet,
    /// Only the newest N non-yanked versions of a crate; 0 means all. Pre-releases count only where a crate has
    /// nothing else.
    pub latest: usize,
    /// With `latest`: pre-releases count like all others.
    pub include_prerelease: bool,
    /// Also yanked versions.
    pub include_yanked: bool,
    /// This machine's share.
    pub shard: Shard,
    /// Only what was published by this moment.
    pub as_of: Option<SystemTime>,
    /// Also what builds of the selection need, within these bounds.
    pub closure: Option<ClosureOptions>,
    /// Also what the lockfiles inside selected binary crates name.
    pub with_lockfiles: bool,
    /// Decides which releases are fetched, as far as the index says enough, and which of the held ones are offered. With
    /// `None`, everything is offered that upstream did not delete. Does not keep entries of a list of URLs from being
    /// fetched.
    pub policy: Option<Arc<LoadedPolicy>>,
    /// The advisory database by which `policy` decides, in place of the advisories that it has: a directory or a git
    /// clone. The run reads it when it begins.
    pub advisory_db: Option<PathBuf>,
    /// Clone or update `advisory_db` first, if it is no plain directory. What cannot be updated is used as it is.
    pub advisory_update: Option<AdvisoryUpdate>,
    /// The moment by which `policy` decides; `None`: the beginning of the run.
    pub now: Option<SystemTime>,
    /// First N records only; 0 means all.
    pub limit: u64,
    /// JSONL of `{url, sha256}`.
    pub checksums: Option<PathBuf>,
    /// Base of download URLs; `None` takes the registry's own `dl`, or the product's default.
    pub crates_base_url: Option<Address>,
    /// Send no request: use what is held and the cache of a sparse index.
    pub offline: bool,
    /// Caps on the answers of a sparse registry.
    pub answers: AnswerLimits,
    /// Mirror root.
    pub out: PathBuf,
    /// Layout below the root.
    pub layout: Layout,
    /// True if the layout was asked for, not just the default.
    pub layout_asked: bool,
    /// Audit log; `None` takes the one that the mirror remembers, or the default place below `out`.
    pub manifest: Option<PathBuf>,
    /// The places for the bytes.
    pub storage: Storage,
    /// Stores beside the loose tree and the bundles, numbered from 2: every store in which something is held.
    pub stores: Vec<Arc<dyn CrateStore>>,
    /// Directory of the bundles; `None` takes the one that the mirror remembers, or the default place below `out`.
    pub bundles_out: Option<PathBuf>,
    /// Seal a bundle once it has this many bytes.
    pub bundle_bytes: u64,
    /// Seal the partial bundle at the end of the run.
    pub bundle_seal: bool,
    /// Hash every held release again.
    pub verify_existing: bool,
    /// Record every selected release in the manifest, also those that are held and need no look. Reads the whole index.
    pub audit_all: bool,
    /// Remove held releases that upstream removed.
    pub prune: Option<Prune>,
    /// Remove them even when they are suspiciously many.
    pub allow_mass_prune: bool,
    /// Hide what upstream deleted even when it is suspiciously many releases.
    pub accept_mass_removal: bool,
    /// The gaps that a person acknowledges from now on; `None` keeps those of the mirror.
    pub acknowledge_gaps: Option<Vec<Gap>>,
    /// The snapshots of what is offered; `None` takes none.
    pub snapshots: Option<SnapshotOptions>,
    /// Plan only; touch nothing.
    pub dry_run: bool,
    /// The settings of the fetcher.
    pub fetch: FetchOptions,
}

impl DownloadOptions {
    /// Mirrors everything that `upstream` has, but for yanked versions, into loose files below `out`, with the defaults
    /// of `download-crates` otherwise.
    #[must_use]
    pub fn new(upstream: Upstream, out: PathBuf) -> Self {
        Self {
            upstream,
            update: None,
            index_only: false,
            cargo_locks: Vec::new(),
            lock_sources: LockSources::new(mirror_types::upstream::lock_sources()),
            include: NameSet::default(),
            exclude: NameSet::default(),
            latest: 0,
            include_prerelease: false,
            include_yanked: false,
            shard: Shard::default(),
            as_of: None,
            closure: None,
            with_lockfiles: false,
            policy: None,
            advisory_db: None,
            advisory_update: None,
            now: None,
            limit: 0,
            checksums: None,
            crates_base_url: None,
            offline: false,
            answers: AnswerLimits::default(),
            out,
            layout: Layout::Shard,
            layout_asked: false,
            manifest: None,
            storage: Storage::Loose,
            stores: Vec::new(),
            bundles_out: None,
            bundle_bytes: BundleOptions::default().bundle_bytes,
            bundle_seal: false,
            verify_existing: false,
            audit_all: false,
            prune: None,
            allow_mass_prune: false,
            accept_mass_removal: false,
            acknowledge_gaps: None,
            snapshots: Some(SnapshotOptions::default()),
            dry_run: false,
            fetch: FetchOptions::default(),
        }
    }

    /// Returns the stores into which new releases go.
    pub(crate) fn targets(&self) -> Vec<StoreId> {
        match self.storage {
            Storage::Loose => vec![StoreId::LOOSE],
            Storage::Bundle => vec![StoreId::BUNDLES],
            Storage::Both => vec![StoreId::LOOSE, StoreId::BUNDLES],
            Storage::Others => self.stores.iter().map(|store| store.id()).collect(),
        }
    }

    /// Returns the stores each of which is to hold every release; none when one copy anywhere will do.
    pub(crate) fn copies(&self) -> Vec<StoreId> {
        Some(self.targets()).filter(|targets| targets.len() > 1).unwrap_or_default()
    }

    /// Returns the moment by which policy decides.
    pub(crate) fn moment(&self) -> SystemTime {
        self.now.unwrap_or_else(SystemTime::now)
    }

    fn reads_published(&self) -> bool {
        self.as_of.is_some()
            || self.policy.as_ref().is_some_and(|policy| policy.policy().needs().publication_time)
    }

    /// Returns the limits for reading an index.
    pub(crate) fn index_limits(&self) -> IndexLimits {
        let mut limits = IndexLimits::default();
        limits.reads_published = self.reads_published();
        limits
    }

    /// Returns how the mirror is opened.
    pub(crate) fn mirror(&self) -> mirror_repo::OpenOptions {
        let mut options = mirror_repo::OpenOptions::default();
        options.root = self.out.clone();
        options.layout = self.layout_asked.then_some(self.layout);
        options.manifest = self.manifest.clone();
        options.bundles = self.bundles_out.clone();
        options.targets = self.targets();
        options.stores = self.stores.clone();
        options.bundle_bytes = Some(self.bundle_bytes);
        options.verify = self.verify_existing;
        options
    }
}

impl RebuildOptions {
    /// Rebuilds the catalogue of the mirror at `out`, with manifest and bundles where the mirror records them or at
    /// their defaults.
    #[must_use]
    pub fn new(out: PathBuf) -> Self {
        Self {
            out,
            layout: Layout::default(),
            layout_asked: false,
            manifest: None,
            bundles_out: None,
            stores: Vec::new(),
            policy: None,
            now: None,
        }
    }

    /// Returns how the mirror is opened.
    pub(crate) fn mirror(&self) -> mirror_repo::OpenOptions {
        let mut options = mirror_repo::OpenOptions::default();
        options.root = self.out.clone();
        options.layout = self.layout_asked.then_some(self.layout);
        options.manifest = self.manifest.clone();
        options.bundles = self.bundles_out.clone();
        options.targets = vec![StoreId::BUNDLES];
        options.stores = self.stores.clone();
        options
    }
}

/// The sources of a rebuilt catalogue; see [`rebuild_catalogue`](crate::rebuild_catalogue).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RebuildOptions {
    /// Mirror root.
    pub out: PathBuf,
    /// Layout below the root, when the mirror does not say.
    pub layout: Layout,
    /// True if the layout was asked for, not just the default.
    pub layout_asked: bool,
    /// Audit log, as in [`DownloadOptions`].
    pub manifest: Option<PathBuf>,
    /// Directory of the bundles, likewise.
    pub bundles_out: Option<PathBuf>,
    /// Stores beside the loose tree and the bundles, as in [`DownloadOptions`].
    pub stores: Vec<Arc<dyn CrateStore>>,
    /// The policy by which the rebuilt catalogue is judged. Without one, a mirror whose runs had one offers nothing until
    /// the next run has judged it.
    pub policy: Option<Arc<LoadedPolicy>>,
    /// The moment by which it decides; `None` for that of the judgement.
    pub now: Option<SystemTime>,
}
