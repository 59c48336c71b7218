//! The contract of the loose tree.

use std::path::Path;

use mirror_types::{FaultKind, Layout};

use crate::{Store, StoreError};

fn open(root: &Path) -> Store {
    Store::open(root, Layout::Shard, false).expect("open")
}

#[test]
fn what_is_committed_is_there_and_what_is_not_has_no_name() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(dir.path());
    let kept = store.stage("s/er/serde-1.0.0.crate", b"serde").expect("stage");
    let dropped = store.stage("s/er/serde-2.0.0.crate", b"other").expect("stage");
    store.commit(vec![kept]).expect("commit");
    drop(dropped);
    assert_eq!(store.hash("s/er/serde-1.0.0.crate").expect("hash").expect("there").1, 5);
    assert!(store.hash("s/er/serde-2.0.0.crate").expect("hash").is_none());
    assert_eq!(store.list_dir("s/er").expect("list").expect("there").files, ["serde-1.0.0.crate"]);
    assert_eq!(std::fs::read_dir(dir.path().join(".mirror/stage")).expect("stage").count(), 0);
}

#[test]
fn a_large_body_is_spooled_and_may_begin_again() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(dir.path());
    let mut writer = store.stage_file().expect("spool");
    writer.write(b"wrong and long").expect("write");
    writer.restart().expect("restart");
    writer.write(b"right").expect("write");
    store.commit(vec![writer.finish("ab/ab-0.1.0.crate").expect("finish")]).expect("commit");
    assert_eq!(std::fs::read(dir.path().join("ab/ab-0.1.0.crate")).expect("read"), b"right");
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().expect("dir");
    let first = open(dir.path());
    let error = Store::open(dir.path(), Layout::Shard, false).expect_err("locked");
    assert_eq!(error.kind(), FaultKind::Locked);
    drop(first);
    open(dir.path());
}

#[test]
fn a_mirror_keeps_its_layout() {
    let dir = tempfile::tempdir().expect("dir");
    drop(Store::open(dir.path(), Layout::Cargo, true).expect("open"));
    assert_eq!(open(dir.path()).layout(), Layout::Cargo);
    let error = Store::open(dir.path(), Layout::Shard, true).expect_err("mixed");
    assert!(matches!(error, StoreError::LayoutMismatch { .. }), "{error}");
}

#[test]
fn what_a_crash_left_in_the_stage_is_removed() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(dir.path());
    std::mem::forget(store.stage("ab/ab-0.1.0.crate", b"half").expect("stage"));
    drop(store);
    open(dir.path());
    assert_eq!(std::fs::read_dir(dir.path().join(".mirror/stage")).expect("stage").count(), 0);
}

#[test]
#[cfg(unix)]
fn links_are_not_followed() {
    let dir = tempfile::tempdir().expect("dir");
    let outside = tempfile::tempdir().expect("outside");
    let store = open(dir.path());
    std::os::unix::fs::symlink(outside.path(), dir.path().join("s")).expect("link");
    let staged = store.stage("s/er/serde-1.0.0.crate", b"x").expect("stage");
    assert_eq!(store.commit(vec![staged]).expect_err("link").kind(), FaultKind::Integrity);
    assert_eq!(std::fs::read_dir(outside.path()).expect("list").count(), 0);
}

/// Checks that a store which skips the look for a file is right to do so: otherwise it would replace the file.
#[test]
fn only_directories_of_this_store_are_known_to_hold_nothing_else() {
    let dir = tempfile::tempdir().expect("dir");
    let rel = "s/er/serde-1.0.0.crate";
    let commit = |store: &Store, rel: &str| {
        let staged = store.stage(rel, b"x").expect("stage");
        store.commit(vec![staged]).expect("commit");
    };
    let store = open(dir.path());
    assert!(!store.may_hold(rel).expect("no directory yet"));
    commit(&store, rel);
    assert!(!store.may_hold("s/er/serde-2.0.0.crate").expect("made here"));
    drop(store);
    let store = open(dir.path());
    assert!(store.may_hold(rel).expect("made by another run"));
    commit(&store, "s/er/serde-2.0.0.crate");
    assert!(store.may_hold(rel).expect("not made here by a commit into it"));
    commit(&store, "s/yn/syn-1.0.0.crate");
    assert!(!store.may_hold("s/yn/syn-2.0.0.crate").expect("made here, below one that was there"));
    for bad in ["../x", "/x", "a/../../x"] {
        assert_eq!(store.may_hold(bad).expect_err(bad).kind(), FaultKind::Usage);
    }
    std::fs::write(dir.path().join("t"), b"in the way").expect("write");
    assert!(store.may_hold("t/ok/tokio-1.0.0.crate").expect("not known to be nothing"));
}

#[test]
fn paths_that_leave_the_mirror_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(dir.path());
    for bad in ["../x", "/x", "a/../../x", "a\\..\\x", ""] {
        assert_eq!(store.stage(bad, b"x").expect_err(bad).kind(), FaultKind::Usage);
    }
}

#[test]
fn a_file_set_aside_keeps_its_bytes() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(dir.path());
    let staged = store.stage("ab/ab-0.1.0.crate", b"bad").expect("stage");
    store.commit(vec![staged]).expect("commit");
    store.set_aside("ab/ab-0.1.0.crate", "quarantine", "run").expect("aside");
    assert!(store.hash("ab/ab-0.1.0.crate").expect("hash").is_none());
    let kept = dir.path().join(".mirror/quarantine/ab/ab-0.1.0.crate.run");
    assert_eq!(std::fs::read(kept).expect("read"), b"bad");
}
