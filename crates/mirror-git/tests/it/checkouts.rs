//! Checked out indexes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mirror_git::{UpdateEvent, UpdateObserver, UpdateOptions, UpdatePhase, UpdateStatus, update_index};
use mirror_testkit::{GitDaemon, git, git_says};
use mirror_types::FaultKind;

use crate::fixture::{Upstream, assert_at, assert_sound, options, update};

struct World {
    upstream: Upstream,
    daemon: GitDaemon,
    dir: PathBuf,
}

impl World {
    fn new(arguments: &[&str]) -> Self {
        let upstream = Upstream::new(60);
        let daemon = GitDaemon::start(upstream.dir.path());
        let dir = upstream.path("work");
        let url = daemon.url("remote/.git");
        let all = [&["clone", "--quiet"], arguments, &[&url, "work"]].concat();
        git(upstream.dir.path(), &all);
        Self { upstream, daemon, dir }
    }

    fn options(&self) -> UpdateOptions {
        options(&self.daemon.url("remote/.git"))
    }

    /// Asserts that an update is refused with these words, and that nothing was touched.
    #[track_caller]
    fn refused(&self, words: &str) {
        let before = snapshot(&self.dir);
        let refused = update(&self.dir, &self.options()).unwrap_err();
        assert_eq!(refused.kind(), FaultKind::Usage, "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(snapshot(&self.dir), before);
    }
}

/// Returns every file outside `.git`, and the state of the refs and of git's index.
fn snapshot(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_symlink() {
                files.insert(name, b"link".to_vec());
            } else if path.is_dir() && path.file_name().unwrap() != ".git" {
                dirs.push(path);
            } else if path.is_file() {
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    for name in ["HEAD", "index", "packed-refs", "refs/heads/master"] {
        files.insert(name.to_owned(), std::fs::read(dir.join(".git").join(name)).unwrap_or_default());
    }
    files
}

#[track_caller]
fn assert_clean(world: &World, tip: &str) {
    assert_at(&world.dir, tip);
    assert_eq!(git_says(&world.dir, &["status", "--porcelain"]), "");
    // The files that git itself would have checked out.
    let fresh = world.upstream.path("fresh");
    git(world.upstream.dir.path(), &["clone", "--quiet", "remote", "fresh"]);
    let strip = |dir: &Path| -> BTreeMap<String, Vec<u8>> {
        let prefix = format!("{}/", dir.display());
        let files = snapshot(dir).into_iter();
        files.filter_map(|(name, bytes)| Some((name.strip_prefix(&prefix)?.to_owned(), bytes))).collect()
    };
    assert!(strip(&world.dir) == strip(&fresh), "the files differ from git's");
    std::fs::remove_dir_all(fresh).unwrap();
}

#[test]
fn a_clean_checkout_follows() {
    for arguments in [&[][..], &["--depth", "1"]] {
        let mut world = World::new(arguments);
        let tip = world.upstream.publish();
        let updated = update(&world.dir, &world.options()).unwrap();
        assert_eq!(updated.checked_out, 1);
        assert_clean(&world, &tip);
        // Releases that are removed, directories that go with them, a file that becomes a directory.
        for _ in 0..15 {
            world.upstream.registry.crates.pop_last();
        }
        std::fs::write(world.upstream.remote().join("turns"), "file").unwrap();
        let tip = world.upstream.publish();
        update(&world.dir, &world.options()).unwrap();
        assert_clean(&world, &tip);
        let remote = world.upstream.remote();
        std::fs::write(remote.join("turns"), "a file").unwrap();
        git(&remote, &["add", "--all"]);
        git(&remote, &["commit", "--quiet", "-m", "a file"]);
        update(&world.dir, &world.options()).unwrap();
        assert_clean(&world, &world.upstream.tip());
        std::fs::remove_file(remote.join("turns")).unwrap();
        std::fs::create_dir(remote.join("turns")).unwrap();
        std::fs::write(remote.join("turns/inner"), "a directory").unwrap();
        git(&remote, &["add", "--all"]);
        git(&remote, &["commit", "--quiet", "-m", "a directory"]);
        update(&world.dir, &world.options()).unwrap();
        assert_clean(&world, &world.upstream.tip());
        let tip = world.upstream.squash();
        assert_eq!(update(&world.dir, &world.options()).unwrap().checked_out, 0);
        assert_clean(&world, &tip);
        assert_eq!(git_says(&world.dir, &["rev-parse", "origin/master"]), tip);
        // git continues from here as usual.
        let tip = world.upstream.publish();
        git(&world.dir, &["pull", "--quiet", "--ff-only"]);
        assert_clean(&world, &tip);
    }
}

#[test]
fn local_changes_are_refused_and_kept() {
    let mut world = World::new(&[]);
    world.upstream.publish();
    let config = world.dir.join("config.json");
    let original = std::fs::read(&config).unwrap();

    std::fs::write(&config, "mine").unwrap();
    world.refused("local changes: \"config.json\"");
    git(&world.dir, &["add", "config.json"]);
    world.refused("local changes");
    git(&world.dir, &["reset", "--quiet"]);
    std::fs::remove_file(&config).unwrap();
    world.refused("local changes");
    std::fs::write(&config, original).unwrap();

    // Of the same length, in the same second.
    let same = b"{\"dl\":\"HTTPS://localhost/\"}";
    std::fs::write(&config, same).unwrap();
    world.refused("local changes");
    git(&world.dir, &["checkout", "--quiet", "config.json"]);

    git(&world.dir, &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    world.refused("commits that the remote does not have");
    git(&world.dir, &["reset", "--quiet", "--hard", "origin/master"]);
    let tip = world.upstream.publish();
    update(&world.dir, &world.options()).unwrap();
    assert_clean(&world, &tip);
}

/// A run that is killed while it sets refs leaves locks on them; git's own locks are left alone.
#[test]
fn locks_of_a_killed_run_are_given_back() {
    let mut world = World::new(&[]);
    let tip = world.upstream.publish();
    let git_dir = world.dir.join(".git");
    let locks = ["packed-refs.lock", "HEAD.lock", "refs/heads/master.lock"].map(|name| git_dir.join(name));
    for lock in &locks {
        std::fs::write(lock, "").unwrap();
    }
    update(&world.dir, &world.options()).unwrap_err();
    assert!(locks.iter().all(|lock| lock.exists()));
    std::fs::write(git_dir.join("mirror-refs"), "").unwrap();
    update(&world.dir, &world.options()).unwrap();
    assert_clean(&world, &tip);
    assert!(!locks.iter().any(|lock| lock.exists()) && !git_dir.join("mirror-refs").exists());
}

#[test]
fn a_file_in_the_way_is_refused_and_kept() {
    let mut world = World::new(&[]);
    let inner = git_says(&world.upstream.remote(), &["ls-files"]);
    let tip = world.upstream.publish();
    let after = git_says(&world.upstream.remote(), &["ls-files"]);
    let new = after.lines().find(|path| !inner.contains(path)).unwrap().to_owned();
    let file = world.dir.join(&new);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "mine").unwrap();
    std::fs::write(world.dir.join("notes.txt"), "not in the way").unwrap();
    world.refused(&new);
    std::fs::remove_file(&file).unwrap();

    // A directory that is a link leads outside the work tree.
    let outside = world.upstream.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let top = world.dir.join(new.split('/').next().unwrap());
    if top.exists() {
        let second = file.parent().unwrap();
        let _ = std::fs::remove_dir_all(second);
        std::os::unix::fs::symlink(&outside, second).unwrap();
        world.refused("symbolic link");
        std::fs::remove_file(second).unwrap();
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    update(&world.dir, &world.options()).unwrap();
    assert_eq!(std::fs::read_to_string(world.dir.join("notes.txt")).unwrap(), "not in the way");
    std::fs::remove_file(world.dir.join("notes.txt")).unwrap();
    assert_clean(&world, &tip);
}

#[test]
fn a_repository_in_the_middle_of_something_is_refused() {
    let mut world = World::new(&[]);
    world.upstream.publish();
    git(&world.dir, &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    git(&world.dir, &["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    git(&world.dir, &["commit", "--quiet", "--allow-empty", "-m", "other"]);
    git(&world.dir, &["merge", "--quiet", "--no-commit", "--no-ff", "master"]);
    world.refused("a merge is in progress");
    git(&world.dir, &["merge", "--abort"]);
    git(&world.dir, &["checkout", "--quiet", "master"]);
    git(&world.dir, &["reset", "--quiet", "--hard", "origin/master"]);
    git(&world.dir, &["checkout", "--quiet", "--detach"]);
    world.refused("detached");
    git(&world.dir, &["checkout", "--quiet", "master"]);
    git(&world.dir, &["sparse-checkout", "set", "--no-cone", "/config.json"]);
    world.refused("sparse checkout");
    git(&world.dir, &["sparse-checkout", "disable"]);
    std::fs::write(world.dir.join(".git/index.lock"), "DIRC").unwrap();
    world.refused("index.lock");
    std::fs::remove_file(world.dir.join(".git/index.lock")).unwrap();
    git(&world.upstream.remote(), &["branch", "old-snapshot", "HEAD~1"]);
    git(&world.dir, &["fetch", "--quiet"]);
    git(&world.dir, &["checkout", "--quiet", "old-snapshot"]);
    world.refused("git switch");
    git(&world.dir, &["checkout", "--quiet", "master"]);
    git(&world.dir, &["worktree", "add", "--quiet", "--detach", "../linked"]);
    let refused = update(&world.upstream.path("linked"), &world.options()).unwrap_err();
    assert!(refused.to_string().contains("linked work tree"), "{refused}");
    update(&world.dir, &world.options()).unwrap();
    assert_clean(&world, &world.upstream.tip());
}

/// git creates its lock empty, and fills it later.
#[test]
fn a_lock_that_is_still_empty_is_gits() {
    let mut world = World::new(&[]);
    let tip = world.upstream.publish();
    git(&world.dir, &["fetch", "--quiet"]);
    let (git_dir, old) = (world.dir.join(".git"), git_says(&world.dir, &["rev-parse", "HEAD"]));
    let marker = format!("{tip}\nrefs/heads/master\n{old}\n");
    std::fs::write(git_dir.join("mirror-checkout"), marker).unwrap();
    std::fs::write(git_dir.join("index.lock"), "").unwrap();
    world.refused("index.lock");
    assert!(git_dir.join("index.lock").exists());
    std::fs::remove_file(git_dir.join("index.lock")).unwrap();
    update(&world.dir, &world.options()).unwrap();
    assert_clean(&world, &tip);
}

/// Changes a file as soon as the work tree is being written.
struct Meddler(PathBuf);

impl UpdateObserver for Meddler {
    fn stopped(&self) -> bool {
        false
    }
    fn status(&self, status: &UpdateStatus) {
        if status.phase == UpdatePhase::CheckingOut {
            std::fs::write(&self.0, "mine").unwrap();
        }
    }
    fn event(&self, _: UpdateEvent) {}
}

#[test]
fn a_file_that_is_changed_while_others_are_written_is_kept() {
    let world = World::new(&[]);
    let remote = world.upstream.remote();
    let commit = |late: &str, first: &str| {
        std::fs::create_dir_all(remote.join("zz")).unwrap();
        std::fs::write(remote.join("zz/late"), late).unwrap();
        std::fs::write(remote.join("config.json"), first).unwrap();
        git(&remote, &["add", "--all"]);
        git(&remote, &["commit", "--quiet", "-m", late]);
    };
    commit("old", "{}");
    update(&world.dir, &world.options()).unwrap();
    commit("new", "{ }");
    let mine = world.dir.join("zz/late");
    let refused = update_index(&world.dir, &world.options(), &Meddler(mine.clone())).unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Usage);
    assert!(refused.to_string().contains("zz/late"), "{refused}");
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
    // git can repair the work tree, and the next update continues.
    git(&world.dir, &["checkout", "--quiet", "zz/late"]);
    update(&world.dir, &world.options()).unwrap();
    assert_clean(&world, &world.upstream.tip());
}

/// Covers kills at every step of a checkout: the remains of each are made by hand.
#[test]
fn an_interrupted_checkout_is_continued() {
    for step in 0..4 {
        let mut world = World::new(&[]);
        let first = world.upstream.publish();
        // Its objects are there, as after the pack was moved in.
        git(&world.dir, &["fetch", "--quiet"]);
        git(&world.dir, &["update-ref", "refs/remotes/origin/master", "HEAD"]);
        let git_dir = world.dir.join(".git");
        let old = git_says(&world.dir, &["rev-parse", "HEAD"]);
        let marker = format!("{first}\nrefs/heads/master\n{old}\n");
        std::fs::write(git_dir.join("mirror-checkout"), marker).unwrap();
        if step >= 1 {
            std::fs::write(git_dir.join("index.lock"), "mirror: update-index\n").unwrap();
        }
        if step >= 2 {
            let path = git_says(&world.dir, &["diff", "--name-only", "HEAD", &first]);
            let text = git_says(&world.dir, &["show", &format!("{first}:{path}")]);
            std::fs::create_dir_all(world.dir.join(&path).parent().unwrap()).unwrap();
            std::fs::write(world.dir.join(&path), text + "\n").unwrap();
        }
        if step >= 3 {
            std::fs::remove_file(git_dir.join("index.lock")).unwrap();
            git(&world.dir, &["read-tree", &first]);
        }
        let tip = world.upstream.publish();
        update(&world.dir, &world.options()).unwrap();
        assert_clean(&world, &tip);
        assert!(!git_dir.join("mirror-checkout").exists() && !git_dir.join("index.lock").exists());
    }
}

/// Between the killed run and the next one, another program committed.
#[test]
fn an_interrupted_checkout_is_not_continued_when_head_was_moved() {
    let mut world = World::new(&[]);
    let tip = world.upstream.publish();
    let git_dir = world.dir.join(".git");
    let old = git_says(&world.dir, &["rev-parse", "HEAD"]);
    git(&world.dir, &["fetch", "--quiet"]);
    for marker in [format!("{tip}\nrefs/heads/master\n{old}\n"), format!("{tip}\nrefs/heads/master\n")] {
        git(&world.dir, &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
        std::fs::write(git_dir.join("mirror-checkout"), marker).unwrap();
        std::fs::write(git_dir.join("index.lock"), "mirror: update-index\n").unwrap();
        world.refused("commits that the remote does not have");
        assert!(!git_dir.join("mirror-checkout").exists() && !git_dir.join("index.lock").exists());
    }
    git(&world.dir, &["reset", "--quiet", "--hard", &old]);
    update(&world.dir, &world.options()).unwrap();
    assert_clean(&world, &tip);
}

/// No ref records what came from the remote: commits that the remote does not have are local ones.
#[test]
fn own_commits_are_kept_without_a_tracking_branch() {
    for remote in [true, false] {
        let mut world = World::new(&[]);
        let url = world.daemon.url("remote/.git");
        if remote {
            git(&world.dir, &["symbolic-ref", "--delete", "refs/remotes/origin/HEAD"]);
            git(&world.dir, &["update-ref", "-d", "refs/remotes/origin/master"]);
        } else {
            git(&world.dir, &["remote", "remove", "origin"]);
        }
        let mut options = world.options();
        options.url = Some(url.into());
        world.upstream.publish();
        git(&world.dir, &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
        let before = snapshot(&world.dir);
        let refused = update(&world.dir, &options).unwrap_err();
        assert!(refused.to_string().contains("not known to come from the remote"), "{refused}");
        assert!(snapshot(&world.dir) == before);
        assert_sound(&world.dir);
        git(&world.dir, &["reset", "--quiet", "--hard", "HEAD~1"]);
        update(&world.dir, &options).unwrap();
        // A commit that an update set is recorded as the remote's, so the next update can leave it behind.
        let tip = world.upstream.squash();
        update(&world.dir, &options).unwrap();
        assert_clean(&world, &tip);
        let name = ["refs/mirror-index/master", "refs/remotes/origin/master"][usize::from(remote)];
        git(&world.dir, &["update-ref", "-d", name]);
        update(&world.dir, &options).unwrap();
        assert_eq!(git_says(&world.dir, &["rev-parse", name]), tip);
        world.upstream.squash();
        let tip = world.upstream.publish();
        update(&world.dir, &options).unwrap();
        assert_clean(&world, &tip);
    }
}
