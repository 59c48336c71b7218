//! `--audit-all`: a record of every selected release, which changes nothing but the manifest.

use std::collections::BTreeMap;

use mirror_testkit::{Fault, TestRegistry};
use serde_json::Value;

use crate::incremental::{Incremental, UNCHANGED};
use crate::world::{World, run};

const HELD: &str =
    "SELECT crate || ' ' || version || ' ' || sha256 || ' ' || size || ' ' || loose FROM held ORDER BY 1";

/// Returns the records of the last run with this status, by path.
fn last_run(records: &[Value], status: &str) -> BTreeMap<String, Value> {
    let run = &records.last().unwrap()["run_id"];
    let own = records.iter().filter(|record| record["run_id"] == *run && record["status"] == status);
    own.map(|record| (record["path"].as_str().unwrap().to_owned(), record.clone())).collect()
}

#[test]
fn every_held_release_is_recorded_with_its_checksum_and_nothing_is_lost_for_it() {
    let mut mirror = Incremental::new(90);
    let held = mirror.catalogue(HELD);
    let downloaded = last_run(&mirror.world.manifest("out"), "downloaded");
    mirror.world.registry.add("newcomer", "1.0.0", b"new");
    mirror.publish();
    mirror.world.origin.script(
        |ask| {
            if ask.path.contains("newcomer") { Fault::Status(404) } else { Fault::None }
        },
    );
    let audited = mirror.go(&["--audit-all"]).expect(3);
    assert!(!audited.stderr.contains("the index changed since"), "{}", audited.stderr);
    assert_eq!((audited.count("existing"), audited.count("unavailable")), (downloaded.len() as u64, 1));
    let records = mirror.world.manifest("out");
    let existing = last_run(&records, "existing");
    assert!(existing.keys().eq(downloaded.keys()) && downloaded.len() > 100);
    for (path, record) in &existing {
        for field in ["sha256", "cksum", "size", "storage", "crate", "version", "url", "ok", "mirror"] {
            assert_eq!(record[field], downloaded[path][field], "{field} of {path}");
        }
    }
    // Whoever takes the last record of a path still has a checksum of every file.
    let newest: BTreeMap<_, _> = records.iter().map(|record| (record["path"].as_str(), record)).collect();
    let sums = newest.values().filter(|record| record["ok"] == true && record["sha256"].is_string());
    assert_eq!(sums.count(), existing.len());

    // The records are worth as much as the first ones: a catalogue that is made of them has all of it.
    assert_eq!(mirror.catalogue(HELD), held);
    std::fs::remove_file(mirror.world.path("out/.mirror/catalogue.sqlite")).unwrap();
    let again = mirror.go(&[]).expect(3);
    assert_eq!((again.count("existing"), again.count("downloaded")), (existing.len() as u64, 0));
    assert_eq!((mirror.catalogue(HELD), mirror.world.ledger("out").len()), (held, 1));

    // Without the flag, nothing but what was done is recorded, and the next run looks only at what changed.
    mirror.world.origin.heal();
    mirror.go(&[]).expect(0);
    let lines = mirror.world.manifest("out").len();
    assert!(mirror.go(&[]).expect(0).stderr.contains(UNCHANGED));
    assert_eq!(mirror.world.manifest("out").len(), lines);
    let dry = mirror.go(&["--audit-all", "--dry-run"]).expect(0);
    assert_eq!((dry.count("held"), mirror.world.manifest("out").len()), (existing.len() as u64 + 1, lines));
}

#[test]
fn a_member_of_a_bundle_is_recorded_where_it_is() {
    let world = World::new(TestRegistry::generate(91, 40, 200));
    let bundled = ["--bundle", "--bundles-out", "bundles"];
    run(world.mirroring("out").args(bundled)).expect(0);
    let downloaded = last_run(&world.manifest("out"), "downloaded");
    run(world.mirroring("out").args(bundled).arg("--audit-all")).expect(0);
    let existing = last_run(&world.manifest("out"), "existing");
    assert_eq!(existing.len(), downloaded.len());
    for (path, record) in &existing {
        for field in ["storage", "bundle_path", "bundle_member", "frame_offset", "frame_len", "sha256"] {
            assert!(!record[field].is_null(), "{record}");
            assert_eq!(record[field], downloaded[path][field], "{field} of {path}");
        }
    }
    std::fs::remove_file(world.path("out/.mirror/catalogue.sqlite")).unwrap();
    let again = run(world.mirroring("out").args(bundled)).expect(0);
    assert_eq!((again.count("existing"), again.count("downloaded")), (existing.len() as u64, 0));
}
