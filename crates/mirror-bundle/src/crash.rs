//! Checks what remains of bundles when a run is cut short between any two steps: by a kill, by a power cut that loses
//! what was not synced, or by a step that fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mirror_fs::LocalFs;
use mirror_fs::sim::{Loss, Simulator};
#[cfg(unix)]
use mirror_types::FaultKind;

use crate::contract::{append_all, contents, open_unsynced, releases, small, sum};
use crate::*;

/// The members that `commit` promised to be durable, each set with the number of steps until then.
type Promises = Vec<(usize, Vec<BundleMember>)>;

fn simulator(dir: &Path) -> Simulator {
    Simulator::new(dir, Arc::new(LocalFs::unsynced())).expect("simulator")
}

/// Performs three runs with several commits and small bundles, which are appended to, rolled, sealed and continued.
fn three_runs(dir: &Path, sim: &Simulator, promises: &mut Promises) -> Result<(), BundleError> {
    let options = BundleOptions { bundle_bytes: 12_000, threads: 1, ..small() };
    for run in releases(30).chunks(10) {
        let (mut writer, _) = BundleWriter::open_on(Arc::new(sim.clone()), dir, options.clone())?;
        for batch in run.chunks(4) {
            for (id, data) in batch {
                writer.append(crate::contract::member(id, data.clone()))?;
            }
            let placed = writer.commit()?;
            promises.push((sim.count(), placed));
        }
    }
    Ok(())
}

/// Opens the remains, and asserts that everything promised is there and every sealed bundle is in the index with its
/// checksums.
fn assert_kept(dir: &Path, promised: &[BundleMember], what: &str) {
    let (mut writer, _) = open_unsynced(dir, small());
    let more = &releases(33)[30..];
    append_all(&mut writer, more);
    writer.seal().expect("seal");
    drop(writer);
    let mut found = BTreeMap::new();
    let index = read_index(dir).expect("index");
    let bundles = list_bundles(dir).expect("list");
    assert_eq!(index.len(), bundles.len(), "{what}");
    for one in &bundles {
        assert!(one.sealed, "{what}: {}", one.name);
        let line = index.iter().find(|line| line.bundle_path.ends_with(&one.name)).expect("a line");
        assert_eq!(line.sha256, Some(sum(&fs::read(&one.path).expect("read"))), "{what}");
        let members = contents(&one.path);
        let mut listed = Vec::new();
        read_manifest(one.manifest.as_ref().expect("a manifest"), &mut |line| {
            listed.push((line.bundle_member, line.sha256));
            Ok(())
        })
        .expect("manifest");
        let hashed: Vec<_> = members.iter().map(|(path, data)| (path.clone(), sum(data))).collect();
        assert_eq!(hashed, listed, "{what}");
        found.extend(hashed);
    }
    for member in promised {
        assert_eq!(
            found.get(&member.bundle_member),
            Some(&member.sha256),
            "{what}: {}",
            member.bundle_member
        );
    }
}

/// Returns what was promised within the first `steps` steps.
fn promised(promises: &Promises, steps: usize) -> Vec<BundleMember> {
    let kept = promises.iter().filter(|(at, _)| *at <= steps);
    kept.flat_map(|(_, placed)| placed.iter().cloned()).collect()
}

#[test]
fn after_any_step_a_kill_or_a_power_cut_loses_nothing_that_was_promised() {
    let dir = tempfile::tempdir().expect("dir");
    let (sim, mut promises) = (simulator(dir.path()), Promises::new());
    three_runs(dir.path(), &sim, &mut promises).expect("runs");
    let steps = sim.steps();
    assert_eq!(promised(&promises, steps.len()).len(), 30);
    assert!(steps.len() > 60, "{}", steps.len());
    let mut disk = sim.start();
    for (at, step) in steps.iter().enumerate() {
        disk.apply(step);
        for loss in Loss::ALL {
            let left = tempfile::tempdir().expect("dir");
            disk.lay_down(loss, left.path()).expect("lay down");
            assert_kept(
                left.path(),
                &promised(&promises, at + 1),
                &format!("{loss:?} after step {at}: {step:?}"),
            );
        }
    }
}

/// Covers EIO and a full disk: the run ends with the fault, and the next one has everything that was promised.
#[cfg(unix)]
#[test]
fn a_step_that_fails_ends_the_run_and_is_not_tried_again() {
    let dir = tempfile::tempdir().expect("dir");
    let whole = simulator(dir.path());
    three_runs(dir.path(), &whole, &mut Promises::new()).expect("runs");
    for at in 0..whole.count() {
        for errno in [5, 28] {
            let dir = tempfile::tempdir().expect("dir");
            let (sim, mut promises) = (simulator(dir.path()), Promises::new());
            sim.fail_at(at, errno);
            let error = three_runs(dir.path(), &sim, &mut promises).expect_err("the step fails");
            assert_eq!(error.kind(), FaultKind::Storage, "{error}");
            assert_eq!(error.to_string().contains("disk is full"), errno == 28, "{error}");
            assert_eq!(sim.count(), at + 1, "nothing was done after the fault");
            assert_kept(dir.path(), &promised(&promises, at), &format!("step {at} failed with {errno}"));
        }
    }
}
