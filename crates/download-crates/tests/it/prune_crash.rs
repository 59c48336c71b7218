//! Stops `--prune` after each of its steps: the next run leaves no record that calls a removed release held.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mirror_testkit::TestRegistry;

use crate::world::{World, hex, run};

/// Returns what scripts read in the manifest: the file of each release that is held as one, with its checksum.
fn loose_by_manifest(world: &World) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    for record in world.manifest("m") {
        let path = record["path"].as_str().unwrap_or_default().to_owned();
        if record["ok"] != true {
            continue;
        }
        if record["status"] == "pruned" {
            held.remove(&path);
        } else if record["storage"] != "bundle" {
            held.insert(path, record["sha256"].as_str().unwrap().to_owned());
        }
    }
    held
}

/// Returns the releases that the manifest says are in a bundle.
fn bundled_by_manifest(world: &World) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    for record in world.manifest("m") {
        let path = record["path"].as_str().unwrap_or_default().to_owned();
        if record["ok"] == true && record["status"] == "pruned" {
            held.remove(&path);
        } else if record["ok"] == true && record["storage"].as_str().unwrap_or_default().contains("bundle") {
            held.insert(path, record["sha256"].as_str().unwrap().to_owned());
        }
    }
    held
}

fn files(world: &World) -> BTreeMap<String, String> {
    let mut found = mirror_testkit::tree(&world.path("m"));
    found.retain(|path, _| path.ends_with(".crate"));
    found.into_iter().map(|(path, bytes)| (format!("m/{path}"), hex(&bytes))).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run(std::process::Command::new("cp").arg("-a").arg(from).arg(to)).expect(0);
}

struct Case {
    world: World,
    flags: Vec<&'static str>,
    /// Releases that upstream deleted and that no bundle holds.
    doomed: Vec<String>,
}

impl Case {
    /// Makes a mirror `base`, `base-b`, `base.jsonl` that has noticed deletions upstream, and still holds the releases.
    fn new(first: &[&'static str], flags: &[&'static str]) -> Self {
        let world = World::new(TestRegistry::generate(81, 60, 300));
        let mut case = Self { world, flags: flags.to_vec(), doomed: Vec::new() };
        run(case.world.mirroring("m").args(first)).expect(0);
        for n in 0..6 {
            case.world.registry.add(&format!("later{n}"), "1.0.0", format!("later {n}").as_bytes());
        }
        case.world.publish();
        run(case.world.mirroring("m").args(flags)).expect(0);
        let names: Vec<String> = case.world.registry.crates.keys().cloned().collect();
        let mut gone = Vec::new();
        for name in names.iter().step_by(4).chain(["later1".to_owned()].iter()) {
            gone.extend(case.world.registry.crates.remove(name).into_iter().flatten());
        }
        let there = files(&case.world);
        let bundled = bundled_by_manifest(&case.world);
        let paths = gone.iter().map(|release| format!("m/{}", mirror_sync::Layout::Shard.path(&release.id)));
        case.doomed = paths.filter(|path| there.contains_key(path) && !bundled.contains_key(path)).collect();
        run(case.world.mirroring("m").args(flags)).expect(0);
        for (from, to) in [("m", "base"), ("b", "base-b"), ("m.jsonl", "base.jsonl")] {
            if case.world.path(from).exists() {
                copy(&case.world.path(from), &case.world.path(to));
            }
        }
        case
    }

    fn restore(&self) {
        for (from, to) in [("base", "m"), ("base-b", "b"), ("base.jsonl", "m.jsonl")] {
            if self.world.path(from).exists() {
                copy(&self.world.path(from), &self.world.path(to));
            }
        }
    }

    fn next(&self, more: &[&str]) {
        run(self.world.mirroring("m").args(&self.flags).args(more)).expect(0);
    }

    #[track_caller]
    fn assert_right(&self, what: &str, pruned: bool) {
        let there = files(&self.world);
        crate::world::assert_same(&loose_by_manifest(&self.world), &there);
        let members = match self.world.path("b").exists() {
            true => crate::bundled::members(&self.world.path("b"), &std::collections::BTreeSet::new()),
            false => BTreeMap::new(),
        };
        let members = members.into_iter().map(|(path, sum)| (format!("m/{path}"), sum)).collect();
        crate::world::assert_same(&bundled_by_manifest(&self.world), &members);
        let left = self.doomed.iter().filter(|path| there.contains_key(*path)).count();
        assert!(!pruned || left == 0, "{what}: {left} were not removed");
    }
}

fn every_step(first: &[&'static str], flags: &[&'static str]) {
    const PRUNE: [&str; 2] = ["--prune", "--allow-mass-prune"];
    let case = Case::new(first, flags);
    let world = &case.world;
    case.next(&PRUNE);
    case.assert_right("not stopped", true);
    let base = fs::read(world.path("base.jsonl")).unwrap();
    let done = fs::read(world.path("m.jsonl")).unwrap();
    let added = &done[base.len()..];
    assert_eq!(added.iter().filter(|b| **b == b'\n').count(), case.doomed.len());
    if case.doomed.is_empty() {
        // Bundles are never rewritten: nothing is removed, and nothing recorded.
        return;
    }
    // The number of files removed, and how much of the manifest's lines was written by then.
    let line = added.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    let count = case.doomed.len();
    let steps = [
        (0, 0),
        (1, 0),
        (count, 0),
        (count, line - 9),
        (count, line),
        (count, added.len() - 1),
        (count, added.len()),
    ];
    for (at, (removed, written)) in steps.into_iter().enumerate() {
        for prune in [true, false] {
            case.restore();
            for path in &case.doomed[..removed] {
                fs::remove_file(world.path(path)).unwrap();
            }
            fs::write(world.path("m.jsonl"), [&base, &added[..written]].concat()).unwrap();
            let what =
                format!("{removed} of {count} removed, {written} of {} bytes added, {prune}", added.len());
            case.next(if prune { &PRUNE } else { &[] });
            case.assert_right(&what, prune);
            if at % 2 == 0 || prune {
                run(world.command("m").args(["--rebuild-catalogue", "--bundles-out", "b"])).expect(0);
                case.assert_right(&what, prune);
            }
        }
    }
}

#[test]
fn of_loose_files() {
    every_step(&[], &[]);
}

#[test]
fn of_loose_files_beside_bundles() {
    every_step(&[], &["--bundle", "--bundle-mode", "only", "--bundles-out", "b"]);
}

#[test]
fn of_files_that_bundles_hold_too() {
    let bundling = ["--bundle", "--bundle-mode", "add", "--bundles-out", "b"];
    every_step(&bundling, &bundling);
}

/// Checks that the manifest records files or bundles that were removed by hand, also of releases that were held loose
/// and bundled.
#[test]
fn what_is_removed_by_hand_is_not_called_held() {
    let bundling: [&'static str; 5] = ["--bundle", "--bundle-mode", "add", "--bundles-out", "b"];
    let case = Case::new(&bundling, &bundling);
    let only: Vec<&str> = bundling.iter().map(|flag| if *flag == "add" { "only" } else { *flag }).collect();
    let world = &case.world;
    // Bundles still hold them.
    for path in files(world).keys().step_by(3) {
        fs::remove_file(world.path(path)).unwrap();
    }
    run(world.mirroring("m").args(&only)).expect(0);
    case.assert_right("loose files", false);
    run(world.command("m").args(["--rebuild-catalogue", "--bundles-out", "b"])).expect(0);
    case.assert_right("loose files, rebuilt", false);
    // Now the bundles, too: reported once, and fetched again.
    fs::remove_dir_all(world.path("b")).unwrap();
    run(world.command("m").args(["--rebuild-catalogue", "--bundles-out", "b"])).expect(3);
    case.assert_right("bundles", false);
    run(world.command("m").args(["--rebuild-catalogue", "--bundles-out", "b"])).expect(0);
    run(world.mirroring("m").args(bundling)).expect(0);
    case.assert_right("bundles, made anew", false);
    run(world.command("m").args(["--rebuild-catalogue", "--bundles-out", "b"])).expect(0);
    case.assert_right("bundles, rebuilt", false);
}
