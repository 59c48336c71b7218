//! Input that a mirror must not trust: its own records about another index, times that a copy kept, an earlier state
//! that upstream returns to.

use std::path::Path;

use mirror_sync::Layout;
use mirror_testkit::{Fault, TestRegistry, git};

use crate::incremental::{Incremental, UNCHANGED};
use crate::world::{World, run};

/// Returns the id of a release whose crate has others.
fn one_of_many(mirror: &Incremental) -> mirror_sync::ReleaseId {
    let crates = mirror.world.registry.crates.values();
    crates.into_iter().find(|releases| releases.len() > 2).unwrap()[1].id.clone()
}

fn path(mirror: &Incremental, id: &mirror_sync::ReleaseId) -> std::path::PathBuf {
    mirror.world.path("out").join(Layout::Shard.path(id))
}

#[test]
fn what_an_older_index_lacks_is_not_pruned() {
    let mut mirror = Incremental::new(60);
    let id = one_of_many(&mirror);
    let all = mirror.world.registry.clone();
    let releases = mirror.world.registry.crates.get_mut(id.name.as_str()).unwrap();
    releases.retain(|release| release.id != id);
    mirror.world.registry.write_index(&mirror.world.path("older"));
    mirror.world.registry = all;
    let base = format!("{}/crates", mirror.world.origin.base());
    let part = ["--crates", id.name.as_str(), "--index-dir", "older", "--crates-base-url", &base];
    run(mirror.world.command("out").args(part)).expect(0);
    assert_eq!(mirror.catalogue("SELECT version FROM withdrawn"), [""; 0], "another index says nothing");
    let ended = mirror.go(&["--prune", "--allow-mass-prune"]).expect(0);
    assert!(!ended.stdout.contains("pruned"), "{}", ended.stdout);
    assert!(path(&mirror, &id).exists());
    assert_eq!(mirror.catalogue("SELECT version FROM withdrawn"), [""; 0]);
    mirror.adds_up(&ended);
}

#[test]
fn an_empty_index_is_a_mistake_and_no_deletion() {
    let mirror = Incremental::new(61);
    std::fs::create_dir(mirror.world.path("unmounted")).unwrap();
    // A directory that is no index is none in every run.
    std::fs::create_dir_all(mirror.world.path("project/src")).unwrap();
    std::fs::write(mirror.world.path("project/src/main.rs"), "fn main() {}\n".repeat(100)).unwrap();
    for index in ["unmounted", "project", "project"] {
        let ended = run(mirror.world.command("out").args(["--index-dir", index, "--prune"])).expect(2);
        assert!(ended.stderr.contains("holds no crate"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("bad index line"), "{}", ended.stderr);
    }
    assert_eq!(mirror.catalogue("SELECT version FROM withdrawn"), [""; 0]);
}

#[test]
fn what_is_offered_again_is_not_pruned_by_the_run_that_fetches_it() {
    let mut mirror = Incremental::new(62);
    let id = one_of_many(&mirror);
    let yank = |mirror: &mut Incremental, yanked| {
        let releases = mirror.world.registry.crates.get_mut(id.name.as_str()).unwrap();
        releases.iter_mut().find(|release| release.id == id).unwrap().yanked = yanked;
        mirror.publish();
    };
    yank(&mut mirror, true);
    mirror.go(&[]).expect(0);
    std::fs::remove_file(path(&mirror, &id)).unwrap();
    mirror.go(&[]).expect(0);
    yank(&mut mirror, false);
    let ended = mirror.go(&["--prune=yanked", "--allow-mass-prune"]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    mirror.world.assert_whole("out");
    let both = mirror.go(&["--prune=yanked", "--include-yanked"]).expect(2);
    assert!(both.stderr.contains("give one of the two"), "{}", both.stderr);
}

#[test]
fn another_selection_does_not_empty_the_ledger_behind_the_cursor() {
    let mut mirror = Incremental::new(63);
    let id = one_of_many(&mirror);
    std::fs::remove_file(path(&mirror, &id)).unwrap();
    mirror.world.origin.script(|_| Fault::Status(404));
    mirror.go(&[]).expect(3);
    mirror.world.origin.heal();
    std::fs::write(mirror.world.path("sums"), mirror.world.registry.checksums(&mirror.world.origin.base()))
        .unwrap();
    mirror.go(&["--latest", "1", "--checksums", "sums"]).expect(0);
    mirror.adds_up(&mirror.go(&[]).expect(0));
    mirror.world.assert_whole("out");
    // The same with a yank that is undone.
    std::fs::remove_file(path(&mirror, &id)).unwrap();
    mirror.world.origin.script(|_| Fault::Status(404));
    mirror.go(&[]).expect(3);
    let yank = |mirror: &mut Incremental, yanked| {
        let releases = mirror.world.registry.crates.get_mut(id.name.as_str()).unwrap();
        releases.iter_mut().find(|release| release.id == id).unwrap().yanked = yanked;
        mirror.publish();
    };
    yank(&mut mirror, true);
    mirror.go(&["--limit", "299"]);
    mirror.go(&[]).expect(0);
    mirror.world.origin.heal();
    yank(&mut mirror, false);
    mirror.adds_up(&mirror.go(&[]).expect(0));
    mirror.world.assert_whole("out");
}

#[test]
fn bytes_that_a_partial_run_replaced_are_replaced_again_when_upstream_goes_back() {
    let mut mirror = Incremental::new(64);
    let id = one_of_many(&mirror);
    let before = mirror.world.registry.clone();
    mirror.world.registry.republish(id.name.as_str(), id.version.as_str(), b"for a day");
    mirror.publish();
    let ended = mirror.go(&["--crates", id.name.as_str()]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    mirror.world.registry = before;
    mirror.publish();
    assert!(!mirror.go(&[]).expect(0).stderr.contains(UNCHANGED));
    mirror.world.assert_whole("out");
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
    let mut mirror = Incremental::new(66);
    let checkout = mirror.world.path("checkout");
    let line = |name: &str, version: &str, sum: &str| {
        format!("{{\"name\":\"{name}\",\"vers\":\"{version}\",\"deps\":[],\"cksum\":\"{sum}\"}}\n")
    };
    let registry = &mut mirror.world.registry;
    let sum = registry.add("Foobar", "1.0.0", b"foobar").cksum.to_hex();
    registry.add("Foobar", "1.0.1", b"foobar");
    registry.add("foobar", "1.0.1", b"foobar");
    mirror.world.publish();
    let write = |text: String| {
        std::fs::create_dir_all(checkout.join("fo/ob")).unwrap();
        std::fs::write(checkout.join("fo/ob/foobar"), text).unwrap();
        git(&checkout, &["add", "--all"]);
        git(&checkout, &["commit", "--quiet", "-m", "foobar"]);
    };
    write(line("Foobar", "1.0.0", &sum) + &line("Foobar", "1.0.1", &sum));
    mirror.go(&[]).expect(0);
    write(line("Foobar", "1.0.0", &sum) + &line("foobar", "1.0.1", &sum));
    let ended = mirror.go(&[]).expect(0);
    assert_eq!(ended.count("downloaded"), 1);
    assert!(mirror.world.path("out/f/oo/foobar-1.0.1.crate").exists());
}

#[test]
fn a_copy_with_a_torn_file_and_old_times_is_noticed() {
    let mirror = Incremental::new(67);
    let victim = mirror.file(30);
    let times = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let before = (times(&victim), times(victim.parent().unwrap()));
    let torn = std::fs::read(&victim).unwrap();
    std::fs::write(&victim, &torn[..torn.len() / 2]).unwrap();
    std::fs::File::options().write(true).open(&victim).unwrap().set_modified(before.0).unwrap();
    // Restored by a program that resets the time of the directory.
    std::fs::File::open(victim.parent().unwrap()).unwrap().set_modified(before.1).unwrap();
    assert_eq!(mirror.go(&[]).expect(0).count("downloaded"), 1);
    mirror.world.assert_whole("out");
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
        !ended.stdout.contains("no such crate") && !ended.stdout.contains("removed upstream"),
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
