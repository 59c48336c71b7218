//! Checks that a dry run reports what the next run plans, in every state of a mirror.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirror_sync::{DownloadOptions, Layout, Outcome, Storage, Upstream, UpstreamRemoval};
use mirror_testkit::{Fault, Origin, OriginOptions, TestRegistry};

use crate::run;

const STORAGES: [Storage; 3] = [Storage::Loose, Storage::Bundle, Storage::Both];

/// The compared part of a dry run and of the run that follows it.
#[derive(Debug, PartialEq, Eq)]
struct Planned {
    selected: u64,
    existing: u64,
    to_fetch: u64,
    to_verify: u64,
    yanked_skipped: u64,
    removed_upstream: Vec<(String, UpstreamRemoval)>,
    reinstated: u64,
}

impl Planned {
    fn of(outcome: &Outcome) -> Self {
        let mut removed_upstream: Vec<_> =
            outcome.removed_upstream.iter().map(|(id, kind)| (id.to_string(), *kind)).collect();
        removed_upstream.sort_by(|a, b| a.0.cmp(&b.0));
        Self {
            selected: outcome.selected,
            existing: outcome.existing,
            to_fetch: outcome.would_fetch,
            to_verify: outcome.would_verify,
            yanked_skipped: outcome.yanked_skipped,
            removed_upstream,
            reinstated: outcome.reinstated,
        }
    }
}

/// Returns every file below a directory with its bytes, including the mirror's own state. Leaves out SQLite's two files
/// beside a catalogue: every reader makes them.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("entry").path();
        let is_sqlites = |end| path.to_string_lossy().ends_with(end);
        if path.is_dir() {
            files.extend(everything(&path));
        } else if !is_sqlites("-shm") && !is_sqlites("-wal") {
            files.insert(path.clone(), std::fs::read(&path).expect("read"));
        }
    }
    files
}

struct World {
    origin: Origin,
    registry: TestRegistry,
    dir: tempfile::TempDir,
    /// True for a git repository, whose trees can be compared; false for a plain directory.
    git: bool,
    options: DownloadOptions,
}

impl World {
    fn new(git: bool, storage: Storage) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let origin = Origin::start(OriginOptions::default(), Arc::new(|_| None));
        let mut registry = TestRegistry::default();
        for name in ["held", "lost", "cut", "replaced", "reverted", "yanked", "unyanked", "deleted", "gap"] {
            registry.add(name, "1.0.0", format!("the bytes of {name}").as_bytes());
        }
        registry.add("held", "1.1.0", b"another release");
        let (index, out) = (dir.path().join("index"), dir.path().join("out"));
        let mut options = DownloadOptions::new(Upstream::Local(index), out);
        options.storage = storage;
        options.include_yanked = true;
        options.crates_base_url = Some(format!("{}/crates", origin.base()).into());
        options.fetch.cacert = Some(origin.ca().to_owned());
        Self { origin, registry, dir, git, options }
    }

    fn file(&self, name: &str) -> PathBuf {
        let id = &self.registry.crates[name][0].id;
        self.dir.path().join("out").join(Layout::Shard.path(id))
    }

    /// Replaces a file by one of another size, as another program would.
    fn cut(&self) {
        std::fs::remove_file(self.file("cut")).expect("remove");
        std::fs::write(self.file("cut"), b"the").expect("write");
        // Also where the clock has long ticks: the directory gets another time than the run left.
        let dir = std::fs::File::open(self.file("cut").parent().expect("directory")).expect("open");
        dir.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1)).expect("times");
    }

    fn yank(&mut self, name: &str, yanked: bool) {
        self.registry.crates.get_mut(name).expect("crate")[0].yanked = yanked;
    }

    /// Offers the registry without the releases of one crate.
    fn publish_without(&self, gone: &'static str) {
        self.origin.replace_site(self.registry.site(""));
        self.origin.script(move |ask| match ask.path.contains(&format!("/{gone}-")) {
            true => Fault::Status(404),
            false => Fault::None,
        });
        let index = self.dir.path().join("index");
        if self.git {
            self.registry.commit_git(&index);
        } else {
            let _ = std::fs::remove_dir_all(&index);
            self.registry.write_index(&index);
        }
    }

    /// Plans, runs, and compares both; returns the outcome of the run.
    #[track_caller]
    fn agree(&self, change: impl FnOnce(&mut DownloadOptions)) -> Outcome {
        let mut options = self.options.clone();
        change(&mut options);
        let before = everything(&self.dir.path().join("out"));
        let mut dry = options.clone();
        dry.dry_run = true;
        let (dry, _) = run(dry);
        let after = everything(&self.dir.path().join("out"));
        let touched: Vec<_> = after
            .iter()
            .filter(|(path, bytes)| before.get(*path) != Some(*bytes))
            .map(|(path, _)| path)
            .collect();
        assert!(touched.is_empty() && after.len() == before.len(), "a dry run touches nothing: {touched:?}");
        let (done, _) = run(options);
        let planned = Planned::of(&done);
        assert_eq!(Planned::of(&dry), planned, "{:?}, git: {}", self.options.storage, self.git);
        let told = planned.existing + planned.to_fetch + planned.to_verify;
        assert_eq!(told, planned.selected, "all of it is held, fetched or hashed");
        done
    }
}

#[test]
fn a_dry_run_and_the_run_that_follows_agree() {
    for (git, storage) in [false, true].into_iter().flat_map(|git| STORAGES.map(|storage| (git, storage))) {
        let mut world = World::new(git, storage);
        world.yank("unyanked", true);
        world.publish_without("gap");
        // At first nothing is there; then everything except what upstream lacks, which is in the ledger.
        let done = world.agree(|_| {});
        assert_eq!((done.downloaded, done.unavailable), (9, 1));
        let done = world.agree(|_| {});
        assert_eq!((done.existing, done.would_fetch), (9, 1));

        // Upstream changes. The replaced bytes are not available, so the release is in the ledger, with the old bytes
        // held.
        world.yank("yanked", true);
        world.yank("unyanked", false);
        world.registry.crates.remove("deleted");
        world.registry.republish("reverted", "1.0.0", b"other bytes");
        world.publish_without("reverted");
        let done = world.agree(|_| {});
        assert_eq!((done.unavailable, done.downloaded), (1, 1));
        assert_eq!(done.removed_upstream.len(), 2, "{:?}", done.removed_upstream);

        // Upstream goes back to the old bytes: they are held, and in the ledger. Meanwhile, files are lost.
        world.registry.republish("reverted", "1.0.0", b"the bytes of reverted");
        world.registry.republish("replaced", "1.0.0", b"new bytes");
        world.registry.add("new", "1.0.0", b"a new crate");
        world.publish_without("nothing");
        if storage != Storage::Bundle {
            std::fs::remove_file(world.file("lost")).expect("remove");
            world.cut();
        }
        let done = world.agree(|_| {});
        assert!(done.would_verify > 0, "what the ledger names is hashed");
        assert_eq!(done.failed + done.unavailable, 0);

        let done = world.agree(|options| options.include_yanked = false);
        assert_eq!(done.yanked_skipped, 1);
        let done = world.agree(|options| options.verify_existing = true);
        assert_eq!((done.would_verify, done.existing), (done.selected, 0));
        assert_eq!(world.agree(|_| {}).existing, 10);
    }
}

#[test]
fn what_a_bundle_still_has_is_held_in_a_dry_run_too() {
    for git in [false, true] {
        let world = World::new(git, Storage::Both);
        world.publish_without("nothing");
        world.agree(|_| {});
        for name in ["lost", "held"] {
            std::fs::remove_file(world.file(name)).expect("remove");
        }
        world.cut();
        // One place is enough, and each release has one: nothing is to be done.
        let done = world.agree(|options| options.storage = Storage::Bundle);
        assert_eq!((done.existing, done.would_fetch, done.would_verify), (10, 0, 0));
        // Both are wanted: a missing file is made from the member.
        std::fs::remove_file(world.file("gap")).expect("remove");
        let done = world.agree(|_| {});
        assert_eq!((done.would_fetch, done.downloaded), (0, 0));
        assert_eq!(done.verified_existing, 4);
        assert!(world.file("lost").is_file());
    }
}
