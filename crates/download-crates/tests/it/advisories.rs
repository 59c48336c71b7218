//! The advisory database: a git clone that the program makes, keeps up to date and reads.
#![cfg(unix)]

use std::process::Command;
use std::time::{Duration, SystemTime};

use mirror_testkit::{GitDaemon, TestRegistry, git, git_says};

use crate::world::{World, run};

/// A registry of `evil`, `old` and `good`, and a remote with a database.
struct Remote {
    world: World,
    daemon: GitDaemon,
}

fn advisory(id: &str, package: &str, rest: &str) -> String {
    format!(
        "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{package}\"\ndate = \"2026-08-20\"\n{rest}\n[versions]\n\
         patched = []\n```\n\n# A title\n"
    )
}

const MALICIOUS: &str = "categories = [\"malicious\"]";

impl Remote {
    fn new() -> Self {
        let mut registry = TestRegistry::default();
        for name in ["evil", "old", "good"] {
            registry.add(name, "1.0.0", name.as_bytes());
        }
        let world = World::new(registry);
        let remote = world.path("remote-db");
        std::fs::create_dir(&remote).unwrap();
        git(&remote, &["init", "--quiet", "--initial-branch=main"]);
        let daemon = GitDaemon::start(world.dir.path());
        let remote = Self { world, daemon };
        remote.publish("RUSTSEC-2026-0001", "evil", MALICIOUS, 0);
        remote
    }

    /// Commits an advisory to the remote, as it was done some days ago.
    fn publish(&self, id: &str, package: &str, rest: &str, days_old: u64) -> String {
        let remote = self.world.path("remote-db");
        let dir = remote.join("crates").join(package);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{id}.md")), advisory(id, package, rest)).unwrap();
        git(&remote, &["add", "--all"]);
        let at = SystemTime::now() - Duration::from_secs(days_old * 86_400 + 60);
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let commit = Command::new("git")
            .current_dir(&remote)
            .args(["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--message", id])
            .env("GIT_COMMITTER_DATE", format!("{at} +0000"))
            .status()
            .unwrap();
        assert!(commit.success());
        git_says(&remote, &["rev-parse", "HEAD"])
    }

    fn url(&self) -> String {
        self.daemon.url("remote-db/.git")
    }

    fn mirroring(&self, more: &[&str]) -> Command {
        let mut command = self.world.mirroring("out");
        command.args(["--advisory-db", "db"]).args(more);
        command
    }

    fn updating(&self) -> Command {
        self.mirroring(&["--update-advisories", "--advisory-url", &self.url()])
    }
}

#[test]
fn the_database_is_cloned_and_brought_up_to_date() {
    let remote = Remote::new();
    let first = run(&mut remote.updating()).expect(0);
    assert_eq!((first.count("downloaded"), first.count("deferred")), (2, 1), "{}", first.stdout);
    assert!(first.stderr.contains("cloning the advisory database from git://"), "{}", first.stderr);
    let db = remote.world.path("db");
    assert_eq!(git_says(&db, &["rev-parse", "--is-bare-repository"]), "true");
    assert_eq!(git_says(&db, &["rev-list", "--count", "--all"]), "1");

    // The clone remembers where it is from.
    let tip = remote.publish("RUSTSEC-2026-0002", "old", MALICIOUS, 0);
    let second = run(&mut remote.mirroring(&["--update-advisories"])).expect(0);
    assert_eq!((second.count("held back"), second.count("deferred")), (1, 1), "{}", second.stdout);
    assert_eq!(git_says(&db, &["rev-parse", "HEAD"]), tip);
    assert_eq!(second.count("advisories"), 2, "{}", second.stdout);
    assert!(
        second.stdout.contains(&format!("of commit {}, less than an hour old", &tip[..12])),
        "{}",
        second.stdout
    );
    assert!(!second.stderr.contains("WARN") && !second.stderr.contains("ERROR"), "{}", second.stderr);

    // Without an update, and in a dry run, the clone stays as it is.
    remote.publish("RUSTSEC-2026-0003", "good", MALICIOUS, 0);
    let asked = remote.daemon.connections();
    let left = run(&mut remote.mirroring(&[])).expect(0);
    assert_eq!(left.count("held back"), 1);
    let dry = run(&mut remote.mirroring(&["--update-advisories", "--dry-run"])).expect(0);
    assert!(dry.stderr.contains("a dry run does not update the advisory database"), "{}", dry.stderr);
    assert_eq!((remote.daemon.connections(), git_says(&db, &["rev-parse", "HEAD"])), (asked, tip));
}

/// One flag for a nightly run: the index and the database that the policy names, from the directory of the policy.
#[test]
fn update_index_updates_the_database_too() {
    let remote = Remote::new();
    remote.world.registry.commit_git(&remote.world.path("remote"));
    std::fs::create_dir(remote.world.path("rules")).unwrap();
    std::fs::write(remote.world.path("rules/p.toml"), "[advisories]\ndatabase = \"db\"\n").unwrap();
    let command = |more: &[&str]| {
        let mut command = remote.world.command("out");
        command.args(["--index-dir", "index", "--update-index", "--policy", "rules/p.toml", "--index-url"]);
        command.arg(remote.daemon.url("remote/.git")).args(["--advisory-url", &remote.url()]).args(more);
        command.arg("--crates-base-url").arg(format!("{}/crates", remote.world.origin.base()));
        command
    };
    let first = run(&mut command(&[])).expect(0);
    assert_eq!((first.count("downloaded"), first.count("deferred")), (2, 1));
    let tip = remote.publish("RUSTSEC-2026-0002", "old", MALICIOUS, 0);
    let skipped = run(&mut command(&["--skip-index-update"])).expect(0);
    assert!(!skipped.stdout.contains("held back"), "{}", skipped.stdout);
    let second = run(&mut command(&[])).expect(0);
    assert_eq!(second.count("held back"), 1);
    assert_eq!(git_says(&remote.world.path("rules/db"), &["rev-parse", "HEAD"]), tip);
}

/// A run that mirrors nothing helps nobody, and one without advisories would offer what they deny.
#[test]
fn a_database_that_cannot_be_updated_is_used_as_it_is_and_one_that_is_missing_ends_the_run() {
    let remote = Remote::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("git://{}/x", closed.local_addr().unwrap());
    drop(closed);
    let unreachable = ["--update-advisories", "--advisory-url", &nobody, "--retries", "1"];
    let refused = run(&mut remote.mirroring(&unreachable)).expect(5);
    assert!(
        refused.stderr.contains("could not fetch the advisory database from git://"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("(2 attempts)"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--advisory-url says where"), "{}", refused.stderr);
    assert!(!remote.world.path("db").exists());
    assert_eq!(remote.world.origin.total(), 0, "nothing is fetched without advisories");

    run(&mut remote.updating()).expect(0);
    remote.publish("RUSTSEC-2026-0002", "old", MALICIOUS, 0);
    let outdated = run(&mut remote.mirroring(&unreachable)).expect(3);
    assert!(
        outdated
            .stderr
            .contains("the advisory database could not be brought up to date, and is used as it is"),
        "{}",
        outdated.stderr
    );
    assert!(
        outdated.stdout.contains("; the database could not be brought up to date"),
        "{}",
        outdated.stdout
    );
    assert_eq!((outdated.count("existing"), outdated.count("deferred")), (2, 1));
    run(&mut remote.mirroring(&["--update-advisories"])).expect(0);

    // So is one with changes of somebody's own, which an update must not touch.
    std::fs::remove_dir_all(remote.world.path("db")).unwrap();
    git(remote.world.dir.path(), &["clone", "--quiet", "remote-db", "db"]);
    let changed = remote.world.path("db/crates/old/RUSTSEC-2026-0002.md");
    std::fs::write(&changed, "mine").unwrap();
    let outdated = run(&mut remote.updating()).expect(3);
    assert!(outdated.stderr.contains("local changes"), "{}", outdated.stderr);
    assert_eq!(std::fs::read_to_string(changed).unwrap(), "mine");
    assert_eq!(outdated.count("held back"), 1, "HEAD counts: {}", outdated.stdout);
}

#[test]
fn the_commit_counts_and_not_the_work_tree() {
    let remote = Remote::new();
    let all = remote.world.dir.path();
    git(all, &["clone", "--quiet", "remote-db", "checkout"]);
    std::fs::remove_dir_all(remote.world.path("checkout/crates")).unwrap();
    git(all, &["clone", "--quiet", "--bare", "remote-db", "bare"]);
    git(&remote.world.path("bare"), &["worktree", "add", "--quiet", "--detach", "../linked"]);
    std::fs::remove_dir_all(remote.world.path("linked/crates")).unwrap();
    std::fs::create_dir(remote.world.path("plain")).unwrap();
    let copied = Command::new("cp").args(["-r", "remote-db/crates", "plain"]).current_dir(all).status();
    assert!(copied.unwrap().success());
    for database in ["checkout", "bare", "linked", "plain", "remote-db/.git"] {
        let dry =
            run(remote.world.mirroring("out").args(["--dry-run", "--offline", "--advisory-db", database]));
        assert_eq!(dry.expect(0).count("deferred"), 1, "{database}");
    }
    // A plain directory is somebody else's to keep up to date.
    let plain =
        run(remote.world.mirroring("out").args(["--advisory-db", "plain", "--update-advisories"])).expect(0);
    assert!(plain.stderr.contains("the advisory database is no git clone"), "{}", plain.stderr);
    assert!(plain.stdout.contains("of a plain directory, whose age is not known"), "{}", plain.stdout);
    let explained =
        run(remote.world.command("out").args(["--advisory-db", "bare", "--explain", "evil"])).expect(0);
    assert!(explained.stdout.contains("RUSTSEC-2026-0001 (malicious)"), "{}", explained.stdout);
}

#[test]
fn a_database_that_has_not_changed_for_a_month_is_warned_of() {
    let remote = Remote::new();
    for (days, warns) in [(45, true), (31, true), (29, false)] {
        remote.publish("RUSTSEC-2026-0009", "other", &format!("title = \"{days}\""), days);
        let ended = run(&mut remote.updating()).expect(0);
        assert!(ended.stdout.contains(&format!(", {days} days old")), "{}", ended.stdout);
        let warning = format!("the newest commit of the advisory database is {days} days old");
        assert_eq!(ended.stderr.contains(&warning), warns, "{}", ended.stderr);
    }
}

/// Checks that what is vulnerable is offered and named, until the policy denies it.
#[test]
fn vulnerable_releases_are_named_and_denied_on_request() {
    let remote = Remote::new();
    remote.publish("RUSTSEC-2026-0002", "old", "", 0);
    remote.publish("RUSTSEC-2026-0003", "old", "", 0);
    remote.publish("RUSTSEC-2026-0004", "good", "informational = \"unmaintained\"", 0);
    let listed = "\nfirst releases with advisories:\n  old 1.0.0: RUSTSEC-2026-0002, RUSTSEC-2026-0003\n";
    let dry =
        run(remote.world.mirroring("out").args(["--advisory-db", "remote-db", "--dry-run", "--offline"]));
    let dry = dry.expect(0);
    assert_eq!(dry.count("with advisories"), 1, "{}", dry.stdout);
    assert!(dry.stdout.contains(listed), "{}", dry.stdout);

    // Also by the run that changes nothing.
    for _ in 0..2 {
        let ended = run(&mut remote.updating()).expect(0);
        assert_eq!((ended.count("with advisories"), ended.count("deferred")), (1, 1), "{}", ended.stdout);
        assert!(ended.stdout.contains(listed), "{}", ended.stdout);
    }
    let dry = run(&mut remote.mirroring(&["--dry-run", "--offline"])).expect(0);
    assert!(dry.stdout.contains(listed), "what is held counts: {}", dry.stdout);

    std::fs::write(remote.world.path("p.toml"), "[advisories]\nvulnerable = \"deny\"\n").unwrap();
    let denied = run(&mut remote.mirroring(&["--policy", "p.toml"])).expect(0);
    assert_eq!(denied.count("held back"), 1);
    assert!(!denied.stdout.contains("with advisories"), "{}", denied.stdout);
    std::fs::write(remote.world.path("p.toml"), "[advisories]\nvulnerable = \"ignore\"\n").unwrap();
    let ignored = run(&mut remote.mirroring(&["--policy", "p.toml"])).expect(0);
    assert!(!ignored.stdout.contains("with advisories") && !ignored.stdout.contains("held back"));
    let without = run(&mut remote.world.mirroring("out")).expect(0);
    assert!(!without.stdout.contains("advisories"), "{}", without.stdout);
}

#[test]
fn the_step_before_a_dry_run_clones_the_database_with_the_index() {
    let remote = Remote::new();
    remote.world.registry.commit_git(&remote.world.path("upstream"));
    let index = ["--index-dir", "clone", "--index-url", &remote.daemon.url("upstream/.git")];
    let mut command = remote.world.command("out");
    command.args(index).args(["--index-only", "--advisory-db", "db", "--advisory-url", &remote.url()]);
    let ended = run(&mut command).expect(0);
    assert!(ended.value("advisories").contains('1'), "{}", ended.stdout);
    assert!(remote.world.path("db").exists() && !remote.world.path("out").exists());
    let mut dry = remote.world.command("out");
    dry.args(index).args(["--update-index", "--dry-run", "--advisory-db", "db"]);
    let dry =
        run(dry.args(["--crates-base-url", &format!("{}/crates", remote.world.origin.base())])).expect(0);
    assert_eq!((dry.count("would fetch"), dry.count("deferred")), (2, 1), "{}", dry.stdout);
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let remote = Remote::new();
    let refused = |arguments: &[&str], words: &str| {
        let ended = run(remote.world.mirroring("out").args(arguments)).expect(2);
        assert!(ended.stderr.contains(words), "{words} in {}", ended.stderr);
    };
    refused(&["--update-advisories"], "give --advisory-db DIR");
    refused(&["--update-advisories", "--offline", "--advisory-db", "db"], "--offline sends no requests");
    refused(&["--advisory-url", "git://localhost/x", "--advisory-db", "db"], "--update-advisories");
    refused(&["--update-advisories", "--dry-run", "--advisory-db", "db"], "a dry run clones none");
    refused(
        &["--update-advisories", "--dry-run", "--advisory-db", "db"],
        "--index-only in place of --dry-run",
    );
    refused(&["--advisory-db", "db"], "there is no advisory database at db");
    std::fs::create_dir(remote.world.path("empty")).unwrap();
    git(&remote.world.path("empty"), &["init", "--quiet"]);
    refused(&["--advisory-db", "empty"], "could not read the advisory database");
    git(&remote.world.path("empty"), &["commit", "--quiet", "--allow-empty", "--message", "nothing"]);
    refused(&["--advisory-db", "empty"], "it has no directory named crates");
    assert!(!remote.world.path("db").exists());
}
