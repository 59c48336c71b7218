//! Trees of releases that another program made: adopted in their layout, moved on request, or refused with a reason;
//! never fetched a second time.

use std::fs;

use mirror_sync::{Layout, ReleaseId};
use mirror_testkit::TestRegistry;

use crate::world::{World, assert_same, run, tree};

type Path = fn(&ReleaseId) -> String;

/// Returns layouts of trees that no mirror has.
fn other() -> Vec<(&'static str, Path)> {
    vec![
        ("flat", |id| id.file_name()),
        ("by crate", |id| format!("{}/{}", id.name, id.file_name())),
        ("by version", |id| format!("{}/{}/{}", id.name, id.version, id.file_name())),
        ("by prefix and version", |id| {
            format!("{}/{}/{}", Layout::Cargo.dir(&id.name), id.version, id.file_name())
        }),
        ("downloads", |id| format!("{}/{}/download", id.name, id.version)),
    ]
}

fn world() -> World {
    let mut registry = TestRegistry::generate(93, 90, 200);
    for name in ["a", "ab", "abc", "Inflector", "a-foo"] {
        registry.add(name, "1.0.0", name.as_bytes());
        registry.add(name, "1.0.1-rc.1+x", name.as_bytes());
    }
    World::new(registry)
}

/// Writes the releases below `out`, except every fifth.
fn lay(world: &World, out: &str, path: Path) -> u64 {
    let mut laid = 0;
    for (n, release) in world.registry.releases().filter(|one| !one.yanked).enumerate() {
        if n % 5 == 0 {
            continue;
        }
        let file = world.path(out).join(path(&release.id));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &release.body).unwrap();
        laid += 1;
    }
    laid
}

#[test]
fn a_tree_in_a_layout_of_ours_is_adopted_in_it() {
    for layout in [Layout::Shard, Layout::Cargo] {
        let world = world();
        let path: Path = match layout {
            Layout::Shard => |id| Layout::Shard.path(id),
            Layout::Cargo => |id| Layout::Cargo.path(id),
        };
        let laid = lay(&world, "m", path);
        let all = world.expected().len() as u64;
        let dry = run(world.mirroring("m").args(["--dry-run", "--offline"])).expect(0);
        assert_eq!(dry.count("would fetch"), all - laid, "{}", dry.stdout);
        assert!(!world.path("m/.mirror").exists());
        let ended = run(&mut world.mirroring("m")).expect(0);
        assert_eq!(ended.count("downloaded"), all - laid, "{}", ended.stdout);
        let record = fs::read_to_string(world.path("m/.mirror/mirror.json")).unwrap();
        assert!(record.contains(layout.as_str()), "{record}");
        let found = tree(&world.path("m"));
        assert_eq!(found.keys().filter(|path| path.ends_with(".crate")).count() as u64, all);
        // Or without an index at hand, and compared with one later.
        let laid = lay(&world, "r", path);
        let rebuilt = run(world.command("r").arg("--rebuild-catalogue")).expect(0);
        assert_eq!((rebuilt.count("adopted files"), rebuilt.count("held")), (laid, laid));
        assert_eq!(run(&mut world.mirroring("r")).expect(0).count("downloaded"), all - laid);
        // Another layout must not be requested.
        lay(&world, "w", path);
        let wrong = if layout == Layout::Shard { "cargo" } else { "shard" };
        for more in [&["--layout", wrong][..], &["--layout", wrong, "--dry-run", "--offline"]] {
            let refused = run(world.mirroring("w").args(more)).expect(2);
            assert!(refused.stderr.contains(layout.as_str()), "{}", refused.stderr);
            assert!(!world.path("w/.mirror/mirror.json").exists());
        }
    }
}

#[test]
fn another_tree_is_refused_in_words_and_moved_when_asked() {
    for (what, path) in other() {
        let world = world();
        let laid = lay(&world, "m", path);
        let before = tree(&world.path("m"));
        for more in [&[][..], &["--dry-run", "--offline"], &["--layout", "cargo"]] {
            let refused = run(world.mirroring("m").args(more)).expect(2);
            assert!(refused.stderr.contains("--rebuild-catalogue"), "{what}: {}", refused.stderr);
            assert!(refused.stderr.contains("would fetch them a second time"), "{what}: {}", refused.stderr);
            assert_same(&tree(&world.path("m")), &before);
        }
        assert_eq!(world.origin.total(), 0, "{what}");
        fs::write(world.path("m/notes.crate"), "no release").unwrap();
        let rebuilt = run(world.command("m").arg("--rebuild-catalogue")).expect(3);
        assert_eq!(rebuilt.count("adopted files"), laid, "{what}: {}", rebuilt.stdout);
        assert_eq!(rebuilt.count("not adopted"), 1, "{what}: {}", rebuilt.stdout);
        assert!(rebuilt.stdout.contains("notes.crate was left"), "{what}: {}", rebuilt.stdout);
        fs::remove_file(world.path("m/notes.crate")).unwrap();
        assert_eq!(run(world.command("m").arg("--rebuild-catalogue")).expect(0).count("held"), laid);
        let ended = run(&mut world.mirroring("m")).expect(0);
        assert_eq!(ended.count("downloaded"), world.expected().len() as u64 - laid, "{what}");
        world.assert_whole("m");
        // No directory of the other form is left.
        assert!(!world.path("m/Inflector").exists() && !world.path("m/In").exists(), "{what}");
    }
}

/// Covers releases that the previous version fetched beside such a tree.
#[test]
fn files_outside_their_places_are_reported_and_left() {
    let world = world();
    run(&mut world.mirroring("m")).expect(0);
    let path: Path = |id| format!("{}/{}", Layout::Cargo.dir(&id.name), id.file_name());
    let laid = lay(&world, "m", path);
    let before = tree(&world.path("m"));
    let rebuilt = run(world.command("m").arg("--rebuild-catalogue")).expect(0);
    assert_eq!(
        (rebuilt.count("left beside"), rebuilt.count("adopted files")),
        (laid, 0),
        "{}",
        rebuilt.stdout
    );
    assert_same(&tree(&world.path("m")), &before);
}

/// Covers files and directories from machines whose clocks were before 1970, or far ahead.
#[test]
fn files_with_times_of_any_age_are_held_like_others() {
    use std::time::{Duration, SystemTime};
    let day = Duration::from_secs(86_400);
    for time in [SystemTime::UNIX_EPOCH - 400 * day, SystemTime::UNIX_EPOCH + 170_000 * day] {
        let world = world();
        run(&mut world.mirroring("m")).expect(0);
        let date = |path: &std::path::Path| fs::File::open(path).unwrap().set_modified(time).unwrap();
        for path in tree(&world.path("m")).keys() {
            let path = world.path("m").join(path);
            date(&path);
            path.ancestors().skip(1).take_while(|dir| dir.starts_with(world.path("m"))).for_each(date);
        }
        for more in [&[][..], &["--verify-existing"], &[]] {
            let ended = run(world.mirroring("m").args(more)).expect(0);
            assert!(
                !ended.stdout.contains("downloaded  ") || ended.count("downloaded") == 0,
                "{}",
                ended.stdout
            );
        }
        // A missing file is noticed, whatever the times are.
        let gone = world.expected().into_keys().next().unwrap();
        fs::remove_file(world.path("m").join(gone)).unwrap();
        assert_eq!(run(&mut world.mirroring("m")).expect(0).count("downloaded"), 1);
        run(world.command("m").arg("--rebuild-catalogue")).expect(0);
        world.assert_whole("m");
    }
}

/// When the move is stopped, half of the releases are in their places: no run takes the other half for missing.
#[test]
fn an_interrupted_move_continues_before_anything_is_fetched() {
    let world = world();
    let path: Path = |id| id.file_name();
    let laid = lay(&world, "m", path);
    for (n, release) in world.registry.releases().filter(|one| !one.yanked).enumerate() {
        let from = world.path("m").join(path(&release.id));
        if n % 3 != 0 && from.exists() {
            let to = world.path("m").join(Layout::Shard.path(&release.id));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::rename(from, to).unwrap();
        }
    }
    fs::create_dir(world.path("m/.mirror")).unwrap();
    fs::write(world.path("m/.mirror/moving"), "").unwrap();
    fs::write(world.path("m/.mirror/mirror.json"), r#"{"format_version":1,"layout":"shard"}"#).unwrap();
    for more in [&[][..], &["--dry-run", "--offline"]] {
        let refused = run(world.mirroring("m").args(more)).expect(2);
        assert!(refused.stderr.contains("--rebuild-catalogue"), "{}", refused.stderr);
    }
    assert_eq!(world.origin.total(), 0);
    assert_eq!(run(world.command("m").arg("--rebuild-catalogue")).expect(0).count("held"), laid);
    let ended = run(&mut world.mirroring("m")).expect(0);
    assert_eq!(ended.count("downloaded"), world.expected().len() as u64 - laid);
    world.assert_whole("m");
}
