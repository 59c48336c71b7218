#![expect(clippy::disallowed_methods, reason = "tests write their own files")]

use std::time::SystemTime;

use super::*;
use crate::engine::BLOCK_BYTES;

#[derive(Default)]
struct Names(Vec<String>);

impl Sink for Names {
    fn entry(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        self.0.push(crate::shown(&entry.path));
        Ok(())
    }
}

/// Reads one block of a large file `f`, disturbs it, and reads on.
fn disturbed(disturb: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, vec![1; BLOCK_BYTES + 1]).unwrap();
    let monitor = Monitor::new();
    let mut tree = Tree::new(dir.path(), &monitor, Names::default()).unwrap();
    let mut block = Block::for_tests();
    assert!(tree.fill(&mut block).unwrap());
    assert_eq!(block.len(), BLOCK_BYTES);
    disturb(&path);
    let mut block = Block::for_tests();
    let error = tree.fill(&mut block).expect_err("a file that changed");
    assert_eq!(error.kind(), mirror_types::FaultKind::Integrity);
    error.to_string()
}

fn append(path: &Path) -> File {
    File::options().append(true).open(path).unwrap()
}

#[test]
fn changes_to_an_open_file_are_noticed() {
    let grown = disturbed(|path| append(path).set_len(BLOCK_BYTES as u64 + 2).unwrap());
    assert!(grown.starts_with("f grew while"), "{grown}");
    let cut = disturbed(|path| append(path).set_len(BLOCK_BYTES as u64).unwrap());
    assert!(cut.starts_with("f became shorter while"), "{cut}");
    // The same size, other contents.
    let rewritten = disturbed(|path| std::fs::write(path, vec![2; BLOCK_BYTES + 1]).unwrap());
    assert!(rewritten.starts_with("f was written to while"), "{rewritten}");
    let touched = disturbed(|path| append(path).set_modified(SystemTime::UNIX_EPOCH).unwrap());
    assert!(touched.starts_with("f was written to while"), "{touched}");
    // Another file took its place, which changes the directory.
    let replaced = disturbed(|path| {
        let other = path.with_file_name("other");
        std::fs::write(&other, vec![3; BLOCK_BYTES + 1]).unwrap();
        std::fs::rename(other, path).unwrap();
    });
    assert!(replaced.contains("the directory itself had entries added or removed"), "{replaced}");
}

#[test]
fn a_listed_file_that_is_gone_has_vanished() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let monitor = Monitor::new();
    let mut tree = Tree::new(dir.path(), &monitor, Names::default()).unwrap();
    std::fs::remove_file(dir.path().join("b")).unwrap();
    let error = tree.fill(&mut Block::for_tests()).expect_err("a file that is gone");
    assert!(error.to_string().starts_with("b vanished while"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_becomes_something_else_is_not_followed() {
    for make in [
        (|path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap()) as fn(&Path),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        |path| std::fs::create_dir(path).unwrap(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let monitor = Monitor::new();
        let mut tree = Tree::new(dir.path(), &monitor, Names::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        make(&path);
        let error = tree.fill(&mut Block::for_tests()).expect_err("something else");
        assert!(error.to_string().starts_with("f became something else while"), "{error}");
    }
}

#[test]
fn blocks_hold_many_small_files_and_parts_of_large_ones() {
    let dir = tempfile::tempdir().unwrap();
    for (name, size) in [("a", 10), ("b", 0), ("c", BLOCK_BYTES), ("d", 5)] {
        std::fs::write(dir.path().join(name), vec![1; size]).unwrap();
    }
    std::fs::create_dir(dir.path().join("e")).unwrap();
    let monitor = Monitor::new();
    let mut tree = Tree::new(dir.path(), &monitor, Names::default()).unwrap();
    let mut seen = Vec::new();
    loop {
        let mut block = Block::for_tests();
        if !tree.fill(&mut block).unwrap() {
            break;
        }
        let pieces = block.pieces.iter();
        seen.push(
            pieces
                .map(|piece| (crate::shown(&piece.entry.path), piece.range.len(), piece.first, piece.last))
                .collect::<Vec<_>>(),
        );
        tree.retire(&block).unwrap();
    }
    let piece = |name: &str, len, first, last| (name.to_owned(), len, first, last);
    let wanted = [
        vec![
            piece("a", 10, true, true),
            piece("b", 0, true, true),
            piece("c", BLOCK_BYTES - 10, true, false),
        ],
        vec![piece("c", 10, false, true), piece("d", 5, true, true), piece("e", 0, true, true)],
    ];
    assert_eq!(seen, wanted);
    assert_eq!(tree.sink.0, ["a", "b", "c", "d", "e"]);
    let done = monitor.done();
    assert_eq!((done.files, done.bytes), (4, BLOCK_BYTES as u64 + 15));
}
