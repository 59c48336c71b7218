//! Checks that packs do not accumulate.

use std::collections::BTreeSet;
use std::path::Path;

use mirror_git::History;
use mirror_testkit::{GitDaemon, git, git_says};

use crate::fixture::{Upstream, assert_at, options, update};

fn packs(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir.join("objects/pack")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".pack"))
        .collect()
}

/// Returns the objects in packs, and the objects that the refs reach.
fn objects(dir: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let listed = git_says(dir, &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    let reached = git_says(dir, &["rev-list", "--objects", "--all"]);
    let first = |line: &str| line.split(' ').next().unwrap().to_owned();
    (listed.lines().map(first).collect(), reached.lines().map(first).collect())
}

/// Returns the other commit of the shallow boundary.
fn before_last(dir: &Path, tip: &str) -> String {
    let boundary = std::fs::read_to_string(dir.join("shallow")).unwrap();
    boundary.lines().find(|line| *line != tip).unwrap().to_owned()
}

/// Between two updates, a branch is made at objects that only the replaced packs have.
#[test]
fn replaced_packs_that_a_new_branch_needs_stay() {
    let mut upstream = Upstream::new(40);
    let daemon = GitDaemon::start(upstream.dir.path());
    let mut options = options(&daemon.url("remote/.git"));
    options.packs_most = 2;
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    let old = upstream.tip();
    upstream.publish();
    update(&dir, &options).unwrap();
    upstream.publish();
    assert_eq!(update(&dir, &options).unwrap().packs_replaced, 3);
    git(&dir, &["branch", "keep", &old]);
    for _ in 0..4 {
        let tip = upstream.publish();
        update(&dir, &options).unwrap();
        assert_at(&dir, &tip);
        git(&dir, &["rev-list", "--objects", "keep"]);
    }
    assert!(packs(&dir).len() <= 4, "{:?}", packs(&dir));
}

#[test]
fn a_shallow_clone_keeps_the_newest_snapshot_only() {
    let mut upstream = Upstream::new(80);
    let daemon = GitDaemon::start(upstream.dir.path());
    let mut options = options(&daemon.url("remote/.git"));
    options.packs_most = 4;
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    let mut replaced = Vec::new();
    for _ in 0..9 {
        let before = packs(&dir);
        let consolidated = replaced.last() > Some(&0);
        let tip = upstream.publish();
        replaced.push(update(&dir, &options).unwrap().packs_replaced);
        assert_at(&dir, &tip);
        if replaced.last() > Some(&0) {
            assert!(packs(&dir).is_superset(&before), "a reader may look for them yet");
        } else if consolidated {
            let (held, reached) = objects(&dir);
            let last = git_says(&dir, &["rev-list", "--objects", &before_last(&dir, &tip)]);
            let first = |line: &str| line.split(' ').next().unwrap().to_owned();
            let kept: BTreeSet<_> = reached.into_iter().chain(last.lines().map(first)).collect();
            assert_eq!(held, kept, "what no ref reached is gone");
            assert_eq!(packs(&dir).len(), 2);
            assert_eq!(std::fs::read_to_string(dir.join("shallow")).unwrap().lines().count(), 2);
        }
    }
    assert_eq!(replaced, [0, 0, 0, 5, 0, 0, 0, 5, 0]);
    // git can use it, too.
    git(&dir, &["gc", "--quiet", "--prune=now"]);
    let tip = upstream.publish();
    update(&dir, &options).unwrap();
    assert_at(&dir, &tip);
}

#[test]
fn a_full_clone_keeps_everything_and_its_largest_pack() {
    let mut upstream = Upstream::new(1_000);
    let daemon = GitDaemon::start(upstream.dir.path());
    let url = daemon.url("remote/.git");
    let mut options = options(&url);
    options.packs_most = 3;
    options.history = History::Full;
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    let first = packs(&dir);
    for round in 0..7 {
        if round == 5 {
            upstream.squash();
        }
        let tip = upstream.publish();
        update(&dir, &options).unwrap();
        assert_at(&dir, &tip);
        // After a squash the server sends the whole tree again: a full clone has no boundary that it could cut at.
        assert!(round >= 5 || packs(&dir).is_superset(&first), "the largest pack stays");
        // Together with the replaced packs, until the next update.
        assert!(packs(&dir).len() <= 5, "{:?}", packs(&dir));
    }
    let (held, reached) = objects(&dir);
    assert!(held.is_superset(&reached));
    assert!(held.len() > reached.len(), "the squashed history is still there");
}

#[test]
fn packs_are_readable_as_git_makes_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut upstream = Upstream::new(20);
    let daemon = GitDaemon::start(upstream.dir.path());
    let mut options = options(&daemon.url("remote/.git"));
    options.packs_most = 1;
    let dir = upstream.path("clone");
    for _ in 0..2 {
        update(&dir, &options).unwrap();
        upstream.publish();
        for entry in std::fs::read_dir(dir.join("objects/pack")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o444);
        }
    }
}

#[test]
fn packs_that_are_marked_to_be_kept_stay_and_gc_is_left_alone() {
    let mut upstream = Upstream::new(40);
    let daemon = GitDaemon::start(upstream.dir.path());
    let mut options = options(&daemon.url("remote/.git"));
    options.packs_most = 2;
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    let kept = packs(&dir).pop_first().unwrap();
    std::fs::write(dir.join("objects/pack").join(kept.replace(".pack", ".keep")), "").unwrap();
    std::fs::write(dir.join("gc.pid"), "1 localhost").unwrap();
    for _ in 0..5 {
        upstream.publish();
        assert_eq!(update(&dir, &options).unwrap().packs_replaced, 0);
    }
    std::fs::remove_file(dir.join("gc.pid")).unwrap();
    let tip = upstream.publish();
    assert_eq!(update(&dir, &options).unwrap().packs_replaced, 6);
    assert_at(&dir, &tip);
    assert_eq!(packs(&dir).len(), 8);
    update(&dir, &options).unwrap();
    assert_at(&dir, &tip);
    assert!(packs(&dir).contains(&kept));
    assert_eq!(packs(&dir).len(), 2);
}

/// Covers the remains of a `git` that is killed while it removes a pack.
#[test]
fn an_index_without_its_pack_is_passed_over() {
    let mut upstream = Upstream::new(20);
    let daemon = GitDaemon::start(upstream.dir.path());
    let mut options = options(&daemon.url("remote/.git"));
    options.packs_most = 2;
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    let stranger = upstream.path("stranger");
    git(upstream.dir.path(), &["init", "--quiet", "stranger"]);
    git(&stranger, &["commit", "--quiet", "--allow-empty", "-m", "of another repository"]);
    git(&stranger, &["repack", "-a", "--quiet"]);
    let name = packs(&stranger.join(".git")).pop_first().unwrap().replace(".pack", ".idx");
    let from = stranger.join(".git/objects/pack").join(&name);
    std::fs::copy(from, dir.join("objects/pack").join(&name)).unwrap();
    let mut replaced = 0;
    for _ in 0..3 {
        upstream.publish();
        replaced += update(&dir, &options).unwrap().packs_replaced;
    }
    assert!(replaced > 0);
}

/// Covers a kill after the new pack was in place and before the old ones were removed.
#[test]
fn removal_that_was_cut_short_is_finished() {
    let mut upstream = Upstream::new(40);
    let daemon = GitDaemon::start(upstream.dir.path());
    let options = options(&daemon.url("remote/.git"));
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    upstream.publish();
    update(&dir, &options).unwrap();
    let old = packs(&dir);
    git(&dir, &["repack", "-a", "--quiet"]);
    let new: Vec<_> = packs(&dir).difference(&old).cloned().collect();
    let list: Vec<_> = new.iter().chain(&old).map(|name| name.replace(".pack", "")).collect();
    std::fs::write(dir.join("mirror-packs-replaced"), list.join("\n")).unwrap();
    std::fs::remove_file(dir.join("objects/pack").join(old.first().unwrap().replace(".pack", ".idx")))
        .unwrap();
    let tip = upstream.publish();
    update(&dir, &options).unwrap();
    assert_at(&dir, &tip);
    assert!(packs(&dir).is_disjoint(&old));
    assert!(!dir.join("mirror-packs-replaced").exists());

    // A list whose new pack is missing proves nothing.
    let held = packs(&dir);
    let lie: Vec<_> =
        std::iter::once("pack-0000".to_owned()).chain(held.iter().map(|n| n.replace(".pack", ""))).collect();
    std::fs::write(dir.join("mirror-packs-replaced"), lie.join("\n")).unwrap();
    update(&dir, &options).unwrap();
    assert_eq!(packs(&dir), held);
    assert_at(&dir, &tip);
}
