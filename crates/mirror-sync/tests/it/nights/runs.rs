//! Runs over the registry of a night.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use mirror_fetch::FetchObserver;
use mirror_repo::Mirror;
use mirror_sync::{
    Advisories, DownloadOptions, LoadedPolicy, NameSet, Outcome, Policy, Prune, RebuildOptions, Storage,
    SyncEvent, SyncObserver, Upstream, download, rebuild_catalogue,
};
use mirror_testkit::TestRegistry;
use mirror_types::ReleaseId;
use tokio_util::sync::CancellationToken;

use super::rules::{Advice, rfc3339};
use super::{CRATES, Kind, Simulation};

#[derive(Default)]
pub(super) struct Stop {
    pub(super) after: u64,
    pub(super) downloaded: AtomicU64,
    pub(super) cancel: CancellationToken,
}

impl FetchObserver for Stop {}

impl SyncObserver for Stop {
    fn event(&self, event: SyncEvent<'_>) {
        if matches!(event, SyncEvent::Downloaded { .. })
            && self.downloaded.fetch_add(1, Ordering::Relaxed) + 1 == self.after
        {
            self.cancel.cancel();
        }
    }
}

impl Simulation {
    /// Rebuilds the catalogue: without a policy, nothing is offered where one was in force; with one, what it admits of
    /// what the mirror knows.
    pub(super) fn rebuild(&mut self) {
        let mut options = RebuildOptions::new(self.out());
        let observer = Stop::default();
        let policy = Arc::new(self.policy());
        let was_open = !self.out().join(".mirror/policy-in-force").exists();
        if self.random.bool() {
            rebuild_catalogue(&options, &observer, &observer.cancel).expect("rebuilt");
            let mirror = Mirror::open(&self.out(), None).expect("a mirror");
            assert_eq!(mirror.totals().is_ok(), was_open, "{}", self.rules.text());
        }
        options.policy = Some(policy);
        options.now = Some(UNIX_EPOCH + Duration::from_secs(self.now));
        rebuild_catalogue(&options, &observer, &observer.cancel).expect("rebuilt");
        let mirror = Mirror::open(&self.out(), None).expect("a mirror");
        self.check_offered(&Kind::Stopped(0), &mirror);
    }

    fn registry(&self) -> TestRegistry {
        let mut registry = TestRegistry::default();
        for (id, line) in &self.truth {
            let release = registry.add(id.name.as_str(), id.version.as_str(), &line.body.bytes);
            (release.yanked, release.pubtime) = (line.yanked, line.published.map(rfc3339));
        }
        registry
    }

    fn policy(&self) -> LoadedPolicy {
        let files = self.advice.iter().map(|advice| {
            let Advice { serial, name, is_malicious, patched: (major, minor) } = advice;
            let (id, category) = (format!("RUSTSEC-2026-{serial:04}"), if *is_malicious { "malicious" } else { "crypto-failure" });
            let text = format!(
                "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{name}\"\ndate = \"2026-11-01\"\n\
                 categories = [\"{category}\"]\n\n[versions]\npatched = [\">= {major}.{minor}.0\"]\n```\n\n# A title\n"
            );
            (format!("crates/{name}/{id}.md"), text)
        });
        let advisories = Advisories::from_files(files);
        assert_eq!(advisories.faults(), []);
        let text = self.rules.text();
        LoadedPolicy::new(Policy::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}")), advisories)
    }

    pub(super) fn download(&mut self, kind: &Kind) -> Outcome {
        let registry = self.registry();
        self.origin.replace_site(registry.site(""));
        let upstream = if self.is_sparse {
            Upstream::Sparse(format!("{}/index/", self.origin.base()).into())
        } else {
            let index = self.dir.path().join("index");
            registry.commit_git(&index);
            Upstream::Local(index)
        };
        let mut options = DownloadOptions::new(upstream, self.out());
        options.include = NameSet::parse(&self.named(kind)).expect("names");
        options.policy = Some(Arc::new(self.policy()));
        options.now = Some(UNIX_EPOCH + Duration::from_secs(self.now));
        options.include_yanked = true;
        options.storage = self.storage;
        options.accept_mass_removal = self.random.bool();
        options.crates_base_url = Some(format!("{}/crates", self.origin.base()).into());
        options.fetch.cacert = Some(self.origin.ca().to_owned());
        options.verify_existing = *kind == Kind::Verify;
        let observer = Arc::new(Stop::default());
        let mut observer = Arc::into_inner(observer).expect("the only one");
        match kind {
            Kind::Stopped(after) => {
                observer.after = *after;
                if *after == 0 {
                    observer.cancel.cancel();
                }
            }
            Kind::Prune { allows_mass } => {
                options.prune = Some(Prune::Deleted);
                options.allow_mass_prune = *allows_mass;
            }
            Kind::Whole | Kind::Part(_) | Kind::Verify => {}
        }
        let cancel = observer.cancel.clone();
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        runtime.block_on(download(options, Arc::new(observer), cancel)).expect("run")
    }

    /// Returns the crates that the runs of a night name; none when they read everything. A sparse registry cannot list
    /// what it has.
    pub(super) fn named(&self, kind: &Kind) -> Vec<String> {
        let names = match kind {
            Kind::Part(names) => names.clone(),
            _ if self.is_sparse => CRATES.into_iter().chain(["old"]).collect(),
            _ => Vec::new(),
        };
        names.into_iter().map(str::to_owned).collect()
    }

    /// Returns whether a night removes what upstream deleted: bundles are never rewritten, and only a run that went
    /// through a whole index proves that a release is gone.
    pub(super) fn prunes(&self, kind: &Kind) -> bool {
        self.is_able_to_prune() && *kind == Kind::Prune { allows_mass: true }
    }

    /// Returns whether a night refuses to prune: what upstream deleted is too much.
    pub(super) fn refuses_to_prune(&self, kind: &Kind) -> bool {
        self.is_able_to_prune()
            && *kind == Kind::Prune { allows_mass: false }
            && self.held.keys().any(|id| !self.truth.contains_key(id))
    }

    fn is_able_to_prune(&self) -> bool {
        self.storage == Storage::Loose && !self.is_sparse
    }

    /// Returns whether a night with this kind looks at a crate to its end.
    pub(super) fn looks_at(kind: &Kind, id: &ReleaseId) -> bool {
        match kind {
            Kind::Whole | Kind::Verify | Kind::Prune { .. } => true,
            Kind::Part(names) => names.contains(&id.name.as_str()),
            Kind::Stopped(_) => false,
        }
    }
}
