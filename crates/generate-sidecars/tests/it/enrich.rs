//! The fields that a manifest adds.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::world::{BASE, World};

const JSONL: [&str; 8] =
    ["--index-dir", "index", "--output-mode", "jsonl", "--jsonl-out", "s.jsonl", "--manifest", "m.jsonl"];

/// Returns the sidecar of a release from a run with the manifest.
fn enriched(world: &World, version: &str) -> Value {
    let lines = world.lines("s.jsonl");
    let found = lines.into_iter().find(|line| line["vers"] == version).unwrap();
    json!([found["storage"], found["bundle_path"], found["bundle_member"]])
}

fn world() -> World {
    let mut world = World::new(5, 0);
    for n in 0..8 {
        world.registry.add("serde", &format!("1.0.{n}"), b"x");
    }
    world.registry.add("serde", "1.0.0+b", b"x");
    world.commit();
    world
}

#[test]
fn the_latest_record_that_names_bytes_counts() {
    let world = world();
    let url = |version: &str| format!("{BASE}/serde/serde-{version}.crate");
    let (bundle, member) = ("bundles/bundle-0000.tar.zst", |n: &str| format!("s/er/serde-{n}.crate"));
    let records = [
        // Schema 1, in the form of the source system.
        json!({"schema_version": 1, "url": url("1.0.0"), "path": "D:\\m\\s\\er\\serde-1.0.0.crate", "ok": true,
            "storage": "filesystem", "size": 1}),
        json!({"url": url("1.0.1"), "ok": true, "storage": "bundle", "bundle_path": "D:\\b\\bundle-0000.tar.zst",
            "bundle_member": "s\\er\\serde-1.0.1.crate"}),
        json!({"url": url("1.0.0+b"), "ok": true, "storage": "bundle", "bundle_path": bundle,
            "bundle_member": member("1.0.0+b")}),
        // Schema 2.
        json!({"schema_version": 2, "url": "", "crate": "serde", "version": "1.0.2", "ok": true,
            "storage": "filesystem"}),
        json!({"schema_version": 2, "crate": "serde", "version": "1.0.2", "ok": true,
            "storage": "filesystem+bundle", "bundle_path": bundle, "bundle_member": member("1.0.2")}),
        json!({"schema_version": 2, "crate": "serde", "version": "1.0.3", "ok": true, "storage": "object",
            "bundle_member": "elsewhere/é\n"}),
        json!({"schema_version": 2, "crate": "serde", "version": "1.0.3", "ok": false, "storage": "filesystem",
            "status": "error", "error": "later"}),
        json!({"schema_version": 2, "crate": "serde", "version": "1.0.4", "ok": true, "storage": "filesystem"}),
        json!({"schema_version": 2, "crate": "serde", "version": "1.0.4", "ok": true, "status": "pruned",
            "storage": "filesystem", "bundle_path": null}),
        json!({"schema_version": 2, "crate": "serde", "version": "1.0.5", "ok": false, "status": "unavailable"}),
    ];
    let mut text = String::new();
    for record in &records {
        writeln!(text, "{record}").unwrap();
    }
    std::fs::write(world.path("m.jsonl"), &text).unwrap();
    let run = world.run(&JSONL).expect(0);
    assert_eq!(run.count("manifest"), records.len() as u64);
    let expected = [
        ("1.0.0", json!(["filesystem", null, null])),
        ("1.0.1", json!(["bundle", "D:\\b\\bundle-0000.tar.zst", "s\\er\\serde-1.0.1.crate"])),
        ("1.0.0+b", json!(["bundle", bundle, member("1.0.0+b")])),
        ("1.0.2", json!(["filesystem+bundle", bundle, member("1.0.2")])),
        ("1.0.3", json!(["object", null, "elsewhere/é\n"])),
        ("1.0.4", json!([null, null, null])),
        ("1.0.5", json!([null, null, null])),
        ("1.0.6", json!([null, null, null])),
    ];
    for (version, facts) in expected {
        assert_eq!(enriched(&world, version), facts, "{version}");
    }
    assert!(!std::fs::read_to_string(world.path("s.jsonl")).unwrap().contains("null,\"bundle"));
}

#[test]
fn a_manifest_that_changed_changes_files_with_refresh() {
    let world = world();
    std::fs::write(world.path("m.jsonl"), "").unwrap();
    let files = ["--index-dir", "index", "--manifest", "m.jsonl"];
    world.run(&files).expect(0);
    let record = json!({"crate": "serde", "version": "1.0.2", "ok": true, "storage": "filesystem"});
    std::fs::write(world.path("m.jsonl"), format!("{record}\n")).unwrap();
    assert_eq!(world.run(&files).expect(0).count("existing"), 9);
    let refresh = [&files[..], &["--refresh"]].concat();
    assert_eq!(world.run(&refresh).expect(0).count("refreshed"), 1);
    assert_eq!(world.files("out")["s/er/serde-1.0.2.crate.json"]["storage"], "filesystem");
    assert_eq!(world.run(&refresh).expect(0).count("looked at"), 0);
}

#[test]
fn a_torn_end_is_tolerated_and_bad_lines_are_reported() {
    let world = world();
    let good = json!({"crate": "serde", "version": "1.0.2", "ok": true, "storage": "filesystem"});
    std::fs::write(world.path("m.jsonl"), format!("{good}\n{{\"crate\":\"ser")).unwrap();
    let run = world.run(&JSONL).expect(0);
    assert!(run.stdout.contains("the last one torn") && run.stderr.contains("torn"), "{run:?}");
    assert_eq!(enriched(&world, "1.0.2")[0], "filesystem");

    std::fs::write(world.path("m.jsonl"), format!("{good}\n{{\"crate\":\"ser\n{{\"ok\":7}}\n\n")).unwrap();
    let run = world.run(&JSONL).expect(3);
    assert_eq!(run.count("bad manifest lines"), 2);
    assert!(run.stdout.contains("line 2:"), "{}", run.stdout);
    assert_eq!(world.lines("s.jsonl").len(), 9);

    std::fs::remove_file(world.path("m.jsonl")).unwrap();
    assert!(world.run(&JSONL).expect(2).stderr.contains("m.jsonl"));
}
