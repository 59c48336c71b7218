use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use mirror_git::IndexSource;
use mirror_testkit::{DayChanges, GitForm, Scale, Synthetic, git, git_says};

type Files = BTreeMap<String, Vec<u8>>;

const DAY: DayChanges =
    DayChanges { published: 20, yanked: 5, deleted: 5, republished: 5, created: 5, removed: 5 };

fn index(seed: u64) -> Synthetic {
    Synthetic::new(Scale { seed, releases: 4_000, crates: 400, mean_bytes: 0 })
}

fn files(index: &Synthetic) -> Files {
    index.numbers().filter_map(|at| index.file(at)).collect()
}

fn in_order(source: &IndexSource) -> Files {
    let mut files = Files::new();
    let mut order = Vec::new();
    source
        .scan(&mut |file| {
            order.push(file.path.clone());
            files.insert(file.path, file.data);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(order.is_sorted_by(|a, b| a < b), "files come in the order of their paths");
    files
}

fn unordered(source: &IndexSource, threads: usize) -> Files {
    let files = Mutex::new(Files::new());
    source
        .scan_unordered(threads, &|| {
            Box::new(|path, data| {
                let twice = files.lock().unwrap().insert(path.to_owned(), data.to_vec());
                assert!(twice.is_none(), "{path} came twice");
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    files.into_inner().unwrap()
}

#[track_caller]
fn reads(dir: &Path, wanted: &Files) {
    let source = IndexSource::open(dir).unwrap();
    assert!(in_order(&source) == *wanted, "in order");
    for threads in [1, 3] {
        assert!(unordered(&source, threads) == *wanted, "on {threads} threads");
    }
}

#[test]
fn every_form_of_storage_gives_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let bare = dir.path().join("index.git");
    let mut synthetic = index(1);
    synthetic.create_git(&bare, GitForm::Bare);
    reads(&bare, &files(&synthetic));
    // Several packs, a history, loose objects.
    for _ in 0..3 {
        synthetic.commit_day(&bare, &DAY);
    }
    let now = files(&synthetic);
    reads(&bare, &now);
    git(&bare, &["repack", "-a", "-d", "-f", "--quiet", "--window=50", "--depth=200"]);
    let chains = git_says(&bare, &["cat-file", "--batch-all-objects", "--batch-check=%(deltabase)"]);
    assert!(chains.lines().filter(|base| !base.starts_with("0000")).count() > 100, "the pack has deltas");
    reads(&bare, &now);
    // Deltas that name their bases instead of giving their offsets.
    git(&bare, &["-c", "repack.useDeltaBaseOffset=false", "repack", "-a", "-d", "-f", "--quiet"]);
    reads(&bare, &now);
    Synthetic::squash(&bare);
    reads(&bare, &now);

    let checkout = dir.path().join("checkout");
    git(dir.path(), &["clone", "--quiet", "index.git", "checkout"]);
    std::fs::write(checkout.join("untracked"), "the work tree is not looked at").unwrap();
    reads(&checkout, &now);
    // A clone that borrows all objects of another, and a shallow one.
    git(dir.path(), &["clone", "--quiet", "--bare", "--shared", "index.git", "shared.git"]);
    reads(&dir.path().join("shared.git"), &now);
    let url = format!("file://{}", bare.display());
    git(dir.path(), &["clone", "--quiet", "--bare", "--depth=1", &url, "shallow.git"]);
    reads(&dir.path().join("shallow.git"), &now);
    // Only loose objects.
    git(&bare, &["repack", "-a", "-d", "--quiet"]);
    let loose = dir.path().join("loose.git");
    git(dir.path(), &["init", "--quiet", "--bare", "--initial-branch=master", "loose.git"]);
    let pack = std::fs::read_dir(bare.join("objects/pack")).unwrap().flatten().map(|entry| entry.path());
    let pack = pack.into_iter().find(|path| path.extension().is_some_and(|it| it == "pack")).unwrap();
    let unpack = std::process::Command::new("git")
        .args(["unpack-objects", "-q"])
        .current_dir(&loose)
        .stdin(std::fs::File::open(pack).unwrap())
        .status();
    assert!(unpack.unwrap().success());
    git(&loose, &["update-ref", "refs/heads/master", git_says(&bare, &["rev-parse", "HEAD"]).trim()]);
    reads(&loose, &now);
    // And without git.
    let plain = dir.path().join("plain");
    synthetic.write_tree(&plain);
    reads(&plain, &now);
}

#[test]
fn crates_with_equal_files_are_all_given() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--initial-branch=master"]);
    let mut wanted = Files::new();
    for name in ["aa/aa/aaaa", "bb/bb/bbbb", "3/c/ccc"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "the same\n").unwrap();
        wanted.insert(name.to_owned(), b"the same\n".to_vec());
    }
    git(dir.path(), &["add", "."]);
    git(dir.path(), &["commit", "--quiet", "-m", "same"]);
    git(dir.path(), &["repack", "-a", "-d", "--quiet"]);
    reads(dir.path(), &wanted);
}

#[test]
fn a_visitor_may_stop_everything() {
    let dir = tempfile::tempdir().unwrap();
    index(2).create_git(dir.path(), GitForm::Bare);
    let source = IndexSource::open(dir.path()).unwrap();
    let seen = Mutex::new(0);
    source
        .scan_unordered(2, &|| {
            Box::new(|_, _| {
                *seen.lock().unwrap() += 1;
                ControlFlow::Break(())
            })
        })
        .unwrap();
    assert!((1..=2).contains(&*seen.lock().unwrap()));
}

#[test]
fn what_changed_between_two_trees() {
    let dir = tempfile::tempdir().unwrap();
    let bare = dir.path().join("index.git");
    let mut synthetic = index(3);
    synthetic.create_git(&bare, GitForm::Bare);
    let (before, old) = (files(&synthetic), IndexSource::open(&bare).unwrap().tree_id().unwrap());
    for _ in 0..2 {
        synthetic.commit_day(&bare, &DAY);
    }
    Synthetic::squash(&bare);
    let now = files(&synthetic);
    let source = IndexSource::open(&bare).unwrap();
    let changed = source.compare(&old).unwrap();
    let mut found = BTreeMap::new();
    for change in &changed {
        let read = |blob: &Option<_>| blob.as_ref().map(|blob| source.blob(blob).unwrap());
        found.insert(change.path.clone(), (read(&change.before), read(&change.after)));
    }
    assert_eq!(found.len(), changed.len());
    let mut wanted = BTreeMap::new();
    for path in before.keys().chain(now.keys()) {
        let (was, is) = (before.get(path).cloned(), now.get(path).cloned());
        if was != is {
            wanted.insert(path.clone(), (was, is));
        }
    }
    assert!(wanted.len() > 80 && found == wanted);
    assert!(source.compare(&source.tree_id().unwrap()).unwrap().is_empty());
    // A tree that is gone, and an id that never was one.
    git(&bare, &["reflog", "expire", "--expire=now", "--all"]);
    git(&bare, &["gc", "--quiet", "--prune=now"]);
    let source = IndexSource::open(&bare).unwrap();
    assert!(source.compare(&old).is_none());
    assert!(source.compare("no tree").is_none());
    for at in synthetic.numbers() {
        let file = source
            .file(&mirror_types::index_path(synthetic.name(at)))
            .unwrap()
            .map(|file| (file.path, file.data));
        assert!(file == synthetic.file(at), "{}", synthetic.name(at));
    }
}

#[test]
fn a_damaged_pack_is_an_error_and_no_short_list() {
    let dir = tempfile::tempdir().unwrap();
    index(4).create_git(dir.path(), GitForm::Bare);
    git(dir.path(), &["repack", "-a", "-d", "-f", "--quiet"]);
    let packs =
        std::fs::read_dir(dir.path().join("objects/pack")).unwrap().flatten().map(|entry| entry.path());
    let pack = packs.into_iter().find(|path| path.extension().is_some_and(|it| it == "pack")).unwrap();
    let whole = std::fs::read(&pack).unwrap();
    let mut refused = 0;
    for part in 1..20 {
        let mut bytes = whole.clone();
        let at = bytes.len() * part / 20;
        bytes[at] ^= 0x10;
        std::fs::remove_file(&pack).unwrap();
        std::fs::write(&pack, bytes).unwrap();
        let Ok(source) = IndexSource::open(dir.path()) else { continue };
        let scanned = source.scan_unordered(2, &|| Box::new(|_, _| ControlFlow::Continue(())));
        refused += usize::from(scanned.is_err());
    }
    // Another checksum than zlib's guards the rest: changes of a few bytes of a commit or a header have no effect.
    assert!(refused >= 17, "{refused} of 19");
}
