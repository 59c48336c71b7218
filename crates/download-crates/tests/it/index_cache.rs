//! The index lines that a mirror keeps for its server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mirror_testkit::TestRegistry;

use crate::incremental::{Incremental, UNCHANGED};
use crate::world::{World, run};

/// Returns the path of the index cache.
fn file(root: &Path) -> PathBuf {
    root.join(".mirror/index.sqlite")
}

/// Returns every frame of the index cache, with its path and the size of its text, read by the documented format.
fn frames(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let cache = rusqlite::Connection::open(file(root)).unwrap();
    assert_eq!(cache.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).unwrap(), 2);
    let mut query = cache.prepare("SELECT path, size, frame FROM index_files").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Returns every index file in the cache.
fn kept(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let unpacked = |(path, size, frame): (String, u32, Vec<u8>)| {
        (path, zstd::bulk::decompress(&frame, size as usize).unwrap())
    };
    frames(root).into_iter().map(unpacked).collect()
}

/// Stores the index lines of `out` in the form of the previous version.
fn make_old(mirror: &Incremental) {
    let out = mirror.world.path("out");
    let mut log = b"mirror-index-lines 1\n".to_vec();
    frames(&out).iter().for_each(|(_, _, frame)| log.extend_from_slice(frame));
    std::fs::remove_file(file(&out)).unwrap();
    std::fs::write(out.join(".mirror/index.1.lines"), log).unwrap();
    mirror.catalogue("DELETE FROM state WHERE key = 'index_cache' RETURNING value");
    mirror.catalogue("INSERT INTO state VALUES ('lines_generation', '1') RETURNING value");
}

#[track_caller]
fn assert_kept(world: &World, out: &str, expected: &BTreeMap<String, Vec<u8>>) {
    let kept = kept(&world.path(out));
    assert_eq!(kept.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(kept == *expected, "all byte for byte");
}

#[test]
fn lines_outlive_a_rebuilt_catalogue() {
    let mirror = Incremental::new(66);
    run(mirror.world.command("out").arg("--rebuild-catalogue")).expect(0);
    // Behind an air gap, there is no index to read them from.
    assert_kept(&mirror.world, "out", &mirror.world.registry.index_files());
}

#[test]
fn lines_of_an_index_that_was_taken_back_do_not_stay() {
    let mut mirror = Incremental::new(67);
    let before = mirror.world.registry.index_files();
    let name = mirror.world.registry.crates.keys().nth(5).unwrap().clone();
    mirror.world.registry.add(&name, "99.0.0", b"another");
    mirror.publish();
    mirror.go(&["--crates", &name]).expect(0);
    mirror.world.registry.crates.get_mut(&name).unwrap().pop();
    mirror.publish();
    mirror.go(&[]).expect(0);
    assert_kept(&mirror.world, "out", &before);
}

#[test]
fn every_index_file_is_kept_in_run_after_run() {
    let mut mirror = Incremental::new(60);
    assert_kept(&mirror.world, "out", &mirror.world.registry.index_files());
    let first = std::fs::metadata(file(&mirror.world.path("out"))).unwrap().len();
    mirror.go(&[]).expect(0);
    assert_eq!(std::fs::metadata(file(&mirror.world.path("out"))).unwrap().len(), first, "nothing new");

    let name = mirror.world.registry.crates.keys().nth(5).unwrap().clone();
    mirror.world.registry.add(&name, "99.0.0", b"another");
    mirror.world.registry.add("newcomer", "1.0.0", b"new").yanked = true;
    // A release that is deleted upstream stays held, and so do its lines.
    let (_, gone) = mirror.world.registry.crates.pop_last().unwrap();
    let mut expected = mirror.world.registry.index_files();
    mirror.publish();
    mirror.go(&["--dry-run", "--offline"]).expect(0);
    assert_eq!(std::fs::metadata(file(&mirror.world.path("out"))).unwrap().len(), first, "dry");
    mirror.go(&[]).expect(0);
    let mut deleted = TestRegistry::default();
    deleted.crates.insert(gone[0].id.name.to_string(), gone);
    expected.extend(deleted.index_files());
    assert_kept(&mirror.world, "out", &expected);
    assert!(kept(&mirror.world.path("out")).values().any(|text| text.ends_with(b"{\"n\":1.50}}\n")));
}

#[test]
fn lines_that_are_lost_come_back() {
    let mirror = Incremental::new(61);
    let out = mirror.world.path("out");
    let files = mirror.world.registry.index_files();
    let damages: [&dyn Fn(&Path); 3] = [
        &|path| std::fs::remove_file(path).unwrap(),
        &|path| std::fs::File::options().write(true).open(path).unwrap().set_len(1_000).unwrap(),
        &|path| std::fs::write(path, "something else, and long enough\n".repeat(10_000)).unwrap(),
    ];
    for damage in damages {
        damage(&file(&out));
        let ended = mirror.go(&[]).expect(0);
        assert!(ended.stderr.contains("index lines were gone or cut"), "{}", ended.stderr);
        assert_eq!(ended.count("downloaded"), 0);
        mirror.adds_up(&ended);
        assert_kept(&mirror.world, "out", &files);
        assert!(mirror.go(&[]).expect(0).stderr.contains(UNCHANGED));
    }
    // A full check finds a flipped bit.
    let mut bytes = std::fs::read(file(&out)).unwrap();
    let all = frames(&out);
    let (_, _, frame) = all.iter().find(|(_, _, frame)| frame.len() < 1_000).unwrap();
    let begin = bytes.windows(frame.len()).position(|found| found == frame).unwrap();
    bytes[begin + frame.len() / 2] ^= 0x10;
    std::fs::write(file(&out), bytes).unwrap();
    let ended = mirror.go(&["--verify-existing"]).expect(0);
    assert!(ended.stderr.contains("index lines were damaged"), "{}", ended.stderr);
    assert_kept(&mirror.world, "out", &files);
}

/// Covers a mirror without an index: the lines name their crates themselves.
#[test]
fn a_rebuilt_catalogue_keeps_the_lines() {
    let mirror = Incremental::new(64);
    let files = mirror.world.registry.index_files();
    run(mirror.world.command("out").arg("--rebuild-catalogue")).expect(0);
    assert_kept(&mirror.world, "out", &files);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(mirror.world.path(&format!("out/.mirror/catalogue.sqlite{suffix}")));
    }
    run(mirror.world.command("out").arg("--rebuild-catalogue")).expect(0);
    assert_kept(&mirror.world, "out", &files);
}

/// Covers a mirror from before index lines were kept: it reads the whole index once.
#[test]
fn an_older_mirror_gets_its_lines() {
    let mirror = Incremental::new(62);
    let out = mirror.world.path("out");
    std::fs::remove_file(file(&out)).unwrap();
    mirror.catalogue("DELETE FROM state WHERE key = 'index_cache' RETURNING value");
    let ended = mirror.go(&[]).expect(0);
    assert!(!ended.stderr.contains(UNCHANGED));
    assert_kept(&mirror.world, "out", &mirror.world.registry.index_files());
    assert!(mirror.go(&[]).expect(0).stderr.contains(UNCHANGED));
}

/// Only the log has the lines of a crate that upstream has deleted.
#[test]
fn the_log_of_the_previous_version_is_converted() {
    for rebuilds in [false, true] {
        let mut mirror = Incremental::new(65);
        let expected = mirror.world.registry.index_files();
        mirror.world.registry.crates.pop_last().unwrap();
        mirror.publish();
        mirror.go(&[]).expect(0);
        make_old(&mirror);
        if rebuilds {
            run(mirror.world.command("out").arg("--rebuild-catalogue")).expect(0);
            assert_kept(&mirror.world, "out", &expected);
        }
        let ended = mirror.go(&[]).expect(0);
        assert!(!ended.stderr.contains("index lines"), "nothing is lost: {}", ended.stderr);
        assert_eq!(ended.count("downloaded"), 0);
        assert_kept(&mirror.world, "out", &expected);
        assert!(!mirror.world.path("out/.mirror/index.1.lines").exists());
        assert!(mirror.go(&[]).expect(0).stderr.contains(UNCHANGED));
    }
}

#[test]
fn every_way_in_keeps_lines() {
    let mut world = World::new(TestRegistry::generate(63, 120, 200));
    world.registry.add("base", "1.0.0", b"base");
    world.registry.add("top", "1.0.0", b"top").deps.push((
        "base".to_owned(),
        "^1".to_owned(),
        "normal".to_owned(),
    ));
    world.publish();
    let files = world.registry.index_files();
    let only = |names: &[&str]| -> BTreeMap<String, Vec<u8>> {
        let named = |path: &String| names.iter().any(|name| path.ends_with(&format!("/{name}")));
        files
            .iter()
            .filter(|(path, _)| named(path))
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect()
    };
    run(&mut world.mirroring("all")).expect(0);
    assert_kept(&world, "all", &files);
    // Again, in the order that is fastest to read, into a mirror that has lost its lines.
    std::fs::remove_file(file(&world.path("all"))).unwrap();
    run(&mut world.mirroring("all")).expect(0);
    assert_kept(&world, "all", &files);
    run(world.mirroring("named").args(["--crates", "top"])).expect(0);
    assert_kept(&world, "named", &only(&["top"]));
    run(world.mirroring("globbed").args(["--crates", "to*", "--exclude", "tob*"])).expect(0);
    assert!(kept(&world.path("globbed")).contains_key("3/t/top"));
    let url = format!("sparse+{}/index/", world.origin.base());
    run(world.command("sparse").args(["--crates", "top", "--index-url", &url])).expect(0);
    assert_kept(&world, "sparse", &only(&["top"]));
    run(world.command("closed").args(["--crates", "top", "--closure", "--index-url", &url])).expect(0);
    assert_kept(&world, "closed", &only(&["top", "base"]));
    let before = std::fs::metadata(file(&world.path("closed"))).unwrap().len();
    run(world.command("closed").args(["--crates", "top", "--closure", "--index-url", &url])).expect(0);
    assert_eq!(std::fs::metadata(file(&world.path("closed"))).unwrap().len(), before);
}
