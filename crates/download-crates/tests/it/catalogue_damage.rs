//! Damaged catalogues: a run reports the damage with 4 and advice, or it does not matter; nothing that is held is lost.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use mirror_testkit::TestRegistry;

use crate::world::{World, run};

type Damage = fn(&mut Vec<u8>);

fn table() -> Vec<(&'static str, Damage, &'static [i32])> {
    const TOLD: &[i32] = &[4];
    const EITHER: &[i32] = &[0, 4];
    vec![
        ("text", |bytes| *bytes = b"no database at all, as anybody can see\n".to_vec(), TOLD),
        ("zeros", |bytes| bytes.fill(0), TOLD),
        ("zeros in the first page", |bytes| bytes[100..4096].fill(0), TOLD),
        ("the first half", |bytes| bytes.truncate(bytes.len() / 2), TOLD),
        ("a part of a page", |bytes| bytes.truncate(5000), TOLD),
        ("a few bytes", |bytes| bytes.truncate(50), TOLD),
        ("no format", |bytes| bytes[60..64].fill(0), TOLD),
        ("a later format", |bytes| bytes[60..64].copy_from_slice(&77_u32.to_be_bytes()), TOLD),
        ("a later SQLite", |bytes| bytes[18] = 9, TOLD),
        ("an earlier format", |bytes| bytes[60..64].copy_from_slice(&2_u32.to_be_bytes()), &[0]),
        ("nothing", Vec::clear, &[0]),
        ("zeros from the second page on", |bytes| bytes[4096..].fill(0), EITHER),
        ("a page that is another one", |bytes| bytes.copy_within(8192..12288, 4096), EITHER),
    ]
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run(std::process::Command::new("cp").arg("-a").arg(from).arg(to)).expect(0);
}

/// Runs with the damage, rebuilds the catalogue, and runs again; asserts that nothing was fetched again.
#[track_caller]
fn survives(world: &World, what: &str, codes: &[i32], bytes: &[u8]) {
    let catalogue = world.path("m/.mirror/catalogue.sqlite");
    copy(&world.path("base"), &world.path("m"));
    fs::copy(world.path("base.jsonl"), world.path("m.jsonl")).unwrap();
    fs::write(&catalogue, bytes).unwrap();
    let asked = world.origin.total();
    let first = run(world.mirroring("m").arg("--offline"));
    assert!(codes.contains(&first.code), "{what}: {}, {}", first.code, first.stderr);
    if first.code == 4 {
        assert!(first.stderr.contains("--rebuild-catalogue"), "{what}: {}", first.stderr);
        assert!(first.stderr.contains("catalogue.sqlite"), "{what}: {}", first.stderr);
        let untouched = codes.contains(&0) || fs::read(&catalogue).unwrap() == bytes;
        assert!(untouched, "{what}: what is not understood was written to");
        run(world.command("m").arg("--dry-run").arg("--index-dir").arg(world.index())).expect(4);
        run(world.command("m").args(["--rebuild-catalogue"])).expect(0);
    }
    world.assert_whole("m");
    let last = run(&mut world.mirroring("m")).expect(0);
    assert_eq!(last.count("existing"), world.expected().len() as u64, "{what}");
    assert_eq!(world.origin.total(), asked, "{what}: something was fetched again");
    world.assert_whole("m");
}

#[test]
fn damage_is_reported_and_nothing_is_lost() {
    let world = World::new(TestRegistry::generate(91, 120, 200));
    run(&mut world.mirroring("base")).expect(0);
    let whole = fs::read(world.path("base/.mirror/catalogue.sqlite")).unwrap();
    for (what, damage, codes) in table() {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        survives(&world, what, codes, &bytes);
    }
}

#[test]
fn a_thorough_run_looks_at_all_of_it() {
    let world = World::new(TestRegistry::generate(92, 400, 100));
    run(&mut world.mirroring("m")).expect(0);
    let path = world.path("m/.mirror/catalogue.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    // The fullest leaf claims to have half of its cells.
    let cells_of = |page: usize| u16::from_be_bytes([bytes[page + 3], bytes[page + 4]]);
    let is_leaf = |page: &usize| matches!(bytes[*page], 0x0a | 0x0d);
    let leaves = (1..bytes.len() / 4096).map(|page| page * 4096).filter(is_leaf);
    let page = leaves.max_by_key(|page| cells_of(*page)).unwrap();
    let cells = cells_of(page);
    bytes[page + 3..page + 5].copy_from_slice(&(cells / 2).to_be_bytes());
    bytes[page + 200..page + 400].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let ended = run(world.mirroring("m").arg("--verify-existing")).expect(4);
    assert!(ended.stderr.contains("--rebuild-catalogue"), "{}", ended.stderr);
    run(world.command("m").arg("--rebuild-catalogue")).expect(0);
    run(world.mirroring("m").arg("--verify-existing")).expect(0);
    world.assert_whole("m");
}

/// The record of the mirror is small, and a bad disk can tear it as well.
#[test]
fn a_record_that_cannot_be_understood_is_an_integrity_fault() {
    let world = World::new(TestRegistry::generate(94, 10, 100));
    run(&mut world.mirroring("m")).expect(0);
    let path = world.path("m/.mirror/mirror.json");
    let whole = fs::read(&path).unwrap();
    for bytes in [
        &b""[..],
        b"x",
        &whole[..whole.len() / 2],
        b"{}",
        b"[1]",
        br#"{"format_version":99,"layout":"shard"}"#,
    ] {
        fs::write(&path, bytes).unwrap();
        for more in [&[][..], &["--dry-run", "--offline"]] {
            let ended = run(world.mirroring("m").args(more)).expect(4);
            assert!(ended.stderr.contains("mirror.json"), "{}", ended.stderr);
        }
        run(world.command("m").arg("--rebuild-catalogue")).expect(4);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::write(&path, whole).unwrap();
    run(&mut world.mirroring("m")).expect(0);
}
