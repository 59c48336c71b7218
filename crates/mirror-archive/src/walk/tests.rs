#![expect(clippy::disallowed_methods, reason = "tests write their own files")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use super::*;

fn paths(root: &Path) -> Result<Vec<String>, ArchiveError> {
    let mut walk = Walk::new(root)?;
    let mut paths = Vec::new();
    while let Some(found) = walk.next()? {
        let (path, mark) = match found {
            Found::File(path) => (path, ""),
            Found::Other(Entry { path, kind: EntryKind::Directory, .. }) => (path, "/"),
            Found::Other(Entry { path, kind, .. }) => {
                let EntryKind::Symlink(target) = kind else { panic!("{kind:?}") };
                paths.push(format!("{} -> {}", crate::shown(&path), crate::shown(&target)));
                continue;
            }
        };
        paths.push(crate::shown(&path) + mark);
    }
    Ok(paths)
}

#[test]
fn entries_come_depth_first_by_the_bytes_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for directory in ["b", "b/c", "b/empty", "B", "é"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for file in ["a", "b/c/z", "b/a", "b.txt", "b-", "B/x", "é/y"] {
        fs::write(root.join(file), file).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"\xff")), "").unwrap();
    std::os::unix::fs::symlink("b/c", root.join("c")).unwrap();
    std::os::unix::fs::symlink("../nowhere", root.join("b/d")).unwrap();
    let wanted = [
        "B/",
        "B/x",
        "a",
        "b/",
        "b/a",
        "b/c/",
        "b/c/z",
        "b/d -> ../nowhere",
        "b/empty/",
        "b-",
        "b.txt",
        "c -> b/c",
        "é/",
        "é/y",
        "%FF",
    ];
    // `b` is listed before `b-` and `b.txt`: names are compared, not paths.
    let wanted: Vec<String> = wanted.map(str::to_owned).to_vec();
    assert_eq!(paths(root).unwrap(), wanted);
}

#[test]
fn special_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("d/s\n")).unwrap();
    let error = paths(dir.path()).unwrap_err();
    assert_eq!(error.kind(), mirror_types::FaultKind::Usage);
    assert!(error.to_string().starts_with(r"d/s\n is a socket; only files"), "{error}");
}

#[test]
fn entries_that_come_or_go_during_the_walk_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "").unwrap();
    let mut walk = Walk::new(dir.path()).unwrap();
    assert!(matches!(walk.next(), Ok(Some(Found::Other(_)))));
    fs::write(dir.path().join("d/new"), "").unwrap();
    assert!(matches!(walk.next(), Ok(Some(Found::File(_)))));
    let error = walk.next().err().unwrap();
    assert_eq!(error.kind(), mirror_types::FaultKind::Integrity);
    assert!(error.to_string().starts_with("d had entries added or removed while"), "{error}");

    let mut walk = Walk::new(dir.path()).unwrap();
    fs::remove_dir_all(dir.path().join("d")).unwrap();
    let error = walk.next().err().unwrap();
    assert!(error.to_string().starts_with("d vanished while"), "{error}");
}

#[test]
fn a_survey_counts_files_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "123").unwrap();
    fs::write(dir.path().join("e"), "").unwrap();
    let mut seen = 0;
    let counted = survey(dir.path(), |_| {
        seen += 1;
        Ok(())
    });
    assert_eq!((counted.unwrap(), seen), ((2, 3), 3));
}

#[test]
fn transient_files_of_a_mirror_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for at in ["m/.mirror/stage/x", "m/bundles", "stage"] {
        fs::create_dir_all(root.join(at)).unwrap();
    }
    for file in [
        "m/.mirror/lock",
        "m/.mirror/stage/1",
        "m/.mirror/catalogue.sqlite",
        "m/.mirror/catalogue.sqlite-shm",
        "m/.mirror/catalogue.sqlite-wal",
        "m/bundles/.bundles.lock",
        "lock",
        "stage/1",
    ] {
        fs::write(root.join(file), file).unwrap();
    }
    let wanted = [
        "lock",
        "m/",
        "m/.mirror/",
        "m/.mirror/catalogue.sqlite",
        "m/.mirror/catalogue.sqlite-wal",
        "m/bundles/",
        "stage/",
        "stage/1",
    ];
    assert_eq!(paths(root).unwrap(), wanted);
    assert_eq!(paths(&root.join("m")).unwrap().len(), 4);
}

#[test]
fn a_root_that_cannot_be_listed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    let error = paths(&gone).unwrap_err();
    assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
    // A file in its place fails as an unreadable directory does.
    fs::write(&gone, "").unwrap();
    let error = paths(&gone).unwrap_err();
    assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
}
