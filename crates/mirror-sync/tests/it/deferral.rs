//! Incremental runs under a policy that holds releases back until a date.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mirror_fetch::FetchObserver;
use mirror_manifest::Catalogue;
use mirror_sync::{
    Advisories, DownloadOptions, LoadedPolicy, NameSet, Outcome, Policy, RebuildOptions, SyncEvent,
    SyncObserver, Upstream, download, rebuild_catalogue,
};
use mirror_testkit::{Origin, OriginOptions, TestRegistry};
use mirror_types::{ExitStatus, Layout, ReleaseId};
use tokio_util::sync::CancellationToken;

const HOUR: u64 = 3600;

/// Returns a policy that holds back releases that are less than this many hours old.
fn min_age(hours: u64) -> Option<Arc<LoadedPolicy>> {
    policy(&format!("min-publish-age = \"{hours} hours\""))
}

pub(crate) fn policy(text: &str) -> Option<Arc<LoadedPolicy>> {
    Some(Arc::new(LoadedPolicy::new(Policy::parse(text).expect("a policy"), Advisories::default())))
}

/// Returns a number of hours since 1970 as the clock of a run.
fn hour(hours: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(hours * HOUR)
}

/// The report of a run about its way through the index, and its reason to stop.
#[derive(Default)]
struct Observed {
    /// The numbers of releases selected at a time: releases that are not looked at come all at once.
    selected: Mutex<Vec<u64>>,
    deferred: AtomicU64,
    unchanged: AtomicBool,
    /// Downloads after which the run is stopped; 0 for none.
    stop_after: u64,
    downloaded: AtomicU64,
    cancel: CancellationToken,
}

impl FetchObserver for Observed {}

impl SyncObserver for Observed {
    fn event(&self, event: SyncEvent<'_>) {
        match event {
            SyncEvent::Selected(releases) => self.selected.lock().expect("lock").push(releases),
            SyncEvent::Deferred(releases) => {
                self.deferred.fetch_add(releases, Ordering::Relaxed);
            }
            SyncEvent::IndexUnchanged => self.unchanged.store(true, Ordering::Relaxed),
            SyncEvent::Downloaded { .. }
                if self.downloaded.fetch_add(1, Ordering::Relaxed) + 1 == self.stop_after =>
            {
                self.cancel.cancel();
            }
            _ => {}
        }
    }
}

pub(crate) struct World {
    origin: Origin,
    pub(crate) registry: TestRegistry,
    dir: tempfile::TempDir,
}

/// The result of one incremental run.
pub(crate) struct Finished {
    pub(crate) outcome: Outcome,
    observed: Arc<Observed>,
}

impl Finished {
    /// Returns the numbers of releases that were downloaded, already held, and deferred.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let Outcome { downloaded, existing, deferred, .. } = self.outcome;
        assert_eq!(self.observed.deferred.load(Ordering::Relaxed), deferred);
        assert_eq!(self.outcome.exit_status(), ExitStatus::Complete);
        (downloaded, existing, deferred)
    }

    /// Returns whether the run looked at no index file at all.
    pub(crate) fn looked_at_nothing(&self) -> bool {
        self.observed.unchanged.load(Ordering::Relaxed)
            && self.observed.selected.lock().expect("lock").len() == 1
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let origin = Origin::start(OriginOptions::default(), Arc::new(|_| None));
        Self { origin, registry: TestRegistry::default(), dir: tempfile::tempdir().expect("dir") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Publishes a release at a given hour.
    pub(crate) fn publish(&mut self, name: &str, version: &str, at: u64) {
        let body = format!("{name} {version} of {at}");
        let pubtime = format!("1970-01-{:02}T{:02}:00:00Z", at / 24 + 1, at % 24);
        self.registry.add(name, version, body.as_bytes()).pubtime = Some(pubtime);
    }

    pub(crate) fn delete(&mut self, name: &str, version: &str) {
        let releases = self.registry.crates.get_mut(name).expect("a crate");
        releases.retain(|release| release.id.version.as_str() != version);
        if releases.is_empty() {
            self.registry.crates.remove(name);
        }
    }

    /// Offers the registry as it is now.
    pub(crate) fn offer(&self) {
        self.origin.replace_site(self.registry.site(""));
        self.registry.commit_git(&self.path("index"));
    }

    pub(crate) fn options(&self, at: u64) -> DownloadOptions {
        let mut options = DownloadOptions::new(Upstream::Local(self.path("index")), self.path("out"));
        options.policy = min_age(24);
        options.now = Some(hour(at));
        options.accept_mass_removal = true;
        options.crates_base_url = Some(format!("{}/crates", self.origin.base()).into());
        options.fetch.cacert = Some(self.origin.ca().to_owned());
        options
    }

    pub(crate) fn run(&self, options: DownloadOptions, stop_after: u64) -> Finished {
        let observed = Arc::new(Observed { stop_after, ..Observed::default() });
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let observer = Arc::clone(&observed) as Arc<dyn SyncObserver>;
        let outcome = runtime.block_on(download(options, observer, observed.cancel.clone())).expect("run");
        Finished { outcome, observed }
    }

    fn run_at(&self, at: u64) -> Finished {
        self.run(self.options(at), 0)
    }

    fn catalogue(&self) -> Catalogue {
        let path = self.path("out").join(".mirror/catalogue.sqlite");
        Catalogue::open_read_only(&path).expect("open").expect("a catalogue")
    }

    pub(crate) fn has_file(&self, id: &ReleaseId) -> bool {
        self.path("out").join(Layout::Shard.path(id)).exists()
    }

    /// Returns the deferred releases with the hour at which they are due.
    pub(crate) fn deferred(&self) -> BTreeMap<ReleaseId, u64> {
        let catalogue = self.catalogue();
        let crates = catalogue.deferred_crates().expect("crates");
        let rows = crates.iter().flat_map(|of| {
            catalogue.deferred_of(&of.name.parse().expect("name")).expect("deferred").into_iter()
        });
        rows.map(|row| {
            let until = row.decision.until.expect("a date").duration_since(UNIX_EPOCH).expect("since 1970");
            (row.id, until.as_secs() / HOUR)
        })
        .collect()
    }
}

pub(crate) fn id(name: &str, version: &str) -> ReleaseId {
    ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
}

/// Makes a mirror with two crates, of which `young 1.1.0` was published at hour 30.
fn with_one_deferred() -> World {
    let mut world = World::new();
    for version in ["1.0.0", "1.0.1"] {
        world.publish("old", version, 0);
    }
    world.publish("young", "1.0.0", 0);
    world.publish("young", "1.1.0", 30);
    world.offer();
    assert_eq!(world.run_at(48).counts(), (3, 0, 1));
    assert_eq!(world.deferred(), BTreeMap::from([(id("young", "1.1.0"), 54)]));
    world
}

#[test]
fn a_deferred_release_is_fetched_once_when_it_is_due() {
    let world = with_one_deferred();
    let second = world.run_at(53);
    assert_eq!(second.counts(), (0, 3, 1));
    assert!(second.looked_at_nothing());
    let third = world.run_at(54);
    assert_eq!(third.counts(), (1, 3, 0));
    assert!(third.observed.unchanged.load(Ordering::Relaxed), "the index is as it was");
    assert_eq!(*third.observed.selected.lock().expect("lock"), [1, 1, 2], "only its crate is looked at");
    assert!(world.has_file(&id("young", "1.1.0")));
    assert_eq!(world.deferred(), BTreeMap::new());
    let fourth = world.run_at(55);
    assert_eq!(fourth.counts(), (0, 4, 0));
    assert!(fourth.looked_at_nothing());
}

#[test]
fn a_dry_run_counts_what_is_deferred_and_lists_nothing() {
    let mut world = with_one_deferred();
    world.publish("old", "1.0.2", 50);
    world.offer();
    let dry = |at| {
        let mut dry = world.options(at);
        dry.dry_run = true;
        let finished = world.run(dry, 0);
        (finished.outcome.would_fetch, finished.counts())
    };
    assert_eq!((dry(53), dry(54)), ((0, (0, 3, 2)), (1, (0, 3, 1))));
    assert_eq!(world.deferred(), BTreeMap::from([(id("young", "1.1.0"), 54)]));
    assert_eq!(world.run_at(53).counts(), (0, 3, 2));
}

#[test]
fn what_upstream_deletes_before_it_is_due_is_never_fetched() {
    let mut world = with_one_deferred();
    world.publish("short", "1.0.0", 40);
    world.offer();
    assert_eq!(world.run_at(50).counts(), (0, 3, 2));
    // A line of a file, and a file.
    world.delete("young", "1.1.0");
    world.delete("short", "1.0.0");
    world.offer();
    assert_eq!(world.run_at(53).counts(), (0, 3, 0));
    assert_eq!(world.deferred(), BTreeMap::new());
    assert_eq!(world.run_at(80).counts(), (0, 3, 0));
}

#[test]
fn what_others_want_at_once_is_fetched_and_waits_no_longer() {
    let world = with_one_deferred();
    let mut at_once = world.options(50);
    at_once.policy = None;
    at_once.include = NameSet::parse(&["young".to_owned()]).expect("names");
    assert_eq!(world.run(at_once, 0).counts(), (1, 1, 0));
    assert_eq!(world.deferred(), BTreeMap::new());
    let next = world.run_at(51);
    assert_eq!(next.counts(), (0, 4, 0));
    assert!(next.looked_at_nothing(), "the cursor still holds");
}

#[test]
fn another_policy_looks_at_everything_again() {
    let world = with_one_deferred();
    let younger = |at| {
        let mut options = world.options(at);
        options.policy = min_age(20);
        options
    };
    assert_eq!(world.run(younger(49), 0).counts(), (0, 3, 1));
    assert_eq!(world.deferred(), BTreeMap::from([(id("young", "1.1.0"), 50)]));
    assert_eq!(world.run(younger(50), 0).counts(), (1, 3, 0));
    let mut without = world.options(50);
    without.policy = None;
    assert_eq!(world.run(without, 0).counts(), (0, 4, 0));
}

#[test]
fn a_failed_release_that_is_deferred_leaves_the_ledger() {
    let mut world = World::new();
    world.publish("a", "1.0.0", 30);
    world.registry.commit_git(&world.path("index"));
    let mut at_once = world.options(40);
    at_once.policy = None;
    assert_eq!(world.run(at_once, 0).outcome.unavailable, 1);
    assert_eq!(world.catalogue().failures().expect("failures").len(), 1);
    assert_eq!(world.run_at(41).counts(), (0, 0, 1));
    assert_eq!(world.catalogue().failures().expect("failures"), []);
    world.offer();
    assert_eq!(world.run_at(53).counts(), (0, 0, 1));
    assert_eq!(world.run_at(54).counts(), (1, 0, 0));
}

/// Checks that a run of a part that changes a date removes the cursor: the next whole run goes by its own policy.
#[test]
fn what_another_policy_wrote_into_the_list_delays_nothing() {
    let world = with_one_deferred();
    let mut slower = world.options(50);
    slower.policy = min_age(100);
    slower.include = NameSet::parse(&["young".to_owned()]).expect("names");
    assert_eq!(world.run(slower, 0).counts(), (0, 1, 1));
    assert_eq!(world.deferred(), BTreeMap::from([(id("young", "1.1.0"), 130)]));
    assert_eq!(world.run_at(54).counts(), (1, 3, 0));
}

#[test]
fn a_run_that_is_stopped_behind_its_first_commit_skips_nothing() {
    let mut world = with_one_deferred();
    world.publish("other", "1.0.0", 20);
    world.publish("other", "1.1.0", 49);
    world.offer();
    let stopped = world.run(world.options(50), 1);
    assert!(stopped.outcome.interrupted);
    assert_eq!(stopped.outcome.downloaded, 1);
    let next = world.run_at(51);
    assert_eq!(next.counts(), (0, 4, 2));
    let due = [(id("young", "1.1.0"), 54), (id("other", "1.1.0"), 73)];
    assert_eq!(world.deferred(), due.into());
    assert!(world.run_at(53).looked_at_nothing());
    assert_eq!(world.run_at(73).counts(), (2, 4, 0));
}

/// Machines that fill one mirror in turn share one list, and each goes by the deferred releases of its own part.
#[test]
fn what_waits_in_another_part_is_neither_counted_nor_looked_at() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        world.publish(name, "1.0.0", 30);
    }
    world.offer();
    let part = |shard: &str, at| {
        let mut options = world.options(at);
        options.shard = shard.parse().expect("shard");
        world.run(options, 0)
    };
    let (of_first, of_second) = (part("1/2", 48).counts().2, part("2/2", 48).counts().2);
    assert!(of_first > 0 && of_second > 0 && of_first + of_second == 6);
    assert_eq!(world.deferred().len(), 6);
    let again = part("2/2", 50);
    assert_eq!(again.counts(), (0, 0, of_second));
    assert!(again.looked_at_nothing());
    assert_eq!(part("2/2", 54).counts(), (of_second, 0, 0));
    let again = part("2/2", 54);
    assert_eq!(again.counts(), (0, of_second, 0));
    assert!(again.looked_at_nothing());
    assert_eq!(part("1/2", 54).counts(), (of_first, 0, 0));
}

/// Replaced bytes wait from the moment at which a run saw them, and the held bytes of the release stay held meanwhile.
#[test]
fn new_bytes_of_a_held_release_wait_beside_the_old_ones() {
    let mut world = with_one_deferred();
    world.delete("old", "1.0.1");
    world.registry.republish("old", "1.0.0", b"other bytes");
    let releases = world.registry.crates.get_mut("old").expect("a crate");
    releases[0].pubtime = Some("1970-01-03T02:00:00Z".to_owned());
    world.offer();
    let file = world.path("out").join(Layout::Shard.path(&id("old", "1.0.0")));
    let bytes = || std::fs::read(&file).expect("read");
    let before = bytes();
    assert_eq!(world.run_at(60).counts(), (1, 1, 1));
    let mut verify = world.options(61);
    verify.verify_existing = true;
    let verified = world.run(verify, 0);
    assert_eq!((verified.counts(), verified.outcome.verified_existing), ((0, 0, 1), 2));
    assert_eq!((bytes(), world.deferred()), (before, [(id("old", "1.0.0"), 84)].into()));
    assert_eq!(world.run_at(83).counts(), (0, 2, 1));
    let due = world.run_at(84);
    assert_eq!((due.counts(), due.outcome.replaced), ((1, 2, 0), 1));
    assert_eq!((bytes(), world.deferred()), (b"other bytes".to_vec(), BTreeMap::new()));
}

/// Records of every source have the time of publication.
#[test]
fn every_kind_of_index_is_held_against_the_policy() {
    let mut world = World::new();
    world.publish("a", "1.0.0", 0);
    world.publish("a", "1.1.0", 30);
    world.offer();
    world.registry.write_index(&world.path("plain"));
    let local = |name: &str| Upstream::Local(world.path(name));
    let sparse = || Upstream::Sparse(format!("{}/index/", world.origin.base()).into());
    for (kind, upstream, closes) in [
        ("git", local("index"), false),
        ("directory", local("plain"), false),
        ("sparse", sparse(), false),
        ("git, closed", local("index"), true),
        ("sparse, closed", sparse(), true),
    ] {
        let run = |at, dry_run| {
            let mut options = world.options(at);
            options.upstream = upstream.clone();
            options.out = world.path(kind);
            options.include = NameSet::parse(&["a".to_owned()]).expect("names");
            options.closure = closes.then(Default::default);
            options.dry_run = dry_run;
            world.run(options, 0).counts()
        };
        assert_eq!([run(53, true), run(53, false)], [(0, 0, 1), (1, 0, 1)], "{kind}");
        assert_eq!([run(54, true), run(54, false)], [(0, 1, 0), (1, 1, 0)], "{kind}");
    }
}

/// No manifest lists deferred releases: a rebuilt catalogue has neither list nor cursor.
#[test]
fn a_rebuilt_catalogue_skips_nothing() {
    for rebuilds in [false, true] {
        let world = with_one_deferred();
        if rebuilds {
            let options = RebuildOptions::new(world.path("out"));
            rebuild_catalogue(&options, &(), &CancellationToken::new()).expect("rebuilt");
        } else {
            Catalogue::remove(&world.path("out").join(".mirror/catalogue.sqlite")).expect("remove");
        }
        let second = world.run_at(50);
        assert_eq!(second.counts(), (0, 3, 1), "rebuilds {rebuilds}");
        assert!(!second.observed.unchanged.load(Ordering::Relaxed), "everything is looked at");
        assert!(world.run_at(53).looked_at_nothing());
        assert_eq!(world.run_at(54).counts(), (1, 3, 0), "rebuilds {rebuilds}");
    }
}

/// Performs random incremental runs: releases are published, deleted, republished, and wanted at once by others; runs
/// are stopped. After each run the mirror must hold what an independent model predicts.
#[test]
fn nothing_is_skipped_for_ever_and_nothing_is_fetched_too_early() {
    for seed in 0..5 {
        Simulation::new(seed).run(12);
    }
}

struct Simulation {
    random: fastrand::Rng,
    world: World,
    /// Listed releases, with the hour of their publication.
    listed: BTreeMap<ReleaseId, u64>,
    /// Everything that is held.
    held: BTreeSet<ReleaseId>,
    /// Every release that was ever listed.
    ever: BTreeSet<ReleaseId>,
    now: u64,
}

impl Simulation {
    const CRATES: [&'static str; 4] = ["aa", "Bb", "cc-d", "e"];

    fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let mut world = World::new();
        // An index is never empty.
        world.publish("old", "1.0.0", 0);
        let (listed, ever) = ([(id("old", "1.0.0"), 0)].into(), [id("old", "1.0.0")].into());
        Self { random, world, listed, held: BTreeSet::new(), ever, now: 24 }
    }

    fn run(mut self, runs: usize) {
        for run in 0..runs {
            let changes = self.random.usize(0..4);
            (0..changes).for_each(|_| self.change());
            if changes > 0 || run == 0 {
                self.world.offer();
            }
            match self.random.u8(..8) {
                0 => self.others_want_at_once(),
                1 | 2 => self.stopped(),
                _ => self.whole(),
            }
            self.now += self.random.u64(1..20);
        }
        self.now += 24;
        self.whole();
        assert_eq!(self.world.deferred(), BTreeMap::new(), "everything is old enough");
    }

    fn change(&mut self) {
        let name = Self::CRATES[self.random.usize(..Self::CRATES.len())];
        let listed: Vec<_> = self.listed.keys().filter(|id| id.name.as_str() == name).cloned().collect();
        if !listed.is_empty() && self.random.u8(..4) == 0 {
            let gone = &listed[self.random.usize(..listed.len())];
            self.listed.remove(gone);
            return self.world.delete(name, gone.version.as_str());
        }
        let version = format!("1.{}.0", self.ever.len());
        let at = self.now - self.random.u64(..20);
        self.world.publish(name, &version, at);
        self.listed.insert(id(name, &version), at);
        self.ever.insert(id(name, &version));
    }

    fn due(&self) -> BTreeSet<ReleaseId> {
        let due = self.listed.iter().filter(|(_, at)| **at + 24 <= self.now);
        due.map(|(id, _)| id.clone()).collect()
    }

    fn found(&self) -> BTreeSet<ReleaseId> {
        self.ever.iter().filter(|id| self.world.has_file(id)).cloned().collect()
    }

    fn whole(&mut self) {
        let finished = self.world.run_at(self.now);
        let (before, due) = (self.held.len(), self.due());
        self.held.extend(due.iter().cloned());
        assert_eq!(self.found(), self.held);
        let waiting: BTreeMap<_, _> = self.listed.iter().filter(|(id, _)| !self.held.contains(id)).collect();
        let existing = self.listed.len() - waiting.len() - (self.held.len() - before);
        let counts = (self.held.len() - before, existing, waiting.len());
        assert_eq!(finished.counts(), (counts.0 as u64, counts.1 as u64, counts.2 as u64));
        let expected: BTreeMap<_, _> = waiting.into_iter().map(|(id, at)| (id.clone(), at + 24)).collect();
        assert_eq!(self.world.deferred(), expected);
        // The same moment again: nothing is left to do.
        let again = self.world.run_at(self.now);
        // Every run looks at crates of which a held release was deleted.
        let is_quiet = self.held.iter().all(|id| self.listed.contains_key(id));
        assert!(again.observed.unchanged.load(Ordering::Relaxed));
        assert!(again.looked_at_nothing() || !is_quiet);
        assert_eq!(again.counts(), (0, existing as u64 + counts.0 as u64, counts.2 as u64));
    }

    /// Checks that a run that is stopped on its way holds some of what is due.
    fn stopped(&mut self) {
        self.world.run(self.world.options(self.now), 1);
        let found = self.found();
        assert!(found.is_superset(&self.held), "nothing is lost");
        assert!(found.difference(&self.held).all(|id| self.due().contains(id)), "nothing comes too early");
        self.held = found;
    }

    fn others_want_at_once(&mut self) {
        let name = Self::CRATES[self.random.usize(..Self::CRATES.len())];
        let mut options = self.world.options(self.now);
        options.policy = None;
        options.include = NameSet::parse(&[name.to_owned()]).expect("names");
        self.world.run(options, 0);
        self.held.extend(self.listed.keys().filter(|id| id.name.as_str() == name).cloned());
        assert_eq!(self.found(), self.held);
    }
}
