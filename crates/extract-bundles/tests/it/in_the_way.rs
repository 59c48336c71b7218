//! Checks obstacles in the places of releases, other than plain files or directories: the obstacle is named, the bundle
//! is not blamed, the target of a link stays as it is, and every other release is written.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use mirror_types::Layout;

use super::world::{Ended, World, run, small, tree};

const RELEASE: &str = "f/oo/foobar-1.0.0.crate";

/// An obstacle that is put into the output before the program runs: its name, a function that makes it, and the path
/// that must be named.
type Plant = (&'static str, fn(&World), &'static str);

fn plants() -> Vec<Plant> {
    fn at(world: &World, name: &str) -> std::path::PathBuf {
        let path = world.path("out").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
    vec![
        ("link to a file", |world| symlink(world.path("victim"), at(world, RELEASE)).unwrap(), RELEASE),
        ("link to nothing", |world| symlink(world.path("later"), at(world, RELEASE)).unwrap(), RELEASE),
        ("link to a directory", |world| symlink(world.path("else"), at(world, RELEASE)).unwrap(), RELEASE),
        (
            "link to the right bytes",
            |world| {
                fs::write(world.path("else/right"), "foobar").unwrap();
                symlink(world.path("else/right"), at(world, RELEASE)).unwrap();
            },
            RELEASE,
        ),
        ("directory", |world| fs::create_dir_all(at(world, RELEASE).join("sub")).unwrap(), RELEASE),
        (
            "named pipe",
            |world| drop(run(std::process::Command::new("mkfifo").arg(at(world, RELEASE))).expect(0)),
            RELEASE,
        ),
        ("link above", |world| symlink(world.path("else"), at(world, "f/oo")).unwrap(), "f/oo"),
        ("link to nothing above", |world| symlink(world.path("later"), at(world, "f/oo")).unwrap(), "f/oo"),
        ("link at the top", |world| symlink(world.path("else"), at(world, "f")).unwrap(), "out/f"),
        ("file above", |world| fs::write(at(world, "f/oo"), "a file").unwrap(), "f/oo"),
        ("file at the top", |world| fs::write(at(world, "f"), "a file").unwrap(), "out/f"),
    ]
}

fn elsewhere(world: &World) -> impl PartialEq + std::fmt::Debug + use<> {
    (tree(&world.path("else")), fs::read(world.path("victim")).unwrap(), world.path("later").exists())
}

#[track_caller]
fn assert_named(ended: &Ended, what: &str, named: &str) {
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains(named), "{what}: {named} is not named in {told}");
    for blame in ["bundle is damaged", "another copy", "bad bundles", "nothing more of this bundle"] {
        assert!(!told.contains(blame), "{what}: {blame:?} in {told}");
    }
    assert_eq!(ended.count("failed"), 1, "{what}");
}

fn take_away(path: &Path) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn it_is_named_and_the_rest_is_written() {
    for (what, plant, named) in plants() {
        let mut world = World::new(40, 500);
        world.registry.add("foobar", "1.0.0", b"foobar");
        world.bundle(small(), true);
        let mut rest = world.expected(Layout::Shard);
        rest.remove(RELEASE);
        for more in [&[][..], &["--overwrite"]] {
            let _ = fs::remove_dir_all(world.path("out"));
            fs::create_dir_all(world.path("else")).unwrap();
            fs::write(world.path("else/kept"), "precious").unwrap();
            fs::write(world.path("victim"), "precious").unwrap();
            plant(&world);
            let before = elsewhere(&world);
            let ended = world.run(&[&["--out", "out"], more].concat()).expect(4);
            assert_named(&ended, what, named);
            assert_eq!(elsewhere(&world), before, "{what} {more:?}");
            let one = world.run(&[&["--out", "out", "--crate", "foobar@1.0.0"], more].concat()).expect(4);
            assert_named(&one, what, named);
            assert_eq!(elsewhere(&world), before, "{what} {more:?}");
            take_away(&world.path("out").join(named.trim_start_matches("out/")));
            assert_eq!(tree(&world.path("out")), rest, "{what} {more:?}");
        }
    }
}
