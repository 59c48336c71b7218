//! Whole runs in process, against a real origin, as an embedder starts them.
#![expect(clippy::disallowed_methods, reason = "tests damage files")]

mod advisory_clones;
mod deferral;
mod dry_run;
mod examples;
mod grouped;
mod licences;
mod nights;
mod offered;
mod snapshots;
mod versions;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mirror_fetch::FetchObserver;
use mirror_sync::{
    DownloadOptions, Outcome, Storage, SyncEvent, SyncObserver, SyncPhase, Upstream, download,
};
use mirror_testkit::{Fault, Origin, OriginOptions, TestRegistry};
use tokio_util::sync::CancellationToken;

/// Counts the events.
#[derive(Default)]
struct EventCounter(Mutex<Counts>);

#[derive(Default, Debug, Clone, PartialEq, Eq)]
struct Counts {
    phases: Vec<SyncPhase>,
    selected: u64,
    existing: u64,
    downloaded: u64,
    bytes: u64,
    verified: u64,
    failed: Vec<String>,
    wrong: Vec<String>,
    planned: u32,
    /// Releases that policy holds back, and offered ones with an advisory.
    judged: Vec<(u64, Option<u64>)>,
}

impl FetchObserver for EventCounter {}

impl SyncObserver for EventCounter {
    fn event(&self, event: SyncEvent<'_>) {
        let mut counts = self.0.lock().expect("lock");
        match event {
            SyncEvent::Phase(phase) => counts.phases.push(phase),
            SyncEvent::Selected(releases) => counts.selected += releases,
            SyncEvent::Existing(releases) => counts.existing += releases,
            SyncEvent::Downloaded { bytes } => {
                counts.downloaded += 1;
                counts.bytes += bytes;
            }
            SyncEvent::Verified => counts.verified += 1,
            SyncEvent::Failed { release, .. } => counts.failed.push(release.to_string()),
            SyncEvent::Wrong { release, .. } => counts.wrong.push(release.to_string()),
            SyncEvent::Planned => counts.planned += 1,
            SyncEvent::Judged { held_back, reported } => {
                counts
                    .judged
                    .push((held_back.iter().map(|count| count.held + count.deferred).sum(), reported));
            }
            _ => {}
        }
    }
}

struct World {
    origin: Origin,
    registry: TestRegistry,
    dir: tempfile::TempDir,
}

impl World {
    fn new(releases: usize) -> Self {
        let registry = TestRegistry::generate(7, releases, 2_000);
        let origin = Origin::start(OriginOptions::default(), Arc::new(|_| None));
        let world = Self { origin, registry, dir: tempfile::tempdir().expect("dir") };
        world.origin.replace_site(world.registry.site(""));
        world.registry.write_index(&world.path("index"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self) -> DownloadOptions {
        let mut options = DownloadOptions::new(Upstream::Local(self.path("index")), self.path("out"));
        options.include_yanked = true;
        options.crates_base_url = Some(format!("{}/crates", self.origin.base()).into());
        options.fetch.cacert = Some(self.origin.ca().to_owned());
        options
    }

    fn options_with(&self, change: impl FnOnce(&mut DownloadOptions)) -> DownloadOptions {
        let mut options = self.options();
        change(&mut options);
        options
    }

    fn run(&self, options: DownloadOptions) -> (Outcome, Counts) {
        run(options)
    }

    fn total_bytes(&self) -> u64 {
        self.registry.releases().map(|release| release.body.len() as u64).sum()
    }
}

/// Runs to the end; returns the outcome and the events.
fn run(options: DownloadOptions) -> (Outcome, Counts) {
    let counter = Arc::new(EventCounter::default());
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let run = download(options, Arc::clone(&counter) as Arc<dyn SyncObserver>, CancellationToken::new());
    let outcome = runtime.block_on(run).expect("run");
    let counts = counter.0.lock().expect("lock").clone();
    (outcome, counts)
}

/// Checks that the outcome and the events agree, in a first run, a second one, and one that hashes everything.
#[test]
fn events_add_up_to_the_outcome() {
    for storage in [Storage::Loose, Storage::Bundle, Storage::Both] {
        let world = World::new(120);
        let options = || world.options_with(|options| options.storage = storage);
        let all = world.registry.len() as u64;
        let (outcome, counts) = world.run(options());
        assert_eq!((outcome.selected, outcome.downloaded, outcome.bytes), (all, all, world.total_bytes()));
        assert_eq!((counts.selected, counts.downloaded, counts.bytes), (all, all, outcome.bytes));
        assert_eq!((counts.planned, counts.existing), (1, 0));
        let phases = [SyncPhase::Open, SyncPhase::Download, SyncPhase::Finish, SyncPhase::Done];
        assert_eq!(counts.phases, phases);
        let (outcome, counts) = world.run(options());
        assert_eq!((outcome.downloaded, outcome.existing), (0, all), "{storage:?}");
        assert_eq!((counts.selected, counts.existing, counts.downloaded), (all, all, 0));
        let (outcome, counts) = world.run(world.options_with(|options| {
            options.storage = storage;
            options.verify_existing = true;
        }));
        assert_eq!((outcome.verified_existing, counts.verified), (all, all), "{storage:?}");
        assert_eq!(counts.phases[1], SyncPhase::Verify);
    }
}

#[test]
fn a_dry_run_counts_and_touches_nothing() {
    let world = World::new(60);
    let all = world.registry.len() as u64;
    let dry = || world.options_with(|options| options.dry_run = true);
    let (outcome, counts) = world.run(dry());
    assert_eq!((outcome.would_fetch, outcome.selected, counts.selected), (all, all, all));
    assert!(outcome.estimate.is_some_and(|estimate| estimate.bytes == world.total_bytes()));
    assert!(!world.path("out").exists());
    world.run(world.options_with(|options| options.limit = 20));
    let (outcome, _) = world.run(dry());
    assert_eq!((outcome.existing, outcome.would_fetch), (20, all - 20));
}

#[test]
fn what_cannot_be_had_and_what_was_damaged_are_reported_by_name() {
    let world = World::new(40);
    let mut releases = world.registry.releases();
    let (gone, damaged) = (releases.next().expect("one"), releases.next().expect("another"));
    let path = gone.url_path();
    world.origin.script(move |ask| if ask.path.ends_with(&path) { Fault::Status(404) } else { Fault::None });
    let all = world.registry.len() as u64;
    let (outcome, counts) = world.run(world.options());
    assert_eq!((outcome.unavailable, outcome.downloaded), (1, all - 1));
    assert_eq!(counts.failed, [gone.id.to_string()]);
    world.origin.heal();
    let file = world.path("out").join(mirror_types::Layout::Shard.path(&damaged.id));
    std::fs::write(&file, b"damaged").expect("write");
    let (outcome, counts) = world.run(world.options_with(|options| options.verify_existing = true));
    assert_eq!((outcome.downloaded, outcome.quarantined, outcome.failed), (2, 1, 0));
    assert_eq!(counts.wrong, [damaged.id.to_string()]);
    assert_eq!(std::fs::read(&file).expect("read"), damaged.body);
}

/// Checks that a run that is stopped before it begins does nothing, and reports that.
#[test]
fn a_run_that_is_stopped_ends_as_interrupted() {
    let world = World::new(30);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let outcome = runtime.block_on(download(world.options(), Arc::new(()), cancel)).expect("run");
    assert!(outcome.interrupted);
    assert_eq!(outcome.downloaded, 0);
    let (outcome, _) = world.run(world.options());
    assert_eq!(outcome.downloaded, world.registry.len() as u64);
}
