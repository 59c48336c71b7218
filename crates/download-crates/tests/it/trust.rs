//! Input that a mirror must not believe: its own notes of another index, times that a copy carries, a past that
//! upstream has come back to.

use std::path::Path;

use mirror_sync::Layout;
use mirror_testkit::{Fault, TestRegistry, git};

use crate::nightly::{Nightly, UNCHANGED};
use crate::world::{World, run};

/// The id of a release whose crate keeps others without it.
fn one_of_many(nightly: &Nightly) -> mirror_sync::ReleaseId {
    let crates = nightly.world.registry.crates.values();
    crates.into_iter().find(|releases| releases.len() > 2).unwrap()[1].id.clone()
}

fn path(nightly: &Nightly, id: &mirror_sync::ReleaseId) -> std::path::PathBuf {
    nightly.world.path("out").join(Layout::Shard.path(id))
}

#[test]
fn what_an_older_index_lacks_is_not_pruned() {
    let mut nightly = Nightly::new(60);
    let id = one_of_many(&nightly);
    let all = nightly.world.registry.clone();
    let releases = nightly.world.registry.crates.get_mut(id.name.as_str()).unwrap();
    releases.retain(|release| release.id != id);
    nightly.world.registry.write_index(&nightly.world.path("older"));
    nightly.world.registry = all;
    let base = format!("{}/crates", nightly.world.origin.base());
    let part = ["--crates", id.name.as_str(), "--index-dir", "older", "--crates-base-url", &base];
    run(nightly.world.command("out").args(part)).expect(0);
    assert_eq!(nightly.catalogue("SELECT version FROM withdrawn"), [""; 0], "another index says nothing");
    let ended = nightly.go(&["--prune", "--allow-mass-prune"]).expect(0);
    assert!(!ended.stdout.contains("pruned"), "{}", ended.stdout);
    assert!(path(&nightly, &id).exists());
    assert_eq!(nightly.catalogue("SELECT version FROM withdrawn"), [""; 0]);
    nightly.adds_up(&ended);
}

#[test]
fn an_empty_index_is_a_mistake_and_no_deletion() {
    let nightly = Nightly::new(61);
    std::fs::create_dir(nightly.world.path("unmounted")).unwrap();
    // What is no index at all is none on every run.
    std::fs::create_dir_all(nightly.world.path("project/src")).unwrap();
    std::fs::write(nightly.world.path("project/src/main.rs"), "fn main() {}\n".repeat(100)).unwrap();
    for index in ["unmounted", "project", "project"] {
        let ended = run(nightly.world.command("out").args(["--index-dir", index, "--prune"])).expect(2);
        assert!(ended.stderr.contains("holds no crate"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("bad index line"), "{}", ended.stderr);
    }
    assert_eq!(nightly.catalogue("SELECT version FROM withdrawn"), [""; 0]);
}

#[test]
fn what_is_offered_again_is_not_pruned_by_the_run_that_fetches_it() {
    let mut nightly = Nightly::new(62);
    let id = one_of_many(&nightly);
    let yank = |nightly: &mut Nightly, yanked| {
        let releases = nightly.world.registry.crates.get_mut(id.name.as_str()).unwrap();
        releases.iter_mut().find(|release| release.id == id).unwrap().yanked = yanked;
        nightly.publish();
    };
    yank(&mut nightly, true);
    nightly.go(&[]).expect(0);
    std::fs::remove_file(path(&nightly, &id)).unwrap();
    nightly.go(&[]).expect(0);
    yank(&mut nightly, false);
    let ended = nightly.go(&["--prune=yanked", "--allow-mass-prune"]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    nightly.world.assert_whole("out");
    let both = nightly.go(&["--prune=yanked", "--include-yanked"]).expect(2);
    assert!(both.stderr.contains("give one of the two"), "{}", both.stderr);
}

#[test]
fn another_selection_does_not_empty_the_ledger_behind_the_cursor() {
    let mut nightly = Nightly::new(63);
    let id = one_of_many(&nightly);
    std::fs::remove_file(path(&nightly, &id)).unwrap();
    nightly.world.origin.script(|_| Fault::Status(404));
    nightly.go(&[]).expect(3);
    nightly.world.origin.heal();
    std::fs::write(
        nightly.world.path("sums"),
        nightly.world.registry.checksums(&nightly.world.origin.base()),
    )
    .unwrap();
    nightly.go(&["--latest", "1", "--checksums", "sums"]).expect(0);
    nightly.adds_up(&nightly.go(&[]).expect(0));
    nightly.world.assert_whole("out");
    // The same by a yank that is taken back.
    std::fs::remove_file(path(&nightly, &id)).unwrap();
    nightly.world.origin.script(|_| Fault::Status(404));
    nightly.go(&[]).expect(3);
    let yank = |nightly: &mut Nightly, yanked| {
        let releases = nightly.world.registry.crates.get_mut(id.name.as_str()).unwrap();
        releases.iter_mut().find(|release| release.id == id).unwrap().yanked = yanked;
        nightly.publish();
    };
    yank(&mut nightly, true);
    nightly.go(&["--limit", "299"]);
    nightly.go(&[]).expect(0);
    nightly.world.origin.heal();
    yank(&mut nightly, false);
    nightly.adds_up(&nightly.go(&[]).expect(0));
    nightly.world.assert_whole("out");
}

#[test]
fn bytes_that_a_partial_run_replaced_are_replaced_again_when_upstream_goes_back() {
    let mut nightly = Nightly::new(64);
    let id = one_of_many(&nightly);
    let before = nightly.world.registry.clone();
    nightly.world.registry.republish(id.name.as_str(), id.version.as_str(), b"for a day");
    nightly.publish();
    let ended = nightly.go(&["--crates", id.name.as_str()]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    nightly.world.registry = before;
    nightly.publish();
    assert!(!nightly.go(&[]).expect(0).stderr.contains(UNCHANGED));
    nightly.world.assert_whole("out");
}

#[test]
fn two_manifests_in_turn_are_both_understood() {
    let world = World::new(TestRegistry::generate(65, 40, 200));
    let go = |manifest: &str| {
        let index = world.index().display().to_string();
        let base = format!("{}/crates", world.origin.base());
        let mut command = std::process::Command::new(crate::world::BIN);
        command.current_dir(world.dir.path()).args(["--out", "out", "--listen", "", "--manifest", manifest]);
        command.args(["--index-dir", &index, "--crates-base-url", &base, "--cacert"]).arg(world.origin.ca());
        run(&mut command).expect(0)
    };
    assert_eq!(go("one.jsonl").count("downloaded"), 40);
    let first = world.registry.releases().next().unwrap().id.clone();
    for manifest in ["two.jsonl", "one.jsonl", "two.jsonl", "one.jsonl"] {
        // Each of them gets a record.
        std::fs::remove_file(world.path("out").join(Layout::Shard.path(&first))).unwrap();
        assert_eq!(go(manifest).count("downloaded"), 1, "{manifest}");
        world.assert_whole("out");
    }
}

#[test]
fn two_spellings_in_one_file_are_two_crates() {
    let mut nightly = Nightly::new(66);
    let checkout = nightly.world.path("checkout");
    let line = |name: &str, version: &str, sum: &str| {
        format!("{{\"name\":\"{name}\",\"vers\":\"{version}\",\"deps\":[],\"cksum\":\"{sum}\"}}\n")
    };
    let registry = &mut nightly.world.registry;
    let sum = registry.add("Foobar", "1.0.0", b"foobar").cksum.to_hex();
    registry.add("Foobar", "1.0.1", b"foobar");
    registry.add("foobar", "1.0.1", b"foobar");
    nightly.world.publish();
    let write = |text: String| {
        std::fs::create_dir_all(checkout.join("fo/ob")).unwrap();
        std::fs::write(checkout.join("fo/ob/foobar"), text).unwrap();
        git(&checkout, &["add", "--all"]);
        git(&checkout, &["commit", "--quiet", "-m", "foobar"]);
    };
    write(line("Foobar", "1.0.0", &sum) + &line("Foobar", "1.0.1", &sum));
    nightly.go(&[]).expect(0);
    write(line("Foobar", "1.0.0", &sum) + &line("foobar", "1.0.1", &sum));
    let ended = nightly.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    assert!(nightly.world.path("out/f/oo/foobar-1.0.1.crate").exists());
}

#[test]
fn a_copy_with_a_torn_file_and_old_times_is_noticed() {
    let nightly = Nightly::new(67);
    let victim = nightly.file(30);
    let times = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let before = (times(&victim), times(victim.parent().unwrap()));
    let torn = std::fs::read(&victim).unwrap();
    std::fs::write(&victim, &torn[..torn.len() / 2]).unwrap();
    std::fs::File::options().write(true).open(&victim).unwrap().set_modified(before.0).unwrap();
    // Restored by something that gives the directory its old time back.
    std::fs::File::open(victim.parent().unwrap()).unwrap().set_modified(before.1).unwrap();
    assert_eq!(nightly.go(&[]).expect(0).count("downloaded"), 1);
    nightly.world.assert_whole("out");
}

#[test]
fn an_index_that_cannot_be_asked_deletes_nothing() {
    let world = World::new(TestRegistry::generate(68, 30, 200));
    let url = format!("sparse+{}/index/", world.origin.base());
    std::fs::write(world.path("Cargo.lock"), world.registry.lockfile(&url)).unwrap();
    let (name, _) = world.registry.crates.iter().next().unwrap();
    let line = ["--cargo-lock", "Cargo.lock", "--crates", name, "--index-url", &url, "--retries", "0"];
    run(world.command("out").args(line)).expect(0);
    world
        .origin
        .script(|ask| if ask.path.ends_with("config.json") { Fault::None } else { Fault::Status(500) });
    std::fs::remove_dir_all(world.path("out/.mirror/index")).ok();
    let ended = run(world.command("out").args(line)).expect(3);
    assert!(
        !ended.stdout.contains("no such crate") && !ended.stdout.contains("withdrawn"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_directory_with_the_name_of_a_release_is_an_integrity_fault() {
    let world = World::new(TestRegistry::generate(69, 10, 200));
    let id = world.registry.releases().next().unwrap().id.clone();
    std::fs::create_dir_all(world.path("out").join(Layout::Shard.path(&id)).join("inside")).unwrap();
    let ended = run(&mut world.mirroring("out")).expect(4);
    assert!(ended.stderr.contains("a regular file"), "{}", ended.stderr);
}
