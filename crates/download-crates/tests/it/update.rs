//! `--update-index`: the program clones and updates its index.
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mirror_testkit::{GitDaemon, GitFault, GitHttp, TestRegistry, git, git_says};

use crate::world::{World, run};

struct Remote {
    world: World,
    daemon: GitDaemon,
    serial: usize,
}

impl Remote {
    fn new(seed: u64, releases: usize) -> Self {
        let world = World::new(TestRegistry::generate(seed, releases, 100));
        world.registry.commit_git(&world.path("remote"));
        let daemon = GitDaemon::start(world.dir.path());
        Self { world, daemon, serial: 0 }
    }

    fn publish(&mut self) -> String {
        self.serial += 1;
        self.world.registry.add("fresh-crate", &format!("0.{}.0", self.serial), b"new");
        self.world.registry.commit_git(&self.world.path("remote"));
        self.world.publish();
        self.tip()
    }

    fn tip(&self) -> String {
        git_says(&self.world.path("remote"), &["rev-parse", "HEAD"])
    }

    /// Returns the command of the program with its index at `index`.
    fn command(&self, out: &str) -> Command {
        let mut command = self.world.command(out);
        command.args(["--index-dir", "index", "--update-index", "--index-url"]);
        command.arg(self.daemon.url("remote/.git"));
        command.arg("--crates-base-url").arg(format!("{}/crates", self.world.origin.base()));
        command
    }

    fn head(&self) -> Option<String> {
        let index = self.world.path("index");
        index.exists().then(|| git_says(&index, &["rev-parse", "HEAD"]))
    }
}

#[test]
fn an_index_is_cloned_updated_and_mirrored() {
    let mut remote = Remote::new(71, 80);
    let first = run(&mut remote.command("out")).expect(0);
    assert!(first.stderr.contains("cloning the index from git://"), "{}", first.stderr);
    assert!(first.stderr.contains("the index was cloned at"), "{}", first.stderr);
    remote.world.assert_whole("out");
    assert_eq!(git_says(&remote.world.path("index"), &["rev-list", "--count", "--all"]), "1");
    assert_eq!(git_says(&remote.world.path("index"), &["rev-parse", "--is-bare-repository"]), "true");

    remote.publish();
    let second = run(&mut remote.command("out")).expect(0);
    assert_eq!((second.count("existing"), second.count("downloaded")), (80, 1));
    assert!(second.stderr.contains("the index went from"), "{}", second.stderr);
    let third = run(&mut remote.command("out")).expect(0);
    assert!(third.stderr.contains("the index is up to date"), "{}", third.stderr);

    // The index stays as it is when that is requested as well, and in a dry run.
    remote.publish();
    let asked = remote.daemon.connections();
    let skipped = run(remote.command("out").arg("--skip-index-update")).expect(0);
    assert_eq!(skipped.count("downloaded"), 0);
    let dry = run(remote.command("out").arg("--dry-run")).expect(0);
    assert_eq!(dry.count("would fetch"), 0);
    assert!(dry.stderr.contains("a dry run does not update the index"), "{}", dry.stderr);
    assert_eq!(remote.daemon.connections(), asked);
}

#[test]
fn history_is_cloned_on_request_and_https_takes_cacert() {
    let mut remote = Remote::new(72, 10);
    remote.publish();
    let server = GitHttp::start(remote.world.dir.path(), true);
    // One file with the roots of both: the crates come from the origin.
    let mut roots = std::fs::read_to_string(server.ca()).unwrap();
    roots += &std::fs::read_to_string(remote.world.origin.ca()).unwrap();
    std::fs::write(remote.world.path("roots.pem"), roots).unwrap();
    let mut command = Command::new(crate::world::BIN);
    command.current_dir(remote.world.dir.path()).args([
        "--out",
        "out",
        "--listen",
        "",
        "--cacert",
        "roots.pem",
    ]);
    command.args(["--index-dir", "index", "--update-index", "--index-full", "--index-url"]);
    command.arg(server.url("remote/.git"));
    command.arg("--crates-base-url").arg(format!("{}/crates", remote.world.origin.base()));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    run(&mut command).expect(0);
    remote.world.assert_whole("out");
    assert_eq!(git_says(&remote.world.path("index"), &["rev-list", "--count", "--all"]), "2");
}

/// Checks that the ssh program, a proxy and roots can be set by the variables of git.
#[test]
fn gits_own_ways_lead_to_the_remote() {
    use std::os::unix::fs::PermissionsExt as _;
    let remote = Remote::new(78, 10);
    let ssh = remote.world.path("ssh");
    // Options, the host, and the command for the other side.
    let script = "#!/bin/sh\nwhile [ \"$1\" != index.invalid ]; do shift; done\nshift\nexec sh -c \"$*\"\n";
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = remote.world.path("remote/.git").display().to_string();
    let clone = |index: &str, url: &str, name: &str, value: &str| {
        let mut command = remote.world.command("out");
        command.args([
            "--limit",
            "1",
            "--retries",
            "0",
            "--update-index",
            "--index-dir",
            index,
            "--index-url",
            url,
        ]);
        command.arg("--crates-base-url").arg(format!("{}/crates", remote.world.origin.base()));
        run(command.env(name, value)).expect(0);
        assert_eq!(git_says(&remote.world.path(index), &["rev-parse", "HEAD"]), remote.tip());
    };
    clone("by-ssh", &format!("ssh://index.invalid{path}"), "GIT_SSH_COMMAND", &ssh.display().to_string());
    let proxy = GitHttp::start(remote.world.dir.path(), false);
    let address = proxy.url("");
    clone("by-proxy", "http://index.invalid/remote/.git", "http_proxy", address.trim_end_matches('/'));
    assert!(proxy.requests() > 0);
    let https = GitHttp::start(remote.world.dir.path(), true);
    clone("by-https", &https.url("remote/.git"), "GIT_SSL_CAINFO", &https.ca().display().to_string());
}

/// The way from nothing to an estimate: no step of it, and no advice on it, downloads a release.
#[test]
fn a_dry_run_without_an_index_says_how_to_get_one_and_downloads_nothing() {
    let remote = Remote::new(78, 20);
    let base = format!("{}/crates", remote.world.origin.base());
    let plain = ["--index-dir", "index", "--dry-run", "--crates-base-url", &base];
    for mut command in [remote.command("out"), remote.world.command("out")] {
        let refused = run(command.args(plain)).expect(2);
        assert!(refused.stderr.contains("there is no index at index"), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("--index-only") && refused.stderr.contains("200 MB"),
            "{}",
            refused.stderr
        );
        assert!(!refused.stderr.contains("run without --dry-run"), "{}", refused.stderr);
    }
    assert!(!remote.world.path("index").exists());
    let cloned = run(remote.command("out").arg("--index-only")).expect(0);
    assert!(
        cloned.stdout.contains("is up to date") && cloned.stdout.contains("--dry-run"),
        "{}",
        cloned.stdout
    );
    let dry = run(remote.world.command("out").args(plain)).expect(0);
    assert_eq!((dry.count("would fetch"), dry.count("held")), (20, 0), "{}", dry.stdout);
    assert!(!remote.world.path("out").exists());
    // The dry run asked for sizes, and nothing was fetched.
    assert_eq!(run(&mut remote.command("out")).expect(0).count("downloaded"), 20);
    let brought = run(remote.command("out").arg("--index-only")).expect(0);
    assert!(brought.stderr.contains("the index is up to date"), "{}", brought.stderr);
}

#[test]
fn different_ends_have_different_codes() {
    let remote = Remote::new(73, 10);
    let url = remote.daemon.url("remote/.git");
    let usage = |arguments: &[&str], words: &str| {
        let ended = run(remote.world.command("out").args(arguments)).expect(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    };
    usage(&["--update-index", "--crates", "serde"], "a sparse registry is asked for news in every run");
    usage(&["--index-dir", "index", "--index-full"], "--update-index");
    usage(&["--index-url", &url], "--index-dir");
    usage(
        &["--index-dir", "index", "--update-index", "--dry-run", "--index-url", &url],
        "a dry run clones none",
    );
    std::fs::create_dir(remote.world.path("index")).unwrap();
    std::fs::write(remote.world.path("index/notes"), "mine").unwrap();
    usage(&["--index-dir", "index", "--update-index", "--index-url", &url], "plain directory");
    std::fs::remove_dir_all(remote.world.path("index")).unwrap();
    git(remote.world.dir.path(), &["clone", "--quiet", "remote", "index"]);
    std::fs::write(remote.world.path("index/config.json"), "mine").unwrap();
    usage(&["--index-dir", "index", "--update-index", "--index-url", &url], "local changes");
    assert_eq!(std::fs::read_to_string(remote.world.path("index/config.json")).unwrap(), "mine");
    std::fs::remove_dir_all(remote.world.path("index")).unwrap();

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("git://{}/x", closed.local_addr().unwrap());
    drop(closed);
    let arguments = ["--index-dir", "index", "--update-index", "--retries", "1", "--index-url", &nobody];
    let refused = run(remote.world.command("out").args(arguments)).expect(5);
    assert!(refused.stderr.contains("(2 attempts)"), "{}", refused.stderr);
    assert!(refused.stderr.contains("again in"), "{}", refused.stderr);
    assert!(!remote.world.path("index").exists());
}

/// Checks two runs on one index: the second one reports the lock, and a signal stops the first.
#[test]
fn a_second_run_is_refused_and_signals_stop_a_clone() {
    let remote = Remote::new(74, 200);
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        remote.daemon.misbehave(GitFault::Stall(2_000), 1);
        let begun = remote.daemon.connections();
        let mut first = remote.command("out").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while remote.daemon.connections() == begun {
            std::thread::yield_now();
        }
        let second = run(&mut remote.command("other")).expect(7);
        assert!(second.stderr.contains("another run"), "{}", second.stderr);
        let status =
            Command::new("kill").args([format!("-{name}"), first.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert_eq!(first.wait().unwrap().code(), Some(code));
        assert!(!remote.world.path("index").exists() && !remote.world.path(".index.incoming").exists());
    }
    run(&mut remote.command("out")).expect(0);
    remote.world.assert_whole("out");
}

#[track_caller]
fn assert_sound(index: &Path) {
    git(index, &["fsck", "--full", "--no-progress"]);
}

/// Kills clones at random moments: the index is absent, at the old commit or at the new one, and whole. 26 kills for
/// each kind of clone.
fn kills(seed: u64, more: &[&str]) {
    let mut remote = Remote::new(seed, 600);
    let index = remote.world.path("index");
    let mut random = fastrand::Rng::with_seed(seed);
    let start = |remote: &Remote| {
        let mut command = remote.command("out");
        command.args(["--limit", "1"]).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut cut_short = [0, 0];
    for (part, cut) in cut_short.iter_mut().enumerate() {
        let clone = part == 0;
        let mut whole = Duration::ZERO;
        for round in 0..14 {
            if clone && index.exists() {
                std::fs::remove_dir_all(&index).unwrap();
            }
            let old = remote.head();
            let new = if clone { remote.tip() } else { remote.publish() };
            let began = Instant::now();
            let mut child = start(&remote);
            if round == 0 {
                assert!(child.wait().unwrap().success());
                whole = began.elapsed();
            } else {
                std::thread::sleep(whole.mul_f64(random.f64()));
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let found = remote.head();
            assert!(found == old || found.as_ref() == Some(&new), "{found:?} is neither {old:?} nor {new}");
            *cut += usize::from(found.as_ref() != Some(&new));
            if found.is_some() {
                assert_sound(&index);
            }
        }
    }
    assert!(cut_short[0] > 0 && cut_short[1] > 0, "kills met runs at work: {cut_short:?}");
    run(remote.command("out").args(["--limit", "1"])).expect(0);
    assert_eq!(remote.head(), Some(remote.tip()));
    assert_sound(&index);
    let left = |dir: &Path, part: &str| {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(part)).count()
    };
    assert_eq!(left(&index, "mirror-incoming") + left(remote.world.dir.path(), ".index.incoming"), 0);
}

#[test]
fn kills_leave_the_old_shallow_index_or_the_new_one() {
    kills(75, &[]);
}

#[test]
fn kills_leave_the_old_full_index_or_the_new_one() {
    kills(76, &["--index-full"]);
}

/// After a kill, a checkout may be half way between two commits; the next run continues it.
#[test]
fn a_killed_checkout_is_continued() {
    let mut remote = Remote::new(77, 600);
    let index = remote.world.path("index");
    git(remote.world.dir.path(), &["clone", "--quiet", "remote", "index"]);
    let mut random = fastrand::Rng::with_seed(77);
    let (mut whole, mut between) = (Duration::ZERO, 0);
    let mut published = vec![remote.tip()];
    // As many kills as are needed to meet a run that writes files, and at least twenty.
    for round in 0..200 {
        if round > 20 && between > 0 {
            break;
        }
        for release in remote.world.registry.crates.values_mut().flatten() {
            release.yanked = !release.yanked;
        }
        let place = |tip: Option<String>| published.iter().position(|one| Some(one) == tip.as_ref()).unwrap();
        let old = place(remote.head());
        published.push(remote.publish());
        let began = Instant::now();
        let mut command = remote.command("out");
        command.args(["--limit", "1"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        if round == 0 {
            assert!(child.wait().unwrap().success());
            whole = began.elapsed();
        } else {
            if round % 2 == 0 {
                std::thread::sleep(whole.mul_f64(random.f64()));
            } else {
                // On a machine of any speed: files are written after this marker.
                while !index.join(".git/mirror-checkout").exists() && child.try_wait().unwrap().is_none() {
                    std::thread::sleep(Duration::from_micros(200));
                }
                std::thread::sleep(Duration::from_micros(random.u64(..3_000)));
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // The old one, the new one, or one in between that an earlier run was heading for.
        let place = |tip: Option<String>| published.iter().position(|one| Some(one) == tip.as_ref()).unwrap();
        assert!(place(remote.head()) >= old);
        assert_sound(&index);
        between += usize::from(!git_says(&index, &["status", "--porcelain"]).is_empty());
    }
    run(remote.command("out").args(["--limit", "1"])).expect(0);
    assert_eq!(remote.head(), Some(remote.tip()));
    assert_eq!(git_says(&index, &["status", "--porcelain"]), "");
    assert!(between > 0, "no kill met a run that wrote files");
}

/// Variables by which git finds a repository must not apply to one that was named.
#[test]
fn the_environment_of_git_leads_an_update_nowhere_else() {
    let mut remote = Remote::new(78, 20);
    let index = remote.world.path("index");
    git(remote.world.dir.path(), &["clone", "--quiet", "remote", "index"]);
    for (variable, value) in [
        ("GIT_WORK_TREE", "elsewhere"),
        ("GIT_INDEX_FILE", "elsewhere/index"),
        ("GIT_OBJECT_DIRECTORY", "elsewhere/objects"),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "elsewhere/objects"),
        ("GIT_DIR", "elsewhere/git"),
        ("GIT_COMMON_DIR", "elsewhere/git"),
        ("GIT_NAMESPACE", "elsewhere"),
        ("GIT_SHALLOW_FILE", "elsewhere/shallow"),
    ] {
        let elsewhere = remote.world.path("elsewhere");
        std::fs::create_dir_all(&elsewhere).unwrap();
        let name = variable.to_lowercase().replace('_', "-");
        remote.world.registry.add(&name, "1.0.0", b"new");
        remote.publish();
        let ended = run(remote.command("out").env(variable, remote.world.path(value)));
        assert_eq!(ended.code, 0, "{variable}: {}", ended.stderr);
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "{variable}");
        assert_eq!(remote.head(), Some(remote.tip()), "{variable}");
        assert_sound(&index);
        assert_eq!(git_says(&index, &["status", "--porcelain"]), "", "{variable}");
    }
}
