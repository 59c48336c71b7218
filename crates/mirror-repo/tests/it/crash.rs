//! Checks commits cut short by a crash or a failing disk: everything promised is held, and nothing is recorded as held
//! that is not there.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirror_fs::LocalFs;
use mirror_fs::sim::{Loss, Simulator, Step};
use mirror_manifest::ManifestRecord;
use mirror_repo::{Mirror, MirrorWriter, OpenOptions, RepoError};
use mirror_types::{Locations, Sha256, StoreId};

use crate::transaction::{BYTES, SHA256, To, failure, id, new, staged, wanted};

const OTHER: &[u8] = b"other bytes of the same release";
const OTHER_SHA256: &str = "aa93e96f4589280e7f9258be3c978ae4f09a8198730a50769450601f45f0e303";
/// The promise for each release that has one: these bytes, or `None` for a removed release.
type Promise = BTreeMap<&'static str, Option<&'static [u8]>>;

/// The operations on a mirror on a simulated disk.
struct Session {
    sim: Simulator,
    /// The promises after each number of steps, without the releases that a commit in progress touches.
    promises: Vec<(usize, Promise)>,
    error: Option<RepoError>,
}

impl Session {
    fn run(root: &Path, fails: Option<usize>) -> Self {
        const EIO: i32 = 5;
        // Directories that are made while they are empty do not go through the simulator.
        mirror_fs::make_dir_all(&root.join("bundles")).expect("directory");
        mirror_fs::create_anew(&root.join("bundles/.bundles.lock")).expect("its lock");
        let sim = Simulator::new(root, Arc::new(LocalFs::unsynced())).expect("simulator");
        if let Some(at) = fails {
            sim.fail_at(at, EIO);
        }
        let mut session = Self { sim, promises: Vec::new(), error: None };
        session.error = session.commits(root).err();
        session
    }

    fn commits(&mut self, root: &Path) -> Result<(), RepoError> {
        let mut options = options(root);
        options.fs = Some(Arc::new(self.sim.clone()));
        let (mut mirror, _) = MirrorWriter::open(&options)?;
        let mut tx = mirror.begin();
        for (name, to) in [("aaaa", To::Tree), ("bbbb", To::Bundle), ("cccc", To::Both)] {
            let new = new(&mirror, name, to)?;
            tx.hold(&mut mirror, new)?;
        }
        tx.fail(wanted("dddd"), failure());
        mirror.commit(tx)?;
        self.promise([("aaaa", Some(BYTES)), ("bbbb", Some(BYTES)), ("cccc", Some(BYTES))]);

        // Upstream has replaced a release, and a copy of another one is gone.
        self.promise([("bbbb", Some(BYTES)), ("cccc", Some(BYTES))]);
        let mut tx = mirror.begin();
        let mut replaced = new(&mirror, "aaaa", To::Tree)?;
        replaced.replaces = true;
        replaced.bytes.sha256 = OTHER_SHA256.parse().expect("a hash");
        replaced.bytes.size = OTHER.len() as u64;
        replaced.staged = staged(&mirror, &replaced.release.id, OTHER, To::Tree)?;
        tx.hold(&mut mirror, replaced)?;
        mirror.store().set_aside(&wanted("cccc").path, "quarantine", "test")?;
        tx.lost(&mirror, id("cccc"), StoreId::LOOSE)?;
        mirror.commit(tx)?;
        self.promise([("aaaa", Some(OTHER)), ("bbbb", Some(BYTES)), ("cccc", Some(BYTES))]);

        self.promise([("bbbb", Some(BYTES)), ("cccc", Some(BYTES))]);
        mirror.prune(&[id("aaaa")])?;
        self.promise([("aaaa", None), ("bbbb", Some(BYTES)), ("cccc", Some(BYTES))]);

        let mut tx = mirror.begin();
        let mut more = new(&mirror, "eeee", To::Bundle)?;
        more.held_at = Locations::new();
        tx.hold(&mut mirror, more)?;
        mirror.commit(tx)?;
        mirror.finish_bundles(true)?;
        let all = [("aaaa", None), ("bbbb", Some(BYTES)), ("cccc", Some(BYTES)), ("eeee", Some(BYTES))];
        self.promise(all);
        Ok(())
    }

    fn promise(&mut self, all: impl IntoIterator<Item = (&'static str, Option<&'static [u8]>)>) {
        self.promises.push((self.sim.count(), all.into_iter().collect()));
    }

    /// Returns what is promised after so many steps.
    fn promised(&self, steps: usize) -> Promise {
        let kept = self.promises.iter().rev().find(|(at, _)| *at <= steps);
        kept.map(|(_, promise)| promise.clone()).unwrap_or_default()
    }

    /// Opens the remains, and compares them with what was promised.
    #[track_caller]
    fn assert_kept(&self, root: &Path, steps: usize, what: &str) {
        let opened = MirrorWriter::open(&options(root));
        let (mut mirror, _) = opened.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        mirror.finish_bundles(false).expect("finish");
        drop(mirror);
        let reader = Mirror::open(root, None).expect("open");
        let held = |name: &str| {
            let row = reader.held(&id(name)).expect("held")?;
            let found = reader.locate(&id(name), &row).expect("locate");
            let found =
                found.unwrap_or_else(|| panic!("{what}: {name} is said to be held, and is not there"));
            let bytes = reader.read(&id(name), &found).expect("read");
            assert_eq!(
                row.sha256,
                sha256_of(&bytes),
                "{what}: {name} has other bytes than it is said to have"
            );
            Some(bytes)
        };
        let names = ["aaaa", "bbbb", "cccc", "dddd", "eeee"];
        let all: BTreeMap<_, _> = names.into_iter().map(|name| (name, held(name))).collect();
        for (name, promised) in self.promised(steps) {
            assert_eq!(all[name].as_deref(), promised, "{what}: {name}");
        }
    }
}

/// Returns path and bytes of every file below a directory.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.insert(path.clone(), std::fs::read(path).expect("read"));
            }
        }
    }
    files
}

fn options(root: &Path) -> OpenOptions {
    let mut options = OpenOptions::default();
    options.root = root.to_owned();
    options.targets = vec![StoreId::BUNDLES];
    options
}

fn sha256_of(bytes: &[u8]) -> Sha256 {
    match bytes {
        BYTES => SHA256.parse().expect("a hash"),
        OTHER => OTHER_SHA256.parse().expect("a hash"),
        torn => panic!("nobody ever held these {} bytes", torn.len()),
    }
}

#[test]
fn a_commit_that_is_cut_short_anywhere_promises_nothing_that_is_not_there() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().canonicalize().expect("real").join("m");
    let session = Session::run(&root, None);
    assert!(session.error.is_none(), "{:?}", session.error);
    let steps = session.sim.steps();
    assert!(steps.len() > 20, "the mirror changes its files through what it was given: {steps:?}");
    session.assert_kept(&root, usize::MAX, "at the end");
    mirror_fs::remove_tree(&root).expect("remove");
    let (mut disk, mut seen) = (session.sim.start(), HashSet::new());
    for (at, step) in steps.iter().enumerate() {
        disk.apply(step);
        for loss in Loss::ALL {
            disk.lay_down(loss, &root).expect("lay down");
            // Most losses leave the same files at most steps.
            if seen.insert((session.promised(at + 1), files(&root))) {
                session.assert_kept(&root, at + 1, &format!("{loss:?} after step {at} ({step:?})"));
            }
            mirror_fs::remove_tree(&root).expect("remove");
        }
    }
    assert!(seen.len() > steps.len(), "a power cut leaves other things than a kill");
}

#[test]
fn a_step_that_fails_promises_nothing_that_is_not_there() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().canonicalize().expect("real").join("m");
    let whole = Session::run(&root, None);
    for at in 0..whole.sim.count() {
        mirror_fs::remove_tree(&root).expect("remove");
        let failed = Session::run(&root, Some(at));
        let step = &whole.sim.steps()[at];
        failed.assert_kept(&root, usize::MAX, &format!("step {at} failed ({step:?})"));
    }
}

/// A record is true before any later run checks it: the bytes are durable before it is written at all.
#[test]
fn no_record_is_written_before_its_bytes_are_durable() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().canonicalize().expect("real").join("m");
    let session = Session::run(&root, None);
    let (mut disk, mut seen) = (session.sim.start(), 0);
    for step in session.sim.steps() {
        if let Step::Append(path, bytes) = &step
            && path == Path::new("manifest.jsonl")
        {
            let left = dir.path().join("left");
            disk.lay_down(Loss::Unsynced, &left).expect("lay down");
            for record in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let record: ManifestRecord = serde_json::from_slice(record).expect("a record");
                seen += u64::from(record.status == "downloaded");
                assert_durable(&record, &root, &left);
            }
            mirror_fs::remove_tree(&left).expect("remove");
        }
        disk.apply(&step);
    }
    assert_eq!(seen, 5, "every release that was held has a record");
}

/// Compares a record with what a power cut leaves.
#[track_caller]
fn assert_durable(record: &ManifestRecord, root: &Path, left: &Path) {
    let len = |path: &str| {
        let below = Path::new(path).strip_prefix(root).expect("below the root");
        let (sealed, partial) = (left.join(below), left.join(format!("{}.partial", below.display())));
        std::fs::metadata(sealed).or_else(|_| std::fs::metadata(partial)).map_or(0, |meta| meta.len())
    };
    let Some(locations) = record.locations().filter(|_| record.status == "downloaded") else { return };
    if locations.is_loose() {
        assert_eq!(len(&record.path), record.size, "{record:?}");
    }
    if let (Some(at), Some(bundle)) = (locations.member(), &record.bundle_path) {
        assert!(at.offset + at.len <= len(bundle), "{record:?}");
    }
}
