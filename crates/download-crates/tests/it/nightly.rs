//! Runs against an index that changed a little: what is looked at, and what is noticed.

use std::path::PathBuf;

use mirror_sync::Layout;
use mirror_testkit::{Fault, TestRegistry, git};

use crate::world::{Ended, World, run};

pub(crate) const UNCHANGED: &str = "the index has not changed";

pub(crate) struct Nightly {
    pub(crate) world: World,
    pub(crate) base: String,
}

impl Nightly {
    /// A mirror of a git index that holds everything, a night later.
    pub(crate) fn new(seed: u64) -> Self {
        let world = World::new(TestRegistry::generate(seed, 300, 200));
        let base = format!("{}/crates", world.origin.base());
        let nightly = Self { world, base };
        nightly.publish();
        nightly.go(&[]).expect(0);
        nightly
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

    /// `selected` is the whole, whatever was looked at; everything selected has an end.
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
    let mut nightly = Nightly::new(40);
    let asked = nightly.world.origin.total();
    nightly.adds_up(&nightly.go(&[]).expect(0));
    nightly.world.registry.add("newcomer", "1.0.0", b"new");
    nightly.world.registry.add("newcomer", "1.0.1", b"newer");
    let (name, _) = nightly.world.registry.crates.iter().nth(5).unwrap();
    let name = name.clone();
    nightly.world.registry.add(&name, "99.0.0", b"another");
    nightly.publish();
    let dry = nightly.go(&["--dry-run", "--offline"]).expect(0);
    assert_eq!((dry.count("would fetch"), dry.count("selected")), (3, 303), "{}", dry.stdout);
    let grown = nightly.go(&[]).expect(0);
    assert_eq!((grown.count("downloaded"), grown.count("selected")), (3, 303));
    assert_eq!(nightly.world.origin.total(), asked + 3);
    nightly.adds_up(&grown);
    nightly.world.assert_whole("out");
}

#[test]
fn a_file_removed_by_hand_comes_back_though_the_index_is_the_same() {
    let nightly = Nightly::new(41);
    for at in [3, 77, 200] {
        std::fs::remove_file(nightly.file(at)).unwrap();
    }
    let whole_dir = nightly.file(120).parent().unwrap().to_owned();
    let more = std::fs::read_dir(&whole_dir).unwrap().count();
    std::fs::remove_dir_all(&whole_dir).unwrap();
    let healed = nightly.go(&[]).expect(0);
    assert!(healed.stderr.contains(UNCHANGED));
    assert_eq!(healed.count("downloaded"), 3 + more as u64);
    nightly.adds_up(&healed);
    nightly.world.assert_whole("out");
    assert_eq!(nightly.catalogue("SELECT crate FROM failures"), [""; 0]);
}

/// `cp --archive` keeps the times of directories, whatever it leaves out.
#[test]
fn a_copy_of_a_mirror_is_looked_at_anew() {
    let nightly = Nightly::new(53);
    let victim = nightly.file(30);
    let dir = victim.parent().unwrap();
    let before = std::fs::metadata(dir).unwrap().modified().unwrap();
    std::fs::remove_file(&victim).unwrap();
    std::fs::File::open(dir).unwrap().set_modified(before).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["--archive", "out", "copy"])
        .current_dir(nightly.world.dir.path())
        .status();
    assert!(copied.unwrap().success());
    std::fs::copy(nightly.world.path("out.jsonl"), nightly.world.path("copy.jsonl")).unwrap();
    let line = ["--index-dir", "checkout", "--crates-base-url", &nightly.base];
    let ended = run(nightly.world.command("copy").args(line)).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    nightly.world.assert_whole("copy");
}

/// The row is gone before the file is there again: whatever stops the run in between, the next one
/// knows.
#[test]
fn what_was_lost_is_not_forgotten_when_the_run_fails() {
    let nightly = Nightly::new(42);
    std::fs::remove_file(nightly.file(9)).unwrap();
    let mut bytes = std::fs::read(nightly.file(10)).unwrap();
    bytes[0] ^= 1;
    std::fs::write(nightly.file(10), bytes).unwrap();
    nightly.world.origin.script(|_| Fault::Status(500));
    nightly.go(&["--retries", "0"]).expect(3);
    // Found by hashing, moved aside, not to be had: an integrity fault.
    nightly.go(&["--retries", "0", "--verify-existing"]).expect(4);
    nightly.world.origin.heal();
    let healed = nightly.go(&[]).expect(0);
    assert!(healed.stderr.contains(UNCHANGED));
    assert_eq!(healed.count("downloaded"), 2);
    nightly.adds_up(&healed);
    nightly.world.assert_whole("out");
}

#[test]
fn what_failed_is_tried_again_though_the_index_is_the_same() {
    let mut nightly = Nightly::new(43);
    nightly.world.registry.add("unlucky", "1.0.0", b"late");
    nightly.world.registry.add("gone-again", "1.0.0", b"never");
    nightly.publish();
    nightly
        .world
        .origin
        .script(|ask| if ask.path.contains("/crates/") { Fault::Status(404) } else { Fault::None });
    let failed = nightly.go(&[]).expect(3);
    assert_eq!(failed.count("unavailable"), 2);
    nightly.adds_up(&failed);
    nightly.go(&[]).expect(3);
    nightly.world.origin.heal();
    // One of them is withdrawn before it could be had: nobody waits for it any more.
    nightly.world.registry.crates.remove("gone-again");
    nightly.publish();
    let healed = nightly.go(&[]).expect(0);
    assert_eq!(healed.count("downloaded"), 1);
    nightly.adds_up(&healed);
    assert_eq!(nightly.catalogue("SELECT crate FROM failures"), [""; 0]);
}

#[test]
fn a_republished_release_is_replaced_and_the_old_one_kept() {
    let mut nightly = Nightly::new(44);
    let ids: Vec<_> =
        nightly.world.registry.releases().step_by(50).map(|release| release.id.clone()).collect();
    for id in &ids {
        nightly.world.registry.republish(id.name.as_str(), id.version.as_str(), b"other bytes");
    }
    nightly.publish();
    let ended = nightly.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), ids.len() as u64);
    nightly.adds_up(&ended);
    assert_eq!(crate::world::tree(&nightly.world.path("out/.mirror/replaced")).len(), ids.len());
    nightly.world.assert_whole("out");
}

#[test]
fn a_squashed_index_is_the_same_index() {
    let nightly = Nightly::new(45);
    std::fs::remove_dir_all(nightly.world.path("checkout/.git")).unwrap();
    nightly.publish();
    let ended = nightly.go(&[]).expect(0);
    assert!(ended.stderr.contains(UNCHANGED));
    nightly.adds_up(&ended);
}

/// The objects of the tree before are not there any more: everything is compared.
#[test]
fn an_index_without_its_past_is_read_as_a_whole() {
    let mut nightly = Nightly::new(46);
    nightly.world.registry.add("newcomer", "1.0.0", b"new");
    std::fs::remove_dir_all(nightly.world.path("checkout/.git")).unwrap();
    nightly.publish();
    let ended = nightly.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    nightly.adds_up(&ended);
    nightly.adds_up(&nightly.go(&[]).expect(0));
}

#[test]
fn another_selection_looks_at_everything_again() {
    let mut nightly = Nightly::new(47);
    let id = nightly.world.registry.releases().next().unwrap().id.clone();
    let releases = nightly.world.registry.crates.get_mut(id.name.as_str()).unwrap();
    releases[0].yanked = true;
    nightly.publish();
    let without = nightly.go(&[]).expect(0);
    nightly.adds_up(&without);
    assert!(without.stdout.contains("yanked, skipped"), "{}", without.stdout);
    let again = nightly.go(&[]).expect(0);
    assert!(again.stdout.contains("yanked, skipped"), "{}", again.stdout);
    let with = nightly.go(&["--include-yanked"]).expect(0);
    assert_eq!((with.count("selected"), with.count("existing")), (300, 300));
    let latest = nightly.go(&["--latest", "1"]).expect(0);
    assert!(latest.count("selected") <= nightly.world.registry.crates.len() as u64);
}

#[test]
fn bad_lines_are_told_every_night() {
    let nightly = Nightly::new(48);
    let checkout = nightly.world.path("checkout");
    std::fs::create_dir_all(checkout.join("ba/dc")).unwrap();
    std::fs::write(checkout.join("ba/dc/badcrate"), "no record\n").unwrap();
    git(&checkout, &["add", "--all"]);
    git(&checkout, &["commit", "--quiet", "-m", "bad"]);
    for _ in 0..3 {
        let ended = nightly.go(&[]).expect(3);
        assert!(ended.stdout.contains("ba/dc/badcrate, line 1"), "{}", ended.stdout);
        nightly.adds_up(&ended);
    }
}

#[test]
fn what_upstream_withdraws_is_dated_and_stays_until_it_is_pruned() {
    let mut nightly = Nightly::new(49);
    let ids: Vec<_> = nightly.world.registry.releases().map(|release| release.id.clone()).collect();
    let yanked = ids[7].clone();
    for release in nightly.world.registry.crates.get_mut(yanked.name.as_str()).unwrap() {
        release.yanked |= release.id == yanked;
    }
    let (gone_crate, gone) = nightly.world.registry.crates.pop_last().unwrap();
    // A release of a crate that keeps others.
    let part = ids
        .iter()
        .find(|id| nightly.world.registry.crates[id.name.as_str()].len() > 2 && id.name != yanked.name);
    let part = part.unwrap().clone();
    nightly.world.registry.crates.get_mut(part.name.as_str()).unwrap().retain(|release| release.id != part);
    nightly.publish();
    let dry = nightly.go(&["--dry-run", "--offline", "--prune"]).expect(2);
    assert!(dry.stdout.contains("--allow-mass-prune"), "{}", dry.stdout);
    nightly.go(&["--dry-run", "--offline", "--prune", "--allow-mass-prune"]).expect(0);
    assert!(dry.stdout.contains(&format!("would prune {} releases", gone.len() + 1)), "{}", dry.stdout);
    assert!(dry.stdout.contains(&part.to_string()) && dry.stdout.contains(&gone_crate), "{}", dry.stdout);
    let ended = nightly.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), 0);
    let said = format!("{} releases deleted, 1 yanked", gone.len() + 1);
    assert!(ended.stdout.contains(&said), "{}", ended.stdout);
    nightly.adds_up(&ended);
    assert!(!nightly.go(&[]).expect(0).stdout.contains("withdrawn upstream"), "told once");
    let dated = "SELECT first_seen FROM withdrawn WHERE kind = 'deleted' AND first_seen LIKE '20%Z'";
    assert_eq!(nightly.catalogue(dated).len(), gone.len() + 1);
    assert_eq!(nightly.world.tree("out").len(), 300);

    // So many of so few are suspicious.
    let refused = nightly.go(&["--prune"]).expect(2);
    assert!(refused.stdout.contains("--allow-mass-prune"), "{}", refused.stdout);
    assert_eq!(nightly.world.tree("out").len(), 300);
    let pruned = nightly.go(&["--prune", "--allow-mass-prune"]).expect(0);
    assert_eq!(pruned.count("pruned"), gone.len() as u64 + 1);
    assert_eq!(nightly.world.tree("out").len(), 299 - gone.len());
    assert!(nightly.file(7).exists(), "yanked releases are kept: {yanked}");
    let last = nightly.world.manifest("out").pop().unwrap();
    assert_eq!((last["status"].as_str(), last["ok"].as_bool()), (Some("pruned"), Some(true)));
    nightly.adds_up(&nightly.go(&[]).expect(0));
    let yanked_too = nightly.go(&["--prune=yanked", "--allow-mass-prune"]).expect(0);
    assert_eq!(yanked_too.count("pruned"), 1);
    nightly.world.assert_whole("out");

    // A catalogue that is made again from the manifest knows what was pruned.
    for entry in std::fs::read_dir(nightly.world.path("out/.mirror")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("catalogue.sqlite") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let rebuilt = nightly.go(&[]).expect(0);
    assert_eq!(rebuilt.count("downloaded"), 0);
    assert_eq!(nightly.catalogue("SELECT crate FROM failures"), [""; 0]);
    assert_eq!(nightly.catalogue("SELECT version FROM releases").len(), nightly.world.tree("out").len());
}

/// A plain directory has no trees to compare: everything is read, and the same is noticed.
#[test]
fn a_directory_tells_of_withdrawn_crates_too() {
    let mut world = World::new(TestRegistry::generate(50, 200, 200));
    run(&mut world.mirroring("out")).expect(0);
    let (_, gone) = world.registry.crates.pop_first().unwrap();
    let ended = run(world.mirroring("out").args(["--prune", "--allow-mass-prune"])).expect(0);
    assert_eq!(ended.count("pruned"), gone.len() as u64);
    world.assert_whole("out");
}

/// A sparse registry says 404 for a crate that was deleted.
#[test]
fn a_sparse_registry_tells_of_withdrawn_crates_too() {
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
fn withdrawn_and_offered_again() {
    let mut nightly = Nightly::new(51);
    let (name, releases) = nightly.world.registry.crates.pop_last().unwrap();
    nightly.publish();
    nightly.go(&[]).expect(0);
    assert_eq!(nightly.catalogue("SELECT crate FROM withdrawn").len(), releases.len());
    nightly.world.registry.crates.insert(name, releases);
    nightly.publish();
    let back = nightly.go(&["--prune"]).expect(0);
    assert_eq!(back.count("existing"), 300);
    assert_eq!(nightly.catalogue("SELECT crate FROM withdrawn"), [""; 0]);
    nightly.adds_up(&back);
}

#[test]
fn what_was_yanked_before_it_was_mirrored_is_no_news() {
    let mut nightly = Nightly::new(57);
    for release in nightly.world.registry.crates.values_mut().flatten().take(40) {
        release.yanked = true;
    }
    nightly.world.registry.add("yanked-newcomer", "1.0.0", b"new").yanked = true;
    nightly.publish();
    let told = |ended: &Ended| ended.stderr.matches("was yanked upstream; it stays held").count();
    let all = nightly.go(&["--include-yanked"]).expect(0);
    assert_eq!(told(&all), 19, "the first ones are named, the rest is counted: {}", all.stderr);
    assert!(all.stderr.contains("the table withdrawn names it all"));
    let again = nightly.go(&["--include-yanked", "--verify-existing"]).expect(0);
    assert_eq!(told(&again), 0, "{}", again.stderr);
    let newcomer = "SELECT kind FROM withdrawn WHERE crate = 'yanked-newcomer'";
    assert_eq!(nightly.catalogue(newcomer), ["yanked"]);
    // Nothing reports yanked releases that are new to the mirror.
    let fresh = run(nightly.world.mirroring("fresh").arg("--include-yanked")).expect(0);
    let second =
        run(nightly.world.mirroring("fresh").args(["--include-yanked", "--verify-existing"])).expect(0);
    assert_eq!(told(&fresh) + told(&second), 0, "{}", second.stderr);
}

/// Versions before remembered foreign files as index files with bad lines; they are passed over since.
#[test]
fn a_foreign_file_that_is_remembered_as_bad_is_forgotten() {
    let nightly = Nightly::new(58);
    std::fs::write(nightly.world.path("checkout/LICENSE"), "MIT License\n\nPermission is hereby granted\n")
        .unwrap();
    git(&nightly.world.path("checkout"), &["add", "--all"]);
    git(&nightly.world.path("checkout"), &["commit", "--quiet", "--message", "a licence"]);
    nightly.go(&[]).expect(0);
    let remembered = || -> serde_json::Value {
        let text = nightly.catalogue("SELECT value FROM state WHERE key = 'index_cursor'").pop().unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut cursor = remembered();
    cursor["bad_files"] = serde_json::json!(["LICENSE", "no/su/nosuch"]);
    let db = rusqlite::Connection::open(nightly.world.path("out/.mirror/catalogue.sqlite")).unwrap();
    db.execute("UPDATE state SET value = ?1 WHERE key = 'index_cursor'", [cursor.to_string()]).unwrap();
    drop(db);
    for _ in 0..2 {
        let ended = nightly.go(&[]).expect(0);
        assert!(ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
        nightly.adds_up(&ended);
    }
    assert_eq!(remembered()["bad_files"], serde_json::json!([]));
}
