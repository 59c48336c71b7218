//! Checks the disk after a commit was cut short: by a kill or a power cut after any step, or by a step that fails.

use std::path::Path;
use std::sync::Arc;

use mirror_fs::sim::{Loss, SimulatedDisk, Simulator};
use mirror_fs::{LocalFs, SyncMode};
#[cfg(unix)]
use mirror_types::FaultKind;
use mirror_types::Layout;

use crate::{MirrorRecord, Store};

const PATHS: [&str; 6] = [
    "s/er/serde-1.0.0.crate",
    "s/er/serde-1.0.1.crate",
    "ab/ab-0.1.0.crate",
    "1/se/1serde-1.0.0.crate",
    "s/er/serde_json-1.0.0.crate",
    "t/ok/tokio-1.0.0.crate",
];

/// The files that `commit` promised to be durable, each set with the number of steps until then.
type Promises = Vec<(usize, &'static [&'static str])>;

/// Simulates the disk of an existing mirror.
fn simulator(root: &Path, mode: SyncMode) -> Simulator {
    drop(Store::open(root, Layout::Shard, false).expect("open"));
    Simulator::new(root, Arc::new(LocalFs::new(mode))).expect("simulator")
}

/// Makes two commits, and returns the promises, and the error of the step that failed.
fn two_commits(root: &Path, sim: &Simulator) -> (Promises, Option<crate::StoreError>) {
    let mut promises = Promises::new();
    let store = match Store::open_on(Arc::new(sim.clone()), root, Layout::Shard, false) {
        Ok(store) => store,
        Err(error) => return (promises, Some(error)),
    };
    for batch in PATHS.chunks(3) {
        let mut staged = Vec::new();
        for path in batch {
            match store.stage(path, path.as_bytes()) {
                Ok(one) => staged.push(one),
                Err(error) => return (promises, Some(error)),
            }
        }
        if let Err(error) = store.commit(staged) {
            return (promises, Some(error));
        }
        promises.push((sim.count(), batch));
    }
    (promises, None)
}

/// Asserts that, whatever the disk loses at this moment, every final name has its bytes and everything promised is
/// there.
fn assert_safe(disk: &SimulatedDisk, promised: &[&str], what: &str) {
    for loss in Loss::ALL {
        let left = tempfile::tempdir().expect("dir");
        disk.lay_down(loss, left.path()).expect("lay down");
        let store = Store::open_read_only(left.path(), Layout::Shard).expect("open").expect("a mirror");
        for path in PATHS {
            match store.hash(path).expect("hash") {
                Some((_, size)) => assert_eq!(size, path.len() as u64, "{loss:?} {what}: {path} is torn"),
                None => assert!(!promised.contains(&path), "{loss:?} {what}: {path} was promised"),
            }
        }
    }
}

/// Returns what was promised within the first `steps` steps.
fn promised(promises: &Promises, steps: usize) -> Vec<&'static str> {
    promises.iter().filter(|(at, _)| *at <= steps).flat_map(|(_, paths)| *paths).copied().collect()
}

fn modes() -> Vec<SyncMode> {
    vec![
        SyncMode::EachFile,
        #[cfg(target_os = "linux")]
        SyncMode::FileSystem,
    ]
}

#[test]
fn after_a_power_cut_no_name_is_without_its_bytes_and_what_was_promised_is_there() {
    for mode in modes() {
        let dir = tempfile::tempdir().expect("dir");
        let sim = simulator(dir.path(), mode);
        let (promises, error) = two_commits(dir.path(), &sim);
        assert!(error.is_none(), "{error:?}");
        let steps = sim.steps();
        assert!(steps.len() > 15, "{steps:?}");
        assert_eq!(promises.iter().map(|(_, paths)| paths.len()).sum::<usize>(), PATHS.len());
        let mut disk = sim.start();
        for (at, step) in steps.iter().enumerate() {
            disk.apply(step);
            assert_safe(&disk, &promised(&promises, at + 1), &format!("after step {at}: {step:?}"));
        }
    }
}

/// Checks that a new mirror has its record once that was promised.
#[test]
fn the_record_of_a_new_mirror_is_durable() {
    let dir = tempfile::tempdir().expect("dir");
    let sim = Simulator::new(dir.path(), Arc::new(LocalFs::unsynced())).expect("simulator");
    let store = Store::open_on(Arc::new(sim.clone()), dir.path(), Layout::Cargo, true).expect("open");
    let record =
        MirrorRecord { root: Some("somewhere".to_owned()), ..MirrorRecord::of_layout(Layout::Cargo) };
    store.set_record(&record).expect("record");
    let mut disk = sim.start();
    sim.steps().iter().for_each(|step| disk.apply(step));
    for loss in Loss::ALL {
        let left = tempfile::tempdir().expect("dir");
        disk.lay_down(loss, left.path()).expect("lay down");
        let found = MirrorRecord::read(left.path()).expect("readable").expect("a record");
        assert_eq!((found.layout, found.root), (Layout::Cargo, record.root.clone()), "{loss:?}");
    }
}

/// Covers EIO: the kernel has dropped the bytes and reports it only once.
#[cfg(unix)]
#[test]
fn a_step_that_fails_ends_the_commit_and_is_not_tried_again() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    for mode in modes() {
        let dir = tempfile::tempdir().expect("dir");
        let whole = simulator(dir.path(), mode);
        assert!(two_commits(dir.path(), &whole).1.is_none());
        for at in 0..whole.count() {
            for errno in [EIO, ENOSPC] {
                let dir = tempfile::tempdir().expect("dir");
                let sim = simulator(dir.path(), mode);
                sim.fail_at(at, errno);
                let (promises, error) = two_commits(dir.path(), &sim);
                let error = error.expect("the step fails");
                assert_eq!(error.kind(), FaultKind::Storage, "{error}");
                assert_eq!(error.to_string().contains("disk is full"), errno == ENOSPC, "{error}");
                let steps = sim.steps();
                assert_eq!(steps.len(), at + 1, "nothing was done after the fault");
                let mut disk = sim.start();
                steps[..at].iter().for_each(|step| disk.apply(step));
                assert_safe(&disk, &promised(&promises, at), &format!("step {at} failed: {:?}", steps[at]));
                // The next run finds only whole files, and an empty stage.
                let store = Store::open(dir.path(), Layout::Shard, false).expect("open again");
                for path in PATHS {
                    if let Some((_, size)) = store.hash(path).expect("hash") {
                        assert_eq!(size, path.len() as u64, "{path} is torn");
                    }
                }
                let left = std::fs::read_dir(dir.path().join(".mirror/stage")).expect("list").count();
                assert_eq!(left, 0);
            }
        }
    }
}
