//! Checks that damage of every kind to a catalogue is reported as damage, and that nothing panics.
#![expect(clippy::disallowed_methods, reason = "tests damage files of their own")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::schema::FORMAT;
use super::*;
use crate::damages;
use crate::error::ManifestError;
use crate::index_cache::CacheState;
use mirror_types::{Advice, FaultKind, Locations, MemberLocation, ReleaseId, Sha256, StoreId};

fn id(n: usize, version: &str) -> ReleaseId {
    let name = format!("crate-{n}").parse().expect("name");
    ReleaseId { name, version: version.parse().expect("version") }
}

/// Returns changes that write to every table.
fn changes(from: usize) -> Vec<Change> {
    let mut changes = vec![Change::ManifestLen(from as u64)];
    for n in from..from + 150 {
        let member = MemberLocation::tar(u32::try_from(n % 3).expect("small"), n as u64 * 100, 100);
        for (version, locations) in [
            ("1.0.0", Locations::of(true, None)),
            ("1.0.1", Locations::of(false, Some(member))),
            ("2.0.0", Locations::of(true, Some(member))),
        ] {
            let sha256 = Sha256::from_bytes([u8::try_from(n % 251).expect("small"); 32]);
            let release = HeldRelease { id: id(n, version), sha256, size: n as u64, locations };
            changes.push(Change::Held { release, source: 0 });
        }
        let (id, seen) = (id(n, "1.0.0"), "2026-01-01T00:00:00.000Z".to_owned());
        changes.push(Change::Failed(FailureRow {
            name: id.name.clone(),
            version: None,
            cksum: None,
            url: "http://h".to_owned(),
            kind: "status".to_owned(),
            error: "no".to_owned(),
            http_status: Some(500),
            attempts: 3,
            first_seen: String::new(),
            last_seen: String::new(),
        }));
        changes.push(Change::RemovedUpstream { id, kind: UpstreamRemoval::Deleted, seen });
        let dir = DirRow { path: format!("c/{n}"), mtime_ns: 1, ctime_ns: 2, listed_ns: 3 };
        changes.push(Change::DirListed(dir));
        changes.push(Change::IndexCache(CacheState::parse(&format!("1 {n} 0")).expect("state")));
    }
    changes
}

fn cursor(tree: &str) -> IndexCursor {
    let (tree, selection) = (tree.to_owned(), String::new());
    IndexCursor { tree, selection, selected: 1, yanked_skipped: 0, bad_files: BTreeSet::new() }
}

/// Makes a catalogue with rows in every table, and closes it.
fn make(path: &Path) {
    let mut catalogue = Catalogue::open(path).expect("open");
    catalogue.apply(&changes(0)).expect("apply");
    catalogue.set_cursor(&cursor("somewhere")).expect("cursor");
}

/// Runs every query, and writes.
fn use_it(path: &Path) -> Result<(), ManifestError> {
    if let Some(reader) = Catalogue::open_read_only(path)? {
        ask(&reader)?;
    }
    let mut catalogue = Catalogue::open(path)?;
    ask(&catalogue)?;
    catalogue.apply(&changes(100))?;
    catalogue.apply(&[Change::BundleGone(1)])?;
    let lost = Change::Lost { id: id(3, "1.0.1"), store: StoreId::BUNDLES };
    catalogue.apply(&[lost, Change::CursorOutdated, Change::BundlesMeasured])?;
    catalogue.set_cursor(&cursor("elsewhere"))?;
    ask(&catalogue)?;
    catalogue.check()
}

fn ask(catalogue: &Catalogue) -> Result<(), ManifestError> {
    for n in 0..150 {
        catalogue.held_of(&id(n, "1.0.0").name)?;
        catalogue.held_release(&id(n, "2.0.0"))?;
        catalogue.ledger_of(&id(n, "1.0.0").name)?;
    }
    catalogue.is_empty()?;
    catalogue.count()?;
    catalogue.totals()?;
    catalogue.dirs(&mut |_| {})?;
    catalogue.loose_between(&("a".to_owned().."z".to_owned()), &mut |_, _, _| {})?;
    for (number, _) in catalogue.bundles()? {
        catalogue.members_of(number, &mut |_, _, _| {})?;
    }
    catalogue.crates(&mut |_| {})?;
    catalogue.releases(&mut |_, _| {})?;
    catalogue.removed_upstream()?;
    catalogue.ledger_crates()?;
    catalogue.failures()?;
    catalogue.cursor()?;
    catalogue.manifest_len()?;
    catalogue.index_cache()?;
    catalogue.search("crate", 0, 10)?;
    Ok(())
}

#[track_caller]
fn assert_damage(path: &Path, what: &str) -> bool {
    match use_it(path) {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.kind(), FaultKind::Integrity, "{what}: {error:?}");
            assert!(error.to_string().contains("can be rebuilt"), "{what}: {error}");
            assert_eq!(error.advice(), Some(Advice::RebuildCatalogue), "{what}: {error}");
            true
        }
    }
}

#[test]
fn what_is_no_catalogue_is_damage() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("c.sqlite");
    make(&path);
    let whole = fs::read(&path).expect("read");
    assert!(!assert_damage(&path, "whole"));
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let mut newer = rusqlite::Connection::open(&path).expect("open");
    newer.pragma_update(None, "user_version", FORMAT + 1).expect("newer");
    newer = {
        drop(newer);
        rusqlite::Connection::open(&path).expect("open")
    };
    drop(newer);
    let newer = fs::read(&path).expect("read");
    for (what, bytes) in [
        ("one byte", b"x".to_vec()),
        ("text", b"no database at all, as anybody can see\n".repeat(9)),
        ("zeros", vec![0; 8192]),
        ("a header alone", whole[..100].to_vec()),
        ("part of a header", whole[..60].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("all but the last byte", whole[..whole.len() - 1].to_vec()),
        ("another magic", changed(0, b"SQLite format 4\0")),
        ("a later way of writing", changed(18, &[3])),
        ("a later way of reading", changed(19, &[3])),
        ("no page size", changed(16, &[0, 0])),
        ("no format, with tables", changed(60, &[0, 0, 0, 0])),
        ("no tables", changed(100, &[0; 400])),
        ("a later format", newer),
    ] {
        fs::write(&path, bytes).expect("write");
        assert!(assert_damage(&path, what), "{what} went unnoticed");
    }
    // The remains of a catalogue whose creation was stopped at once.
    fs::write(&path, b"").expect("write");
    assert!(!assert_damage(&path, "nothing"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_is_damage_or_goes_unnoticed(
        damages in prop::collection::vec(damages::any_kind(), 1..4),
        log: bool,
    ) {
        thread_local! {
            static MADE: (Vec<u8>, Vec<u8>) = {
                let dir = tempfile::tempdir().expect("dir");
                let path = dir.path().join("c.sqlite");
                make(&path);
                let mut open = Catalogue::open(&path).expect("open");
                open.apply(&changes(40)).expect("apply");
                let log = fs::read(dir.path().join("c.sqlite-wal")).expect("log");
                (fs::read(&path).expect("read"), log)
            };
        }
        let (mut bytes, mut wal) = MADE.with(Clone::clone);
        for damage in &damages {
            damage.apply(if log { &mut wal } else { &mut bytes });
        }
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        fs::write(&path, bytes).expect("write");
        if log {
            fs::write(dir.path().join("c.sqlite-wal"), wal).expect("write");
        }
        assert_damage(&path, "damaged");
    }
}
