//! Checks that files that are too large to be read cost neither memory nor the rest of the index.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use mirror_git::{Change, IndexSource};
use mirror_index::{IndexLimits, MAX_FILE_BYTES, parse_file};
use mirror_testkit::{git, git_says};

/// Largest file that these tests read.
const MOST: usize = 4096;
const SMALL: &str = "sm/al/small";
const LARGE: &str = "la/rg/large";

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| rng.alphanumeric() as u8).collect()
}

fn write(dir: &Path, path: &str, data: &[u8]) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, data).unwrap();
}

fn commit(dir: &Path) {
    git(dir, &["add", "."]);
    git(dir, &["commit", "--quiet", "-m", "files"]);
}

/// Reads the index in every way; asserts that all yield the same, and returns it.
#[track_caller]
fn read(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let source = IndexSource::open_with(dir, MOST).unwrap();
    let mut ordered = BTreeMap::new();
    source
        .scan(&mut |file| {
            ordered.insert(file.path, file.data);
            ControlFlow::Continue(())
        })
        .unwrap();
    for (path, data) in &ordered {
        assert!(source.file(path).unwrap().unwrap().data == *data, "{path} by its name");
    }
    for threads in [1, 3] {
        let files = Mutex::new(BTreeMap::new());
        let visitor = || -> mirror_index::Visit<'_> {
            Box::new(|path, data| {
                let twice = files.lock().unwrap().insert(path.to_owned(), data.to_vec());
                assert!(twice.is_none(), "{path} came twice");
                ControlFlow::Continue(())
            })
        };
        source.scan_unordered(threads, &visitor).unwrap();
        let files = files.into_inner().unwrap();
        assert!(files.keys().eq(ordered.keys()), "{threads} threads gave other files");
        for (path, data) in &files {
            // Which of them is stored as a difference to which depends on the way of packing.
            let both = (reason(path, data), reason(path, &ordered[path]));
            assert!(*data == ordered[path] || both.0.is_some() || both.1.is_some(), "{path}");
        }
    }
    ordered
}

/// Returns why a file is not read.
fn reason(path: &str, data: &[u8]) -> Option<String> {
    let mut faults = Vec::new();
    let records = parse_file(path, data, &IndexLimits::default(), &mut |fault| faults.push(fault));
    assert!(records.is_empty());
    let fault = faults.into_iter().next()?;
    assert_eq!((fault.file.as_str(), fault.line), (path, 1));
    (!fault.reason.contains("JSON") && data[0] == 0).then_some(fault.reason)
}

#[test]
fn a_large_file_is_named_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (work, bare) = (dir.path().join("work"), dir.path().join("bare.git"));
    let most = bytes(2, MOST);
    write(&work, SMALL, b"small\n");
    write(&work, "mo/st/most", &most);
    write(&work, LARGE, &bytes(1, MOST + 1));
    git(&work, &["init", "--quiet", "--initial-branch=master"]);
    commit(&work);
    git(dir.path(), &["clone", "--quiet", "--bare", "work", "bare.git"]);
    git(&bare, &["repack", "-a", "-d", "-f", "--quiet"]);
    let plain = dir.path().join("plain");
    std::fs::rename(work.join(".git"), dir.path().join("dot-git")).unwrap();
    git(dir.path(), &["init", "--quiet", "empty"]);
    std::fs::create_dir(&plain).unwrap();
    for (path, data) in [(SMALL, &b"small\n"[..]), ("mo/st/most", &most), (LARGE, &bytes(1, MOST + 1))] {
        write(&plain, path, data);
    }
    std::fs::rename(dir.path().join("dot-git"), work.join(".git")).unwrap();
    for index in [&work, &bare, &plain] {
        let files = read(index);
        assert_eq!(files[SMALL], b"small\n", "{}", index.display());
        assert!(files["mo/st/most"] == most, "{}", index.display());
        let reason = reason(LARGE, &files[LARGE]).expect("the large one is not read");
        assert_eq!(reason, "the file has 4097 bytes, 4096 are allowed", "{}", index.display());
    }
}

#[test]
fn what_is_made_of_a_large_file_is_named_as_well() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--initial-branch=master"]);
    let large = bytes(3, 6 * MOST);
    write(dir.path(), LARGE, &large);
    write(dir.path(), "ar/ge/arge", &large[..MOST - 96]);
    write(dir.path(), SMALL, b"small\n");
    commit(dir.path());
    for form in
        [&["repack", "-adf", "--quiet"][..], &["-c", "repack.useDeltaBaseOffset=false", "repack", "-adf"]]
    {
        git(dir.path(), form);
        let base = git_says(dir.path(), &["rev-parse", "HEAD:la/rg/large"]);
        let deltas = git_says(dir.path(), &["cat-file", "--batch-all-objects", "--batch-check=%(deltabase)"]);
        assert!(deltas.contains(&base), "git made a difference to the large one: {deltas}");
        let files = read(dir.path());
        assert_eq!(files[SMALL], b"small\n");
        assert!(reason(LARGE, &files[LARGE]).unwrap().contains("the file has 24576 bytes"));
        let reason = reason("ar/ge/arge", &files["ar/ge/arge"]).expect("a part of the large one");
        assert!(reason.contains("stored as a difference") && reason.contains("git -c core.big"), "{reason}");
    }
    // With the setting that the reason names.
    git(dir.path(), &["-c", "core.bigFileThreshold=16k", "repack", "-adf", "--quiet"]);
    assert!(read(dir.path())["ar/ge/arge"] == large[..MOST - 96]);
}

#[test]
fn a_long_line_of_differences_ends_where_its_memory_does() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--initial-branch=master"]);
    let text = bytes(4, MOST - 10);
    for (at, name) in ["aa/aa", "bb/bb", "cc/cc", "dd/dd", "ee/ee", "ff/ff"].iter().enumerate() {
        write(dir.path(), &format!("{name}/{}", name.replace('/', "")), &text[..text.len() - 300 * at]);
    }
    write(dir.path(), SMALL, b"small\n");
    commit(dir.path());
    git(dir.path(), &["repack", "-adf", "--quiet", "--depth=50", "--window=2"]);
    let files = read(dir.path());
    assert_eq!(files[SMALL], b"small\n");
    let passed = files.iter().filter(|(path, data)| reason(path, data).is_some()).count();
    assert!(passed < 6, "not all of them: {passed}");
}

#[test]
fn a_change_to_a_large_file_is_one_without_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--initial-branch=master"]);
    write(dir.path(), LARGE, b"still small\n");
    commit(dir.path());
    let before = IndexSource::open_with(dir.path(), MOST).unwrap().tree_id().unwrap();
    write(dir.path(), LARGE, &bytes(5, 2 * MOST));
    commit(dir.path());
    let source = IndexSource::open_with(dir.path(), MOST).unwrap();
    let changes = source.compare(&before).unwrap();
    let [Change { before: Some(before), after: Some(after), .. }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(source.blob(before).unwrap(), b"still small\n");
    assert!(reason(LARGE, &source.blob(after).unwrap()).unwrap().contains("8192 bytes"));
}

#[cfg(unix)]
#[test]
fn what_is_no_plain_file_is_none() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), SMALL, b"small\n");
    std::os::unix::fs::symlink("small", dir.path().join("sm/al/smallish")).unwrap();
    let pipe = dir.path().join("sm/al/smaller");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let source = IndexSource::open(dir.path()).unwrap();
    assert_eq!(read(dir.path()).into_keys().collect::<Vec<_>>(), [SMALL]);
    for path in ["sm/al/smallish", "sm/al/smaller", "sm/al/smallest"] {
        assert_eq!(source.file(path).unwrap(), None, "{path}");
    }
}

#[test]
fn a_sparse_file_of_any_size_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), LARGE, b"");
    let file = std::fs::File::options().write(true).open(dir.path().join(LARGE)).unwrap();
    file.set_len(MAX_FILE_BYTES as u64 + 1).unwrap();
    let file = IndexSource::open(dir.path()).unwrap().file(LARGE).unwrap().unwrap();
    assert!(file.data.len() < 100);
    assert!(reason(LARGE, &file.data).unwrap().contains("67108865 bytes"));
}
