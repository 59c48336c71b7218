//! Runs against an index that changed a little: which crates they look at, and what they notice.

use std::path::PathBuf;

use mirror_sync::Layout;
use mirror_testkit::{Fault, TestRegistry, git};

use crate::world::{Ended, World, run};

pub(crate) const UNCHANGED: &str = "the index has not changed";

pub(crate) struct Incremental {
    pub(crate) world: World,
    pub(crate) base: String,
}

impl Incremental {
    /// Makes a mirror of a git index that holds everything after its first run.
    pub(crate) fn new(seed: u64) -> Self {
        let world = World::new(TestRegistry::generate(seed, 300, 200));
        let base = format!("{}/crates", world.origin.base());
        let mirror = Self { world, base };
        mirror.publish();
        mirror.go(&[]).expect(0);
        mirror
    }

    pub(crate) fn publish(&self) {
        self.world.publish();
        self.world.registry.commit_git(&self.world.path("checkout"));
    }

    pub(crate) fn go(&self, more: &[&str]) -> Ended {
        let asked = ["--index-dir", "checkout", "--crates-base-url", &self.base];
        run(self.world.command("out").args(asked).args(more))
    }

    pub(crate) fn file(&self, at: usize) -> PathBuf {
        let id = &self.world.registry.releases().nth(at).unwrap().id;
        self.world.path("out").join(Layout::Shard.path(id))
    }

    /// Asserts that `selected` counts the whole index, however little was looked at, and that every selected release
    /// has a result.
    #[track_caller]
    pub(crate) fn adds_up(&self, ended: &Ended) {
        let wanted = self.world.registry.releases().filter(|release| !release.yanked).count() as u64;
        assert_eq!(ended.count("selected"), wanted, "{}", ended.stdout);
        let ends = ["downloaded", "existing", "unavailable", "failed"].map(|name| ended.count(name));
        assert_eq!(ends.iter().sum::<u64>(), wanted, "{}", ended.stdout);
    }

    pub(crate) fn catalogue(&self, query: &str) -> Vec<String> {
        self.ask("catalogue.sqlite", query)
    }

    pub(crate) fn index_cache(&self, query: &str) -> Vec<String> {
        self.ask("index.sqlite", query)
    }

    fn ask(&self, database: &str, query: &str) -> Vec<String> {
        let db = rusqlite::Connection::open(self.world.path("out/.mirror").join(database)).unwrap();
        let mut statement = db.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

#[test]
fn what_was_published_since_is_fetched_and_the_rest_is_not_looked_at() {
    let mut mirror = Incremental::new(40);
    let asked = mirror.world.origin.total();
    mirror.adds_up(&mirror.go(&[]).expect(0));
    mirror.world.registry.add("newcomer", "1.0.0", b"new");
    mirror.world.registry.add("newcomer", "1.0.1", b"newer");
    let (name, _) = mirror.world.registry.crates.iter().nth(5).unwrap();
    let name = name.clone();
    mirror.world.registry.add(&name, "99.0.0", b"another");
    mirror.publish();
    let dry = mirror.go(&["--dry-run", "--offline"]).expect(0);
    assert_eq!((dry.count("would fetch"), dry.count("selected")), (3, 303), "{}", dry.stdout);
    let grown = mirror.go(&[]).expect(0);
    assert_eq!((grown.count("downloaded"), grown.count("selected")), (3, 303));
    assert_eq!(mirror.world.origin.total(), asked + 3);
    mirror.adds_up(&grown);
    mirror.world.assert_whole("out");
}

/// Checks that a run of which only the record among the runs fails ends as what it is.
#[test]
fn a_history_that_cannot_be_written_does_not_fail_a_run() {
    let mirror = Incremental::new(42);
    let before = mirror.catalogue("SELECT id FROM runs");
    let db = rusqlite::Connection::open(mirror.world.path("out/.mirror/catalogue.sqlite")).unwrap();
    db.execute_batch("CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'full'); END")
        .unwrap();
    drop(db);
    let rerun = mirror.go(&[]).expect(0);
    assert!(rerun.stderr.contains("could not be recorded among the runs"), "{}", rerun.stderr);
    mirror.adds_up(&rerun);
    assert_eq!(mirror.catalogue("SELECT id FROM runs"), before);
}

#[test]
fn a_file_removed_by_hand_comes_back_though_the_index_is_the_same() {
    let mirror = Incremental::new(41);
    for at in [3, 77, 200] {
        std::fs::remove_file(mirror.file(at)).unwrap();
    }
    let whole_dir = mirror.file(120).parent().unwrap().to_owned();
    let more = std::fs::read_dir(&whole_dir).unwrap().count();
    std::fs::remove_dir_all(&whole_dir).unwrap();
    let rerun = mirror.go(&[]).expect(0);
    assert!(rerun.stderr.contains(UNCHANGED));
    assert_eq!(rerun.count("downloaded"), 3 + more as u64);
    mirror.adds_up(&rerun);
    mirror.world.assert_whole("out");
    assert_eq!(mirror.catalogue("SELECT crate FROM failures"), [""; 0]);
}

/// `cp --archive` keeps the times of directories, even when it leaves files out.
#[test]
fn a_copy_of_a_mirror_is_looked_at_anew() {
    let mirror = Incremental::new(53);
    let victim = mirror.file(30);
    let dir = victim.parent().unwrap();
    let before = std::fs::metadata(dir).unwrap().modified().unwrap();
    std::fs::remove_file(&victim).unwrap();
    std::fs::File::open(dir).unwrap().set_modified(before).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["--archive", "out", "copy"])
        .current_dir(mirror.world.dir.path())
        .status();
    assert!(copied.unwrap().success());
    std::fs::copy(mirror.world.path("out.jsonl"), mirror.world.path("copy.jsonl")).unwrap();
    let line = ["--index-dir", "checkout", "--crates-base-url", &mirror.base];
    let ended = run(mirror.world.command("copy").args(line)).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    mirror.world.assert_whole("copy");
}

/// The row is removed before the file is fetched again: if anything stops the run in between, the next one knows.
#[test]
fn what_was_lost_is_not_forgotten_when_the_run_fails() {
    let mirror = Incremental::new(42);
    std::fs::remove_file(mirror.file(9)).unwrap();
    let mut bytes = std::fs::read(mirror.file(10)).unwrap();
    bytes[0] ^= 1;
    std::fs::write(mirror.file(10), bytes).unwrap();
    mirror.world.origin.script(|_| Fault::Status(500));
    mirror.go(&["--retries", "0"]).expect(3);
    // Found by hashing, moved aside, and not available: an integrity fault.
    mirror.go(&["--retries", "0", "--verify-existing"]).expect(4);
    mirror.world.origin.heal();
    let rerun = mirror.go(&[]).expect(0);
    assert!(rerun.stderr.contains(UNCHANGED));
    assert_eq!(rerun.count("downloaded"), 2);
    mirror.adds_up(&rerun);
    mirror.world.assert_whole("out");
}

#[test]
fn what_failed_is_tried_again_though_the_index_is_the_same() {
    let mut mirror = Incremental::new(43);
    mirror.world.registry.add("unlucky", "1.0.0", b"late");
    mirror.world.registry.add("gone-again", "1.0.0", b"never");
    mirror.publish();
    mirror
        .world
        .origin
        .script(|ask| if ask.path.contains("/crates/") { Fault::Status(404) } else { Fault::None });
    let failed = mirror.go(&[]).expect(3);
    assert_eq!(failed.count("unavailable"), 2);
    mirror.adds_up(&failed);
    mirror.go(&[]).expect(3);
    mirror.world.origin.heal();
    // Upstream removes one of them before it could be fetched: it leaves the ledger.
    mirror.world.registry.crates.remove("gone-again");
    mirror.publish();
    let rerun = mirror.go(&[]).expect(0);
    assert_eq!(rerun.count("downloaded"), 1);
    mirror.adds_up(&rerun);
    assert_eq!(mirror.catalogue("SELECT crate FROM failures"), [""; 0]);
}

#[test]
fn a_republished_release_is_replaced_and_the_old_one_kept() {
    let mut mirror = Incremental::new(44);
    let ids: Vec<_> =
        mirror.world.registry.releases().step_by(50).map(|release| release.id.clone()).collect();
    for id in &ids {
        mirror.world.registry.republish(id.name.as_str(), id.version.as_str(), b"other bytes");
    }
    mirror.publish();
    let ended = mirror.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), ids.len() as u64);
    mirror.adds_up(&ended);
    assert_eq!(crate::world::tree(&mirror.world.path("out/.mirror/replaced")).len(), ids.len());
    mirror.world.assert_whole("out");
}

#[test]
fn a_squashed_index_is_the_same_index() {
    let mirror = Incremental::new(45);
    std::fs::remove_dir_all(mirror.world.path("checkout/.git")).unwrap();
    mirror.publish();
    let ended = mirror.go(&[]).expect(0);
    assert!(ended.stderr.contains(UNCHANGED));
    mirror.adds_up(&ended);
}

/// The objects of the earlier tree are gone: everything is compared.
#[test]
fn an_index_without_its_past_is_read_as_a_whole() {
    let mut mirror = Incremental::new(46);
    mirror.world.registry.add("newcomer", "1.0.0", b"new");
    std::fs::remove_dir_all(mirror.world.path("checkout/.git")).unwrap();
    mirror.publish();
    let ended = mirror.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    mirror.adds_up(&ended);
    mirror.adds_up(&mirror.go(&[]).expect(0));
}

#[test]
fn another_selection_looks_at_everything_again() {
    let mut mirror = Incremental::new(47);
    let id = mirror.world.registry.releases().next().unwrap().id.clone();
    let releases = mirror.world.registry.crates.get_mut(id.name.as_str()).unwrap();
    releases[0].yanked = true;
    mirror.publish();
    let without = mirror.go(&[]).expect(0);
    mirror.adds_up(&without);
    assert!(without.stdout.contains("yanked, skipped"), "{}", without.stdout);
    let again = mirror.go(&[]).expect(0);
    assert!(again.stdout.contains("yanked, skipped"), "{}", again.stdout);
    let with = mirror.go(&["--include-yanked"]).expect(0);
    assert_eq!((with.count("selected"), with.count("existing")), (300, 300));
    let latest = mirror.go(&["--latest", "1"]).expect(0);
    assert!(latest.count("selected") <= mirror.world.registry.crates.len() as u64);
}

#[test]
fn bad_lines_are_reported_in_every_run() {
    let mirror = Incremental::new(48);
    let checkout = mirror.world.path("checkout");
    std::fs::create_dir_all(checkout.join("ba/dc")).unwrap();
    std::fs::write(checkout.join("ba/dc/badcrate"), "no record\n").unwrap();
    git(&checkout, &["add", "--all"]);
    git(&checkout, &["commit", "--quiet", "-m", "bad"]);
    for _ in 0..3 {
        let ended = mirror.go(&[]).expect(3);
        assert!(ended.stdout.contains("ba/dc/badcrate, line 1"), "{}", ended.stdout);
        mirror.adds_up(&ended);
    }
}

#[test]
fn what_upstream_removes_is_dated_and_stays_until_it_is_pruned() {
    let mut mirror = Incremental::new(49);
    let ids: Vec<_> = mirror.world.registry.releases().map(|release| release.id.clone()).collect();
    let yanked = ids[7].clone();
    for release in mirror.world.registry.crates.get_mut(yanked.name.as_str()).unwrap() {
        release.yanked |= release.id == yanked;
    }
    let (gone_crate, gone) = mirror.world.registry.crates.pop_last().unwrap();
    // One release of a crate that keeps others.
    let part = ids
        .iter()
        .find(|id| mirror.world.registry.crates[id.name.as_str()].len() > 2 && id.name != yanked.name);
    let part = part.unwrap().clone();
    mirror.world.registry.crates.get_mut(part.name.as_str()).unwrap().retain(|release| release.id != part);
    mirror.publish();
    let dry = mirror.go(&["--dry-run", "--offline", "--prune"]).expect(2);
    assert!(dry.stdout.contains("--allow-mass-prune"), "{}", dry.stdout);
    mirror.go(&["--dry-run", "--offline", "--prune", "--allow-mass-prune"]).expect(0);
    assert!(dry.stdout.contains(&format!("would prune {} releases", gone.len() + 1)), "{}", dry.stdout);
    assert!(dry.stdout.contains(&part.to_string()) && dry.stdout.contains(&gone_crate), "{}", dry.stdout);
    let ended = mirror.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), 0);
    let said = format!("{} releases deleted, 1 yanked", gone.len() + 1);
    assert!(ended.stdout.contains(&said), "{}", ended.stdout);
    mirror.adds_up(&ended);
    assert!(!mirror.go(&[]).expect(0).stdout.contains("removed upstream"), "told once");
    let dated = "SELECT first_seen FROM withdrawn WHERE kind = 'deleted' AND first_seen LIKE '20%Z'";
    assert_eq!(mirror.catalogue(dated).len(), gone.len() + 1);
    assert_eq!(mirror.world.tree("out").len(), 300);

    // That many of so few are suspicious.
    let refused = mirror.go(&["--prune"]).expect(2);
    assert!(refused.stdout.contains("--allow-mass-prune"), "{}", refused.stdout);
    assert_eq!(mirror.world.tree("out").len(), 300);
    let pruned = mirror.go(&["--prune", "--allow-mass-prune"]).expect(0);
    assert_eq!(pruned.count("pruned"), gone.len() as u64 + 1);
    assert_eq!(mirror.world.tree("out").len(), 299 - gone.len());
    assert!(mirror.file(7).exists(), "yanked releases are kept: {yanked}");
    let last = mirror.world.manifest("out").pop().unwrap();
    assert_eq!((last["status"].as_str(), last["ok"].as_bool()), (Some("pruned"), Some(true)));
    mirror.adds_up(&mirror.go(&[]).expect(0));
    let yanked_too = mirror.go(&["--prune=yanked", "--allow-mass-prune"]).expect(0);
    assert_eq!(yanked_too.count("pruned"), 1);
    mirror.world.assert_whole("out");

    // A catalogue that is rebuilt from the manifest knows what was pruned.
    for entry in std::fs::read_dir(mirror.world.path("out/.mirror")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("catalogue.sqlite") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let rebuilt = mirror.go(&[]).expect(0);
    assert_eq!(rebuilt.count("downloaded"), 0);
    assert_eq!(mirror.catalogue("SELECT crate FROM failures"), [""; 0]);
    assert_eq!(mirror.catalogue("SELECT version FROM releases").len(), mirror.world.tree("out").len());
}

/// Checks a plain directory, which has no trees to compare: everything is read, and the same is noticed.
#[test]
fn a_directory_reports_removed_crates_too() {
    let mut world = World::new(TestRegistry::generate(50, 200, 200));
    run(&mut world.mirroring("out")).expect(0);
    let (_, gone) = world.registry.crates.pop_first().unwrap();
    let ended = run(world.mirroring("out").args(["--prune", "--allow-mass-prune"])).expect(0);
    assert_eq!(ended.count("pruned"), gone.len() as u64);
    world.assert_whole("out");
}

/// Checks a sparse registry, which answers 404 for a deleted crate.
#[test]
fn a_sparse_registry_reports_removed_crates_too() {
    let mut world = World::new(TestRegistry::generate(52, 60, 200));
    let url = format!("sparse+{}/index/", world.origin.base());
    let names: Vec<_> = world.registry.crates.keys().cloned().collect();
    let names = names.join(",");
    let go = |world: &World| run(world.command("out").args(["--crates", &names, "--index-url", &url]));
    go(&world).expect(0);
    let (name, gone) = world.registry.crates.pop_first().unwrap();
    world.publish();
    let ended = go(&world).expect(3);
    assert!(ended.stdout.contains(&format!("{} releases deleted, 0 yanked", gone.len())), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("{name}: the index has no such crate")), "{}", ended.stdout);
    assert_eq!(world.tree("out").len(), 60, "nothing is removed");
}

#[test]
fn removed_and_offered_again() {
    let mut mirror = Incremental::new(51);
    let (name, releases) = mirror.world.registry.crates.pop_last().unwrap();
    mirror.publish();
    mirror.go(&[]).expect(0);
    assert_eq!(mirror.catalogue("SELECT crate FROM withdrawn").len(), releases.len());
    mirror.world.registry.crates.insert(name, releases);
    mirror.publish();
    let back = mirror.go(&["--prune"]).expect(0);
    assert_eq!(back.count("existing"), 300);
    assert_eq!(mirror.catalogue("SELECT crate FROM withdrawn"), [""; 0]);
    mirror.adds_up(&back);
}

#[test]
fn what_was_yanked_before_it_was_mirrored_is_no_news() {
    let mut mirror = Incremental::new(57);
    for release in mirror.world.registry.crates.values_mut().flatten().take(40) {
        release.yanked = true;
    }
    mirror.world.registry.add("yanked-newcomer", "1.0.0", b"new").yanked = true;
    mirror.publish();
    let told = |ended: &Ended| ended.stderr.matches("was yanked upstream; it stays held").count();
    let all = mirror.go(&["--include-yanked"]).expect(0);
    assert_eq!(told(&all), 10, "the first ones are named, the rest is counted: {}", all.stderr);
    assert!(all.stderr.contains("the table withdrawn names them all"));
    let again = mirror.go(&["--include-yanked", "--verify-existing"]).expect(0);
    assert_eq!(told(&again), 0, "{}", again.stderr);
    let newcomer = "SELECT kind FROM withdrawn WHERE crate = 'yanked-newcomer'";
    assert_eq!(mirror.catalogue(newcomer), ["yanked"]);
    // Yanked releases that are new to the mirror are not reported.
    let fresh = run(mirror.world.mirroring("fresh").arg("--include-yanked")).expect(0);
    let second =
        run(mirror.world.mirroring("fresh").args(["--include-yanked", "--verify-existing"])).expect(0);
    assert_eq!(told(&fresh) + told(&second), 0, "{}", second.stderr);
}

/// Earlier versions remembered foreign files as index files with bad lines; this version skips them.
#[test]
fn a_foreign_file_that_is_remembered_as_bad_is_forgotten() {
    let mirror = Incremental::new(58);
    std::fs::write(mirror.world.path("checkout/LICENSE"), "MIT License\n\nPermission is hereby granted\n")
        .unwrap();
    git(&mirror.world.path("checkout"), &["add", "--all"]);
    git(&mirror.world.path("checkout"), &["commit", "--quiet", "--message", "a licence"]);
    mirror.go(&[]).expect(0);
    let remembered = || -> serde_json::Value {
        let text = mirror.catalogue("SELECT value FROM state WHERE key = 'index_cursor'").pop().unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut cursor = remembered();
    cursor["bad_files"] = serde_json::json!(["LICENSE", "no/su/nosuch"]);
    let db = rusqlite::Connection::open(mirror.world.path("out/.mirror/catalogue.sqlite")).unwrap();
    db.execute("UPDATE state SET value = ?1 WHERE key = 'index_cursor'", [cursor.to_string()]).unwrap();
    drop(db);
    for _ in 0..2 {
        let ended = mirror.go(&[]).expect(0);
        assert!(ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
        mirror.adds_up(&ended);
    }
    assert_eq!(remembered()["bad_files"], serde_json::json!([]));
}
