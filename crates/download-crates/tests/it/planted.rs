//! Links in the places of a mirror's own files and directories: no program follows one.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirror_testkit::TestRegistry;

use crate::world::{Ended, World, run};

/// Copies a tree as it is.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Returns every path below a directory with everything that could change visibly: bytes and times of files, names of
/// all.
fn seen(root: &Path) -> BTreeMap<PathBuf, Option<(Vec<u8>, SystemTime)>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                dirs.push(path.clone());
                found.insert(path, None);
            } else {
                found.insert(path.clone(), Some((fs::read(&path).unwrap(), meta.modified().unwrap())));
            }
        }
    }
    found
}

/// Makes a mirror `made` with bundles `made-b` and every kind of state, from an index in `index` and from a sparse
/// registry.
fn mirror() -> World {
    let mut registry = TestRegistry::generate(71, 30, 400);
    registry.add("foobar", "1.0.0", b"one");
    registry.add("other", "0.1.0", b"two");
    let world = World::new(registry);
    all(&world, "made", &[]).expect(0);
    sparse(&world, "made").expect(0);
    world
}

fn bundling(out: &str, more: &[&str]) -> Vec<String> {
    let mut args: Vec<String> =
        ["--bundle", "--bundle-mode", "add", "--bundles-out"].iter().map(|arg| (*arg).to_owned()).collect();
    args.push(format!("{out}-b"));
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    args
}

/// Runs with everything in the state.
fn all(world: &World, out: &str, more: &[&str]) -> Ended {
    run(world.mirroring(out).args(bundling(out, more)))
}

fn sparse(world: &World, out: &str) -> Ended {
    let url = format!("sparse+{}/index/", world.origin.base());
    run(world.command(out).args(["--index-url", &url, "--crates", "foobar"]).args(bundling(out, &[])))
}

/// Makes a fresh copy of the mirror as `m`, with `m-b` and its manifest.
fn fresh(world: &World) {
    for name in ["m", "m-b", "elsewhere"] {
        let _ = fs::remove_dir_all(world.path(name));
    }
    copy(&world.path("made"), &world.path("m"));
    copy(&world.path("made-b"), &world.path("m-b"));
    fs::copy(world.path("made.jsonl"), world.path("m.jsonl")).unwrap();
    fs::create_dir(world.path("elsewhere")).unwrap();
}

/// Moves the object at `rel` elsewhere and leaves a link to it; if there was none, the link leads to a directory or to
/// nothing.
fn plant(world: &World, rel: &str, directory: bool) {
    let (path, target) = (world.path(rel), world.path("elsewhere/target"));
    if fs::symlink_metadata(&path).is_ok() {
        fs::rename(&path, &target).unwrap();
    } else if directory {
        fs::create_dir(&target).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    symlink(target, path).unwrap();
}

type Run = fn(&World) -> Ended;

#[test]
fn a_link_in_the_place_of_anything_of_the_mirrors_own_is_refused() {
    let world = mirror();
    fn every(world: &World) -> Ended {
        all(world, "m", &[])
    }
    /// Runs with another body for a held release, and a damaged one.
    fn troubled(world: &World) -> Ended {
        fs::write(world.path("m/f/oo/foobar-1.0.0.crate"), "xxx").unwrap();
        all(world, "m", &["--verify-existing"])
    }
    fn sealing(world: &World) -> Ended {
        all(world, "m", &["--bundle-seal"])
    }
    fn from_sparse(world: &World) -> Ended {
        sparse(world, "m")
    }
    fn rebuild(world: &World) -> Ended {
        run(world.command("m").args(["--rebuild-catalogue", "--bundles-out", "m-b"]))
    }
    // Path, whether it is a directory, and the run that uses it.
    let table: &[(&str, bool, Run)] = &[
        ("m/.mirror", true, every),
        ("m/.mirror/lock", false, every),
        ("m/.mirror/mirror.json", false, every),
        ("m/.mirror/stage", true, every),
        ("m/.mirror/catalogue.sqlite", false, every),
        ("m/.mirror/catalogue.sqlite-wal", false, every),
        ("m/.mirror/catalogue.sqlite-shm", false, every),
        ("m/.mirror/catalogue.sqlite-journal", false, every),
        ("m/.mirror/index.sqlite", false, every),
        ("m/.mirror/index.sqlite-wal", false, every),
        ("m/.mirror/index.sqlite-shm", false, every),
        ("m/.mirror/index.sqlite-journal", false, every),
        ("m/.mirror/index.sqlite", false, rebuild),
        ("m/.mirror/catalogue.sqlite", false, rebuild),
        ("m/.mirror/catalogue.new.sqlite", false, rebuild),
        ("m/.mirror/catalogue.new.sqlite-wal", false, rebuild),
        ("m/.mirror/lock", false, rebuild),
        ("m/.mirror/sparse", true, from_sparse),
        ("m/.mirror/quarantine", true, troubled),
        ("m/.mirror/quarantine/f", true, troubled),
        ("m-b/.bundles.lock", false, every),
        ("m-b/bundle-0000.tar.zst.partial", false, every),
        ("m-b/bundle-0000.manifest.jsonl.partial", false, every),
        ("m-b/bundles.index.jsonl", false, sealing),
    ];
    for (rel, directory, go) in table {
        fresh(&world);
        plant(&world, rel, *directory);
        let before = seen(&world.path("elsewhere"));
        let ended = go(&world);
        assert_eq!(ended.code, 4, "{rel}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(rel), "{rel} is not named: {}", ended.stderr);
        assert_eq!(seen(&world.path("elsewhere")), before, "{rel}: what the link leads to was changed");
    }
}

#[test]
fn what_is_replaced_upstream_is_not_put_aside_through_a_link() {
    let mut world = mirror();
    world.registry.republish("foobar", "1.0.0", b"other bytes");
    world.publish();
    for rel in ["m/.mirror/replaced", "m/.mirror/replaced/f"] {
        fresh(&world);
        plant(&world, rel, true);
        let before = seen(&world.path("elsewhere"));
        let ended = run(world.mirroring("m").args(["--bundles-out", "m-b"]));
        assert_eq!(ended.code, 4, "{rel}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(seen(&world.path("elsewhere")), before, "{rel}");
    }
}

/// Checks links in every place of the state: a run may refuse one or ignore it, but writes nothing through it.
#[test]
fn nothing_of_the_state_is_written_through_a_link() {
    let world = mirror();
    let mut paths = Vec::new();
    for dir in ["made/.mirror", "made-b"] {
        paths.extend(seen(&world.path(dir)).into_keys());
    }
    assert!(paths.len() > 10, "{paths:?}");
    for path in paths {
        let rel = path.strip_prefix(world.dir.path()).unwrap().to_str().unwrap().replacen("made", "m", 1);
        fresh(&world);
        plant(&world, &rel, false);
        let before = seen(&world.path("elsewhere"));
        let first = all(&world, "m", &[]);
        let second = sparse(&world, "m");
        for ended in [first, second] {
            assert!([0, 4].contains(&ended.code), "{rel}: {}", ended.stderr);
        }
        assert_eq!(seen(&world.path("elsewhere")), before, "{rel}: what the link leads to was changed");
    }
}

/// Covers the first run into a directory that an attacker prepared.
#[test]
fn a_directory_that_holds_links_is_no_place_for_a_new_mirror() {
    let world = mirror();
    for (rel, directory) in [
        ("n/.mirror", true),
        ("n/.mirror/lock", false),
        ("n/.mirror/mirror.json", false),
        ("n/.mirror/stage", true),
        ("n/.mirror/catalogue.sqlite", false),
        ("n/.mirror/catalogue.sqlite-wal", false),
        ("n/.mirror/index.sqlite", false),
        ("n/.mirror/index.sqlite-wal", false),
        ("n/.mirror/index.1.lines", false),
        ("n/f", true),
    ] {
        let _ = (fs::remove_dir_all(world.path("n")), fs::remove_dir_all(world.path("elsewhere")));
        fs::create_dir(world.path("elsewhere")).unwrap();
        fs::create_dir_all(world.path(rel).parent().unwrap()).unwrap();
        plant(&world, rel, directory);
        let before = seen(&world.path("elsewhere"));
        let ended = run(&mut world.mirroring("n"));
        assert_eq!(ended.code, 4, "{rel}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(seen(&world.path("elsewhere")), before, "{rel}");
    }
}

/// Covers a directory of releases that is a link: nothing behind it is moved aside or removed.
#[test]
fn nothing_is_moved_or_removed_through_a_directory_of_releases() {
    let mut world = mirror();
    for rel in ["m/f", "m/f/oo"] {
        fresh(&world);
        fs::write(world.path("m/f/oo/foobar-1.0.0.crate"), "xxx").unwrap();
        plant(&world, rel, true);
        let before = seen(&world.path("elsewhere"));
        let ended = run(world.mirroring("m").args(["--verify-existing", "--bundles-out", "m-b"]));
        assert_eq!(ended.code, 4, "{rel}: {}", ended.stderr);
        assert_eq!(seen(&world.path("elsewhere")), before, "{rel}: verified through a link");
    }
    // Only loose files, so that they may be pruned.
    run(&mut world.mirroring("made-loose")).expect(0);
    world.registry.crates.remove("foobar");
    world.publish();
    for rel in ["p/f", "p/f/oo"] {
        let _ = (fs::remove_dir_all(world.path("p")), fs::remove_dir_all(world.path("elsewhere")));
        copy(&world.path("made-loose"), &world.path("p"));
        fs::copy(world.path("made-loose.jsonl"), world.path("p.jsonl")).unwrap();
        fs::create_dir(world.path("elsewhere")).unwrap();
        plant(&world, rel, true);
        let before = seen(&world.path("elsewhere"));
        let ended = run(world.mirroring("p").args(["--prune", "--allow-mass-prune"]));
        assert_eq!(ended.code, 4, "{rel}: {}", ended.stderr);
        assert_eq!(seen(&world.path("elsewhere")), before, "{rel}: pruned through a link");
    }
}
