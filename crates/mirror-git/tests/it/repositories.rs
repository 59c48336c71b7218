//! Repositories made by git, in every form, and remotes that change their branch.

use mirror_git::History;
use mirror_testkit::{GitDaemon, git, git_says};
use mirror_types::{Advice, FaultKind, chain};

use crate::fixture::{Upstream, assert_at, commits, options, update};

#[test]
fn clones_that_git_made_are_updated() {
    for arguments in [
        &["--bare"][..],
        &["--mirror"],
        &["--bare", "--depth", "1"],
        &["--mirror", "--depth", "2"],
        &["--bare", "--single-branch"],
    ] {
        let mut upstream = Upstream::new(40);
        upstream.publish();
        git(&upstream.remote(), &["branch", "snapshot"]);
        upstream.publish();
        let daemon = GitDaemon::start(upstream.dir.path());
        let url = daemon.url("remote/.git");
        git(upstream.dir.path(), &[&["clone", "--quiet"], arguments, &[&url, "clone"]].concat());
        let dir = upstream.path("clone");
        let shallow = dir.join("shallow").exists();
        let mut options = options("git://127.0.0.1:1/never-asked");
        options.packs_most = 2;
        for _ in 0..4 {
            let tip = upstream.publish();
            let updated = update(&dir, &options).unwrap();
            assert_eq!((updated.url.as_str(), updated.shallow), (url.as_str(), shallow));
            assert_at(&dir, &tip);
            assert_eq!(dir.join("shallow").exists(), shallow, "{arguments:?}");
        }
        let tip = upstream.squash();
        update(&dir, &options).unwrap();
        assert_at(&dir, &tip);
        if arguments.contains(&"--mirror") && !shallow {
            git(&dir, &["rev-parse", "--quiet", "--verify", "refs/heads/snapshot"]);
        }
        git(&dir, &["fetch", "--quiet", "origin"]);
    }
}

#[test]
fn a_branch_that_is_renamed_upstream_is_followed() {
    for (name, arguments) in [("bare", &["--bare"][..]), ("checkout", &[])] {
        let mut upstream = Upstream::new(30);
        let daemon = GitDaemon::start(upstream.dir.path());
        let url = daemon.url("remote/.git");
        git(upstream.dir.path(), &[&["clone", "--quiet"], arguments, &[&url, name]].concat());
        let dir = upstream.path(name);
        git(&upstream.remote(), &["branch", "--move", "master", "main"]);
        let tip = upstream.publish();
        let updated = update(&dir, &options(&url)).unwrap();
        assert_eq!(updated.branch, "refs/heads/main");
        assert_at(&dir, &tip);
        assert_eq!(git_says(&dir, &["symbolic-ref", "HEAD"]), "refs/heads/main");
        let tip = upstream.publish();
        update(&dir, &options(&url)).unwrap();
        assert_at(&dir, &tip);
        if name == "bare" {
            assert_eq!(git_says(&dir, &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
        } else {
            assert_eq!(git_says(&dir, &["status", "--porcelain"]), "");
        }
    }
}

/// Covers a name that cannot exist beside the old one, and the way back.
#[test]
fn a_branch_that_becomes_a_directory_is_followed() {
    for (name, arguments) in [("bare", &["--bare"][..]), ("checkout", &[])] {
        let mut upstream = Upstream::new(30);
        let daemon = GitDaemon::start(upstream.dir.path());
        let url = daemon.url("remote/.git");
        git(upstream.dir.path(), &[&["clone", "--quiet"], arguments, &[&url, name]].concat());
        let dir = upstream.path(name);
        let mut from = "master";
        for to in ["master/x", "master"] {
            git(&upstream.remote(), &["checkout", "--quiet", "--detach"]);
            git(&upstream.remote(), &["branch", "-D", "--quiet", from]);
            git(&upstream.remote(), &["checkout", "--quiet", "-b", to]);
            let tip = upstream.publish();
            let updated = update(&dir, &options(&url)).unwrap();
            assert_eq!(updated.branch, format!("refs/heads/{to}"));
            assert_at(&dir, &tip);
            assert_eq!(git_says(&dir, &["symbolic-ref", "HEAD"]), updated.branch);
            let branches = git_says(&dir, &["for-each-ref", "--format=%(refname)", "refs/heads"]);
            assert_eq!(branches, updated.branch);
            let tip = upstream.publish();
            update(&dir, &options(&url)).unwrap();
            assert_at(&dir, &tip);
            from = to;
        }
    }
}

/// Covers a kill after HEAD left the old branch, and a local branch in the way.
#[test]
fn an_old_branch_in_the_way_goes_only_when_head_is_there() {
    let mut upstream = Upstream::new(20);
    let daemon = GitDaemon::start(upstream.dir.path());
    let mut options = options(&daemon.url("remote/.git"));
    options.packs_most = 3;
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    let old = upstream.tip();
    git(&dir, &["update-ref", "refs/heads/trunk", &old]);
    git(&upstream.remote(), &["branch", "--move", "master", "trunk/x"]);
    upstream.publish();
    git(&dir, &["update-ref", "--no-deref", "HEAD", &old]);
    git(&dir, &["update-ref", "-d", "refs/heads/master"]);
    let tip = upstream.tip();
    update(&dir, &options).unwrap();
    assert_at(&dir, &tip);

    git(&dir, &["update-ref", "refs/heads/mine", &old]);
    git(&upstream.remote(), &["branch", "--move", "trunk/x", "mine/x"]);
    for _ in 0..6 {
        upstream.publish();
        let refused = update(&dir, &options).unwrap_err();
        assert!(refused.to_string().contains("git branch --move"), "{refused}");
        assert_at(&dir, &tip);
    }
    let packs = std::fs::read_dir(dir.join("objects/pack")).unwrap();
    let packs = packs.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "pack").count();
    assert!(packs <= 5, "{packs} packs pile up");

    // Nor is a checkout moved half way to a commit that its refs cannot follow.
    let work = upstream.path("work");
    git(upstream.dir.path(), &["clone", "--quiet", "remote", "work"]);
    git(&work, &["branch", "yours", "HEAD~1"]);
    let old = upstream.tip();
    git(&upstream.remote(), &["branch", "--move", "mine/x", "yours/x"]);
    let tip = upstream.publish();
    let refused = update(&work, &options).unwrap_err();
    assert!(refused.to_string().contains("refs/heads/yours"), "{refused}");
    assert_at(&work, &old);
    assert_eq!(git_says(&work, &["status", "--porcelain"]), "");
    git(&work, &["branch", "--move", "yours", "kept"]);
    update(&work, &options).unwrap();
    assert_at(&work, &tip);
}

/// In a bare clone HEAD follows the default branch; a branch that still exists stays.
#[test]
fn another_default_branch_is_followed() {
    let mut upstream = Upstream::new(30);
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    let options = options(&daemon.url("remote/.git"));
    update(&dir, &options).unwrap();
    git(&upstream.remote(), &["checkout", "--quiet", "-b", "trunk/index"]);
    let tip = upstream.publish();
    update(&dir, &options).unwrap();
    assert_at(&dir, &tip);
    let branches = git_says(&dir, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(branches, "refs/heads/master\nrefs/heads/trunk/index");
    // A detached HEAD upstream is followed by its commit.
    git(&upstream.remote(), &["checkout", "--quiet", "--detach"]);
    let tip = upstream.publish();
    update(&dir, &options).unwrap();
    assert_at(&dir, &tip);
}

#[test]
fn a_repository_that_cannot_be_updated_is_refused_with_the_reason() {
    let upstream = Upstream::new(5);
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    git(upstream.dir.path(), &["init", "--quiet", "--bare", "empty"]);
    let empty = update(&dir, &options(&daemon.url("empty"))).unwrap_err();
    assert_eq!(empty.kind(), FaultKind::Origin);
    assert!(chain(&empty).contains("the repository is empty"), "{empty:?}");
    let missing = update(&dir, &options(&daemon.url("nowhere"))).unwrap_err();
    assert_eq!(missing.kind(), FaultKind::Origin);
    assert_eq!(missing.advice(), Some(Advice::AnotherRemoteOrNoUpdate), "{missing}");
    assert!(!dir.exists() && !upstream.path(".clone.incoming").exists());

    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("a-file"), "").unwrap();
    let plain = update(&dir, &options(&daemon.url("remote/.git"))).unwrap_err();
    assert_eq!(plain.kind(), FaultKind::Usage);
    assert!(plain.to_string().contains("plain directory"), "{plain}");
    assert_eq!(plain.advice(), Some(Advice::AnotherIndexOrNoUpdate));
    std::fs::remove_file(dir.join("a-file")).unwrap();
    // An empty directory counts as a missing one.
    update(&dir, &options(&daemon.url("remote/.git"))).unwrap();
    assert_at(&dir, &upstream.tip());
    let file = upstream.path("file");
    std::fs::write(&file, "").unwrap();
    let file = update(&file, &options(&daemon.url("remote/.git"))).unwrap_err();
    assert!(file.to_string().contains("no directory"), "{file}");
}

/// Reported before anything is fetched: the clone could not get its name.
#[test]
fn a_link_to_an_empty_directory_is_refused() {
    let upstream = Upstream::new(5);
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    std::fs::create_dir(upstream.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(upstream.path("elsewhere"), &dir).unwrap();
    let refused = update(&dir, &options(&daemon.url("remote/.git"))).unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Usage);
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    assert_eq!(daemon.connections(), 0);
    assert!(!upstream.path(".clone.incoming").exists());
}

#[test]
fn the_address_that_is_asked_for_wins() {
    let mut upstream = Upstream::new(10);
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    update(&dir, &options(&daemon.url("remote/.git"))).unwrap();
    git(upstream.dir.path(), &["clone", "--quiet", "remote", "second"]);
    let tip = upstream.publish();
    let second = daemon.url("second/.git");
    let mut asked = options("git://127.0.0.1:1/never-asked");
    asked.url = Some(second.clone().into());
    let updated = update(&dir, &asked).unwrap();
    assert_eq!((updated.url, updated.received_bytes), (second, 0));
    // Its own origin stays as it was.
    update(&dir, &options("git://127.0.0.1:1/never-asked")).unwrap();
    assert_at(&dir, &tip);
}

/// The default address is only for new clones: a private index must not become the public one.
#[test]
fn an_index_without_a_remote_is_not_given_the_default_one() {
    let mut upstream = Upstream::new(10);
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    let options = options(&daemon.url("remote/.git"));
    update(&dir, &options).unwrap();
    git(&dir, &["config", "--unset", "remote.origin.url"]);
    let (old, new) = (upstream.tip(), upstream.publish());
    let refused = update(&dir, &options).unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Usage);
    let text = refused.to_string();
    assert_eq!(refused.advice(), Some(Advice::NameTheRemote));
    assert!(text.contains("name one") && text.contains("another user"), "{text}");
    assert_at(&dir, &old);
    let mut asked = options;
    asked.url = Some(asked.default_url.clone().into());
    update(&dir, &asked).unwrap();
    assert_at(&dir, &new);
}

#[test]
fn a_shallow_clone_is_made_anew_with_history_only_when_asked() {
    let mut upstream = Upstream::new(10);
    upstream.publish();
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    let shallow = options(&daemon.url("remote/.git"));
    update(&dir, &shallow).unwrap();
    upstream.publish();
    let mut full = shallow;
    full.history = History::Full;
    let updated = update(&dir, &full).unwrap();
    assert!(updated.shallow, "what is there stays as it is");
    assert_eq!(commits(&dir), 1);
}

/// Checks that the settings of the repository about remotes apply.
#[test]
fn settings_of_the_repository_are_honoured() {
    let mut upstream = Upstream::new(10);
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    let url = daemon.url("remote/.git");
    git(upstream.dir.path(), &["clone", "--quiet", "--bare", "remote", "clone"]);
    let tip = upstream.publish();
    git(&dir, &["config", &format!("url.{url}.insteadOf"), "the:index"]);
    let mut asked = options("unused");
    asked.url = Some("the:index".into());
    update(&dir, &asked).unwrap();
    assert_at(&dir, &tip);
}
