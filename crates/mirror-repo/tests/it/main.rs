//! Whole mirrors: which manifest and which bundles belong to which mirror, and the remains of earlier versions.
#![expect(clippy::disallowed_methods, reason = "tests make and damage mirrors by hand")]

mod crash;
mod examples;
mod reading;
mod takeover;
mod transaction;
mod world;

use std::fs;

use mirror_repo::{LockedMirror, RecordedPlaces};
use mirror_types::FaultKind;

use crate::world::{World, record};

#[test]
fn a_new_mirror_has_everything_inside_and_remembers_what_was_named() {
    let world = World::new();
    let (a, _) = world.open("a").expect("open");
    assert_eq!(a.manifest.path(), world.path("a/manifest.jsonl"));
    assert_eq!(a.bundles_dir, world.path("a/bundles"));
    let id = a.id;
    drop(a);
    let mut named = world.options("a");
    named.manifest = Some("m/audit.jsonl".into());
    named.bundles = Some(world.path("b"));
    let (a, _) = LockedMirror::open(&named).expect("named");
    let places = || RecordedPlaces::of(&world.path("a")).expect("read").expect("a mirror");
    assert_eq!(places().bundles, world.path("a/bundles"), "not before they were seen to be right");
    LockedMirror::remember_bundles(&a.store, &a.bundles_dir).expect("remember");
    drop(a);
    // The next run, another program, and the mirror in another place together with the files beside it.
    let (again, _) = world.open("a").expect("remembered");
    assert_eq!((again.id, again.manifest.path()), (id, world.path("m/audit.jsonl").as_path()));
    drop(again);
    assert_eq!((places().id, places().bundles), (Some(id), world.path("b")));
    let elsewhere = World::new();
    for name in ["a", "m"] {
        fs::rename(world.path(name), elsewhere.path(name)).expect("move");
    }
    let (moved, _) = elsewhere.open("a").expect("moved");
    assert_eq!((moved.id, moved.manifest.path()), (id, elsewhere.path("m/audit.jsonl").as_path()));
}

#[test]
fn a_manifest_of_another_mirror_is_refused_and_left_as_it_is() {
    let world = World::new();
    world.write_records("a", Some("shared.jsonl"), &["serde"]);
    let before = fs::read(world.path("shared.jsonl")).expect("read");
    let mut b = world.options("b");
    b.manifest = Some("shared.jsonl".into());
    for _ in 0..2 {
        let error = LockedMirror::open(&b).expect_err("another mirror's");
        assert_eq!(error.kind(), FaultKind::Usage, "{error}");
        assert!(
            error.to_string().contains("another mirror") || error.to_string().contains("the mirror with"),
            "{error}"
        );
    }
    assert!(LockedMirror::resolve_paths(&b).is_err(), "a dry run says so, too");
    assert_eq!(fs::read(world.path("shared.jsonl")).expect("read"), before);
    // Without the flag, nothing is in the way, and the first mirror continues.
    assert!(world.open("b").is_ok());
    assert!(world.open("a").is_ok());
}

#[test]
fn what_is_no_manifest_is_refused_before_anything_is_written() {
    let world = World::new();
    for (name, text) in [("notes", "one\ntwo"), ("json", "{\"my\":\"settings\"}"), ("zeros", "\0\0\0")] {
        fs::write(world.path(name), text).expect("write");
        let mut options = world.options(&format!("of-{name}"));
        options.manifest = Some(name.into());
        let error = LockedMirror::open(&options).expect_err("no manifest");
        assert_eq!(error.kind(), FaultKind::Usage, "{error}");
        assert_eq!(fs::read(world.path(name)).expect("read"), text.as_bytes());
    }
}

#[test]
fn two_writers_never_share_a_mirror_or_a_manifest() {
    let world = World::new();
    let (_a, _) = world.open("a").expect("open");
    assert_eq!(world.open("a").expect_err("held").kind(), FaultKind::Locked);
    let mut b = world.options("b");
    b.manifest = Some("a/manifest.jsonl".into());
    assert_eq!(LockedMirror::open(&b).expect_err("in use").kind(), FaultKind::Locked);
}

#[test]
fn a_copy_does_not_write_into_the_manifest_of_its_original() {
    let world = World::new();
    world.write_records("a", Some("audit.jsonl"), &["serde", "log"]);
    world.copy("a", "copy");
    let error = world.open("copy").expect_err("shared");
    assert_eq!(error.kind(), FaultKind::Usage, "{error}");
    assert!(error.to_string().contains("copy of the mirror"), "{error}");
    let before = fs::read(world.path("audit.jsonl")).expect("read");
    let mut own = world.options("copy");
    own.manifest = Some("copy/manifest.jsonl".into());
    let (copy, report) = LockedMirror::open(&own).expect("its own");
    assert_eq!(report.copied_from, Some(world.path("audit.jsonl")));
    assert_eq!(fs::read(copy.manifest.path()).expect("read"), before, "it begins with the records so far");
    drop(copy);
    assert!(world.open("copy").is_ok());
    // The original is gone: the copy takes its place.
    fs::remove_dir_all(world.path("a")).expect("remove");
    world.copy("copy", "a");
    assert!(world.open("a").is_ok());
}

#[test]
fn a_copy_reads_the_bundles_that_it_shares_and_writes_none() {
    let world = World::new();
    fs::create_dir_all(world.path("b")).expect("dir");
    let mut named = world.options("a");
    named.bundles = Some(world.path("b"));
    let (a, _) = LockedMirror::open(&named).expect("open");
    LockedMirror::remember_bundles(&a.store, &a.bundles_dir).expect("remember");
    drop(a);
    world.copy("a", "copy");
    let (copy, _) = world.open("copy").expect("to read");
    assert_eq!(copy.bundles_dir, world.path("b"));
    drop(copy);
    let mut writing = world.options("copy");
    writing.targets = vec![mirror_types::StoreId::BUNDLES];
    let error = LockedMirror::open(&writing).expect_err("shared");
    assert_eq!(error.kind(), FaultKind::Usage, "{error}");
}

#[test]
fn a_manifest_whose_directory_is_gone_is_not_begun_anew() {
    let world = World::new();
    world.write_records("a", Some("disk/audit.jsonl"), &["serde"]);
    fs::rename(world.path("disk"), world.path("unmounted")).expect("move");
    let error = world.open("a").expect_err("gone");
    assert_eq!(error.kind(), FaultKind::Usage, "{error}");
    fs::rename(world.path("unmounted"), world.path("disk")).expect("move");
    assert!(world.open("a").is_ok());
}

#[test]
fn a_lost_record_is_restored_with_the_id_in_the_manifest() {
    let world = World::new();
    let id = world.write_records("a", None, &["serde"]);
    fs::remove_file(world.path("a/.mirror/mirror.json")).expect("remove");
    let (again, _) = world.open("a").expect("open");
    assert_eq!(again.id, id);
    drop(again);
    // Under another name, the manifest shows that it belongs to `a`.
    world.copy("a", "b");
    fs::remove_file(world.path("b/.mirror/mirror.json")).expect("remove");
    assert_eq!(world.open("b").expect_err("another's").kind(), FaultKind::Usage);
}

#[test]
fn every_record_names_its_mirror() {
    let world = World::new();
    let (mut a, _) = world.open("a").expect("open");
    a.manifest.append(&[record(&world.path("a"), "serde")]).expect("append");
    let text = fs::read_to_string(a.manifest.path()).expect("read");
    assert!(text.ends_with(&format!(",\"mirror\":\"{}\"}}\n", a.id)), "{text}");
}
