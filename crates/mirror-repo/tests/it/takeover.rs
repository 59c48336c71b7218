//! Mirrors of the previous version: no id, and the manifest in the working directory.

use std::fs;

use mirror_repo::LockedMirror;
use mirror_types::FaultKind;

use crate::world::{World, earlier_line};

#[test]
fn a_manifest_in_the_working_directory_is_used_where_it_is() {
    let world = World::new();
    world.earlier("a");
    // That version named the root relative to the directory in which it ran.
    let lines = earlier_line("a", "serde") + &earlier_line("./a", "log") + "{\"schema_ver";
    fs::write(world.path("manifest.jsonl"), &lines).expect("write");
    let (a, report) = world.open("a").expect("open");
    assert_eq!(a.manifest.path(), world.path("manifest.jsonl"));
    assert_eq!((report.torn_bytes_cut, report.was_shared), (12, false));
    drop(a);
    // It is remembered, from any directory.
    let mut elsewhere = world.options("a");
    elsewhere.working_dir = Some(world.path("a"));
    let (again, _) = LockedMirror::open(&elsewhere).expect("open");
    assert_eq!(again.manifest.path(), world.path("manifest.jsonl"));
}

#[test]
fn a_shared_manifest_stays_as_it_is_and_each_mirror_takes_its_own_records() {
    let world = World::new();
    let lines =
        [("a", "serde"), ("b", "log"), ("a", "libc"), ("b", "rand")].map(|(at, of)| earlier_line(at, of));
    let mixed = lines.concat();
    fs::write(world.path("manifest.jsonl"), &mixed).expect("write");
    for (name, own) in [("a", [0, 2]), ("b", [1, 3])] {
        world.earlier(name);
        fs::write(world.path(name).join(".mirror/catalogue.sqlite"), "of both").expect("write");
        let (mirror, report) = world.open(name).expect("open");
        assert!(report.was_shared);
        assert_eq!(mirror.manifest.path(), world.path(name).join("manifest.jsonl"));
        let expected = own.map(|at| lines[at].as_str()).concat();
        assert_eq!(fs::read_to_string(mirror.manifest.path()).expect("read"), expected);
        assert!(!world.path(name).join(".mirror/catalogue.sqlite").exists());
        drop(mirror);
        // A kill after the copy and before the record: the record is still that of the previous version.
        world.earlier(name);
        let (mirror, _) = world.open(name).expect("again");
        assert_eq!(fs::read_to_string(mirror.manifest.path()).expect("read"), expected);
        drop(mirror);
        let (_, report) = world.open(name).expect("again");
        assert!(!report.was_shared, "it is done once");
    }
    assert_eq!(fs::read_to_string(world.path("manifest.jsonl")).expect("read"), mixed);
    // A script that still names the old manifest continues with the mirror's own.
    let mut named = world.options("a");
    named.manifest = Some("manifest.jsonl".into());
    let (a, report) = LockedMirror::open(&named).expect("open");
    assert_eq!((a.manifest.path(), report.was_shared), (world.path("a/manifest.jsonl").as_path(), false));
}

#[test]
fn a_manifest_of_others_in_the_working_directory_is_none_of_its_business() {
    let world = World::new();
    let lines = earlier_line("b", "serde");
    fs::write(world.path("manifest.jsonl"), &lines).expect("write");
    world.earlier("a");
    let (a, _) = world.open("a").expect("open");
    assert_eq!(a.manifest.path(), world.path("a/manifest.jsonl"));
    drop(a);
    let mut named = world.options("c");
    named.manifest = Some("manifest.jsonl".into());
    let error = LockedMirror::open(&named).expect_err("another's");
    assert_eq!(error.kind(), FaultKind::Usage);
    assert!(error.to_string().contains("the mirror at b"), "{error}");
    assert_eq!(fs::read_to_string(world.path("manifest.jsonl")).expect("read"), lines);
}

#[test]
fn a_manifest_of_the_source_system_is_used() {
    let world = World::new();
    let line = r#"{"schema_version":1,"url":"http://h/serde/serde-1.0.0.crate","path":"out/s/er/serde-1.0.0.crate","storage":"filesystem","size":1,"ok":true,"status":"downloaded"}"#;
    fs::write(world.path("manifest.jsonl"), format!("{line}\n")).expect("write");
    fs::create_dir_all(world.path("out/s/er")).expect("dir");
    fs::write(world.path("out/s/er/serde-1.0.0.crate"), "x").expect("write");
    let (out, _) = world.open("out").expect("open");
    assert_eq!(out.manifest.path(), world.path("manifest.jsonl"));
}

#[test]
fn bundles_are_found_by_the_records_that_name_them() {
    let world = World::new();
    world.earlier("a");
    fs::create_dir_all(world.path("bundles")).expect("dir");
    let line = earlier_line("a", "serde").replace(
        "\"storage\":\"filesystem\"",
        "\"storage\":\"bundle\",\"bundle_path\":\"bundles/bundle-0000.tar.zst\"",
    );
    fs::write(world.path("manifest.jsonl"), line).expect("write");
    let (a, _) = world.open("a").expect("open");
    assert_eq!(a.bundles_dir, world.path("bundles"));
    drop(a);
    let (again, _) = world.open("a").expect("open");
    assert_eq!(again.bundles_dir, world.path("bundles"), "remembered");
}
