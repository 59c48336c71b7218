//! Advisory databases in git: what is read of ordinary and of hostile commits.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mirror_sync::{Advisories, LoadedPolicy, Policy, SyncError, read_advisories};
use mirror_testkit::{TestRegistry, git, git_says};

use crate::World;

const TEXT: &str =
    "```toml\n[advisory]\nid = \"RUSTSEC-2026-0001\"\npackage = \"a\"\n[versions]\npatched = []\n```\n";

/// Runs git with an input, and returns its output.
fn git_with(dir: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Database {
    dir: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main"]);
        Self { dir }
    }

    fn blob(&self, bytes: &[u8]) -> String {
        git_with(self.dir.path(), &["hash-object", "-w", "--stdin"], bytes)
    }

    /// Makes a tree of entries such as `100644 blob ID` and names.
    fn tree(&self, entries: &[(String, String)]) -> String {
        let lines: String = entries.iter().map(|(what, name)| format!("{what}\t{name}\n")).collect();
        git_with(self.dir.path(), &["mktree", "--missing"], lines.as_bytes())
    }

    /// Commits a tree as the directory `crates`, and reads the database.
    fn read(&self, crates: &str) -> Result<Advisories, SyncError> {
        let root = self.tree(&[(format!("040000 tree {crates}"), "crates".to_owned())]);
        let commit = git_says(self.dir.path(), &["commit-tree", "-m", "database", &root]);
        git(self.dir.path(), &["update-ref", "HEAD", &commit]);
        let read = read_advisories(self.dir.path());
        if let Ok(advisories) = &read {
            assert_eq!(advisories.commit().map(|commit| commit.id.as_str()), Some(commit.as_str()));
        }
        read
    }
}

fn file(id: &str, name: &str) -> (String, String) {
    (format!("100644 blob {id}"), name.to_owned())
}

fn dir(id: &str, name: &str) -> (String, String) {
    (format!("040000 tree {id}"), name.to_owned())
}

#[test]
fn what_is_no_advisory_is_a_fault_and_the_rest_counts() {
    let database = Database::new();
    let good = database.blob(TEXT.as_bytes());
    let large = database.blob(&vec![b'x'; 2 << 20]);
    let link = database.blob(b"/etc/passwd");
    let commit = "1".repeat(40);
    let deep = database.tree(&[file(&good, "RUSTSEC-2026-0007.md")]);
    let deep = (0..200).fold(deep, |inner, _| database.tree(&[dir(&inner, "d")]));
    let of_crate = database.tree(&[
        file(&good, "RUSTSEC-2026-0001.md"),
        file(&large, "RUSTSEC-2026-0002.md"),
        (format!("120000 blob {link}"), "RUSTSEC-2026-0003.md".to_owned()),
        (format!("160000 commit {commit}"), "RUSTSEC-2026-0004.md".to_owned()),
        dir(&deep, "RUSTSEC-2026-0005.md"),
        file(&large, "README.md"),
        dir(&deep, "deep"),
    ]);
    let crates = database.tree(&[
        dir(&of_crate, "a"),
        (format!("120000 blob {link}"), "b".to_owned()),
        (format!("160000 commit {commit}"), "c".to_owned()),
        file(&good, "RUSTSEC-2026-0006.md"),
        dir(&deep, "deep"),
    ]);
    let advisories = database.read(&crates).unwrap();
    assert_eq!(advisories.len(), 1);
    let faults: Vec<String> = advisories.faults().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "crates/a/RUSTSEC-2026-0002.md: it is larger than 1048576 bytes",
            "crates/a/RUSTSEC-2026-0003.md: it is no file",
            "crates/a/RUSTSEC-2026-0004.md: it is no file",
            "crates/a/RUSTSEC-2026-0005.md: it is no file",
        ]
    );
}

/// Directories that hold each other have any number of files, in a few objects.
#[test]
fn a_tree_that_multiplies_is_refused_at_once() {
    let database = Database::new();
    let blob = database.blob(b"x");
    let names = |what: &dyn Fn(String) -> (String, String), n: usize| -> Vec<_> {
        (0..n).map(|n| what(format!("{n:05}"))).collect()
    };
    let of_crate = database.tree(&names(&|name| file(&blob, &name), 500));
    let crates = database.tree(&names(&|name| dir(&of_crate, &name), 500));
    let refused = database.read(&crates).unwrap_err().to_string();
    assert!(
        refused.ends_with("is no advisory database: it has more than 200000 files and directories"),
        "{refused}"
    );

    // 150 times 400 advisories.
    let of_crate = database.tree(&names(&|name| file(&blob, &format!("RUSTSEC-{name}.md")), 400));
    let crates = database.tree(&names(&|name| dir(&of_crate, &name), 150));
    let refused = database.read(&crates).unwrap_err().to_string();
    assert!(refused.ends_with("it has more than 50000 advisories"), "{refused}");

    // Each within bounds, and 65 MB together.
    let large = database.blob(&vec![b'x'; 1 << 20]);
    let of_crate = database.tree(&names(&|name| file(&large, &format!("RUSTSEC-{name}.md")), 65));
    let crates = database.tree(&[dir(&of_crate, "a")]);
    let refused = database.read(&crates).unwrap_err().to_string();
    assert!(refused.ends_with("it has advisories of more than 67108864 bytes"), "{refused}");
}

#[test]
fn an_object_that_is_missing_ends_the_reading() {
    let database = Database::new();
    let missing = "2".repeat(40);
    let of_crate = database.tree(&[file(&missing, "RUSTSEC-2026-0001.md")]);
    let crates = database.tree(&[dir(&of_crate, "a")]);
    for crates in [crates, database.tree(&[dir(&missing, "a")])] {
        let error = database.read(&crates).unwrap_err();
        assert_eq!(error.to_string(), "could not read the advisory database");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("could not read an object of the git repository"), "{source}");
    }
}

/// The same files are the same database, however they are kept.
#[test]
fn a_clone_and_a_directory_decide_alike() {
    let database = Database::new();
    let of_crate = database.tree(&[file(&database.blob(TEXT.as_bytes()), "RUSTSEC-2026-0001.md")]);
    let clone = database.read(&database.tree(&[dir(&of_crate, "a")])).unwrap();
    let plain = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(plain.path().join("crates/a")).unwrap();
    std::fs::write(plain.path().join("crates/a/RUSTSEC-2026-0001.md"), TEXT).unwrap();
    let plain = read_advisories(plain.path()).unwrap();
    assert_eq!((clone.digest(), clone.len()), (plain.digest(), 1));
    assert_eq!(plain.commit(), None);
}

#[test]
fn what_policy_does_is_counted_when_a_run_begins_and_when_it_ends() {
    let world = World::new(0);
    let mut registry = TestRegistry::default();
    for name in ["a", "b", "c"] {
        registry.add(name, "1.0.0", name.as_bytes());
    }
    world.origin.replace_site(registry.site(""));
    registry.write_index(&world.path("index"));
    let policy = |advisories| {
        let policy = Policy::parse("deny = [\"b\"]\n").unwrap();
        Some(Arc::new(LoadedPolicy::new(policy, advisories)))
    };
    let advisories = || Advisories::from_files([("crates/a/RUSTSEC-2026-0001.md", TEXT)]);
    let run =
        |policy: Option<Arc<LoadedPolicy>>| world.run(world.options_with(|options| options.policy = policy));
    let (first, counts) = run(policy(advisories()));
    assert_eq!(counts.judged, [(0, Some(0)), (1, Some(1))]);
    let named = &first.reported.first[0];
    assert_eq!((first.reported.releases, &*named.what, &*named.why), (1, "a 1.0.0", "RUSTSEC-2026-0001"));
    assert_eq!(run(policy(advisories())).1.judged, [(1, Some(1)), (1, Some(1))]);
    assert_eq!(run(policy(Advisories::default())).1.judged, [(1, None), (1, None)]);
    assert_eq!(run(None).1.judged, []);
}
