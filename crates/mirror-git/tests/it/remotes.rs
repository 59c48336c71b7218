//! Every transport to a remote, and changes of a remote between two updates.

use mirror_git::{History, UpdateOptions};
use mirror_testkit::{GitDaemon, GitHttp, git, git_says};
use mirror_types::{FaultKind, chain};

use crate::fixture::{Upstream, assert_at, commits, options, update};

/// Follows a remote at one address: clone, nothing new, new commits, force-push, squash.
fn follow(upstream: &mut Upstream, name: &str, options: &UpdateOptions) {
    let dir = upstream.path(name);
    let full = options.history == History::Full;
    upstream.publish();
    let cloned = update(&dir, options).unwrap();
    assert_eq!((cloned.old, &cloned.new), (None, &upstream.tip()));
    assert!(cloned.received_bytes > 0 && cloned.received_objects > 10);
    assert_at(&dir, &upstream.tip());
    assert_eq!(commits(&dir) > 1, full);
    assert_eq!(cloned.shallow, !full);

    let same = update(&dir, options).unwrap();
    assert_eq!((same.received_bytes, same.forced), (0, Some(false)));
    assert_eq!(same.old.as_deref(), Some(same.new.as_str()));

    let tip = upstream.publish();
    let news = update(&dir, options).unwrap();
    assert_at(&dir, &tip);
    assert!(news.received_objects < 12, "only what is new: {}", news.received_objects);
    assert_eq!(news.forced, full.then_some(false));
    assert_eq!(commits(&dir) > 1, full);

    let tip = upstream.squash();
    let squashed = update(&dir, options).unwrap();
    assert_at(&dir, &tip);
    assert_eq!(squashed.forced, full.then_some(true));

    git(&upstream.remote(), &["checkout", "--quiet", "--orphan", "other"]);
    git(&upstream.remote(), &["branch", "-D", "--quiet", "master"]);
    upstream.registry.crates.pop_first();
    upstream.registry.commit_git(&upstream.remote());
    git(&upstream.remote(), &["branch", "--move", "other", "master"]);
    let tip = upstream.publish();
    update(&dir, options).unwrap();
    assert_at(&dir, &tip);
    assert_eq!(git_says(&dir, &["rev-parse", "refs/heads/master"]), tip);
}

#[test]
fn from_the_daemon() {
    for (name, history) in [("shallow", History::Shallow), ("full", History::Full)] {
        let mut upstream = Upstream::new(60);
        let daemon = GitDaemon::start(upstream.dir.path());
        let mut options = options(&daemon.url("remote/.git"));
        options.history = history;
        follow(&mut upstream, name, &options);
    }
}

#[test]
fn over_http_and_https() {
    for (tls, history) in [(false, History::Shallow), (true, History::Full)] {
        let mut upstream = Upstream::new(60);
        let server = GitHttp::start(upstream.dir.path(), tls);
        let cacert = tls.then(|| server.ca());
        let mut options = options(&server.url("remote/.git"));
        options.history = history;
        options.cacert = cacert;
        follow(&mut upstream, "clone", &options);
    }
}

#[test]
fn from_a_path_and_a_file_address() {
    let mut upstream = Upstream::new(30);
    let path = upstream.remote().display().to_string();
    follow(&mut upstream, "by-url", &options(&format!("file://{path}")));
    let mut upstream = Upstream::new(30);
    let path = upstream.remote().display().to_string();
    follow(&mut upstream, "by-path", &options(&path));
}

#[test]
fn a_tree_that_no_index_has_is_refused() {
    let upstream = Upstream::new(10);
    let daemon = GitDaemon::start(upstream.dir.path());
    let dir = upstream.path("clone");
    let mut options = options(&daemon.url("remote/.git"));
    options.retries = 3;
    update(&dir, &options).unwrap();
    let old = upstream.tip();
    let deep = upstream.remote().join("1/2/3/4/5/6/7/8/9");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("file"), "").unwrap();
    git(&upstream.remote(), &["add", "--all"]);
    git(&upstream.remote(), &["commit", "--quiet", "-m", "deep"]);
    let begun = daemon.connections();
    let refused = update(&dir, &options).unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Origin);
    assert!(chain(&refused).contains("nested more than 8 deep"), "{refused:?}");
    assert_eq!(daemon.connections(), begun + 1, "it would be the same again");
    assert_at(&dir, &old);
}
