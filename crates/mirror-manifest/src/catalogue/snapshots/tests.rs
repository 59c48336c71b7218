use std::collections::BTreeMap;
use std::path::Path;

use mirror_types::{HeldBack, Location, MemberLocation, ReleaseId, Rule, StoreId};

use super::*;
use crate::{Change, FailureRow, HeldBackRelease, HeldRelease, UpstreamRemoval};

fn id(name: &str, version: &str) -> ReleaseId {
    ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
}

fn held(name: &str, version: &str, byte: u8) -> Change {
    let locations = if byte >= 100 { MemberLocation::tar(3, 0, 9).into() } else { Location::LOOSE.into() };
    let sha256 = Sha256::from_bytes([byte; 32]);
    Change::Held { release: HeldRelease { id: id(name, version), sha256, size: 5, locations }, source: 0 }
}

fn held_back(name: &str, version: &str) -> Change {
    let decision = HeldBack { rule: Rule::Deny, until: None, since: None, why: "denied".to_owned() };
    let cksum = Sha256::from_bytes([1; 32]);
    Change::HeldBack(HeldBackRelease { id: id(name, version), cksum, is_held: true, decision })
}

/// Other bytes are wanted, and could not be fetched.
fn failed(name: &str, version: &str, byte: u8) -> Change {
    Change::Failed(FailureRow::once(id(name, version), Some(Sha256::from_bytes([byte; 32]))))
}

/// Other bytes are wanted, and not fetched yet.
fn deferred(name: &str, version: &str, byte: u8) -> Change {
    let decision = HeldBack { rule: Rule::MinPublishAge, until: None, since: None, why: "young".to_owned() };
    let cksum = Sha256::from_bytes([byte; 32]);
    Change::Deferred(HeldBackRelease { id: id(name, version), cksum, is_held: false, decision })
}

fn removed_upstream(name: &str, version: &str, kind: UpstreamRemoval) -> Change {
    Change::RemovedUpstream { id: id(name, version), kind, seen: String::new() }
}

fn open(dir: &Path) -> Catalogue {
    Catalogue::open(&dir.join("c.sqlite")).expect("open")
}

fn shown(rows: Vec<OfferedRow>) -> Vec<String> {
    let shown = |row: OfferedRow| {
        format!("{} {}{}", row.version, row.sha256.as_bytes()[0], if row.yanked { " yanked" } else { "" })
    };
    rows.into_iter().map(shown).collect()
}

fn taken(catalogue: &mut Catalogue, serial: u64) {
    let sha256 = Sha256::from_bytes([9; 32]);
    catalogue.snapshot_taken(SnapshotRow { serial, sha256 }, &[]).expect("taken");
}

fn all_now(catalogue: &Catalogue) -> BTreeMap<&'static str, Vec<String>> {
    ["a", "b", "c"].map(|name| (name, shown(catalogue.offered_rows(name).expect("rows")))).into()
}

fn all_at(catalogue: &Catalogue, serial: u64) -> BTreeMap<&'static str, Vec<String>> {
    ["a", "b", "c"].map(|name| (name, shown(catalogue.offered_rows_at(serial, name).expect("rows")))).into()
}

/// Checks what a server at a snapshot is told, of whole crates and of each release: what was offered, as far as it is held
/// with the same bytes and was not deleted since.
fn tells_what_is_left(now: &Catalogue, dir: &Path, serial: u64, state: &BTreeMap<&'static str, Vec<String>>) {
    let mut then = open(dir);
    then.tell_of_snapshot(now.snapshot(serial).expect("known")).expect("tell");
    for (name, rows) in state {
        let left: Vec<&String> = rows
            .iter()
            .filter(|row| {
                let id = id(name, row.split(' ').next().expect("version"));
                let held = now.held_release(&id).expect("held");
                let bytes = held.map(|held| held.sha256.as_bytes()[0].to_string());
                row.split(' ').nth(1) == bytes.as_deref() && !now.is_deleted(&id).expect("deleted")
            })
            .collect();
        let mut told: Vec<String> = then
            .offered_of(&name.parse().expect("name"))
            .expect("offered")
            .into_iter()
            .map(|Offered { held, yanked }| {
                let yanked = if yanked.expect("known") { " yanked" } else { "" };
                format!("{} {}{yanked}", held.version, held.sha256.as_bytes()[0])
            })
            .collect();
        told.sort();
        assert_eq!(told.iter().collect::<Vec<_>>(), left, "{name} at {serial}");
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            let one = then.offered_release(&id(name, version)).expect("offered");
            let one = one.map(|held| format!("{} {}", held.version, held.sha256.as_bytes()[0]));
            let same = told.iter().find(|row| row.starts_with(version)).map(|row| row.replace(" yanked", ""));
            assert_eq!(one, same, "{name} {version} at {serial}");
        }
    }
}

/// Checks that SQLite plans a statement once, whatever is bound to it: these tables have indexes with conditions.
#[test]
fn statements_are_not_planned_again_for_other_values() {
    let dir = tempfile::tempdir().expect("dir");
    let catalogue = open(dir.path());
    for select in [
        "SELECT count(*) FROM held_back WHERE crate = ?1 AND version = ?2 ORDER BY held",
        "SELECT count(*) FROM offered_before WHERE crate = ?1 AND version = ?2",
    ] {
        let mut statement = catalogue.db.prepare(select).expect("prepare");
        for version in ["1.0.0", "", "2.0.0", ""] {
            statement.query_row(["a", version], |row| row.get::<_, i64>(0)).expect("count");
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0, "{select}");
    }
}

#[test]
fn nothing_is_kept_before_the_first_snapshot() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    catalogue.apply(&[held("a", "1.0.0", 1), held("a", "1.0.0", 2)]).expect("apply");
    assert_eq!(catalogue.crates_changed_since(0).expect("changed"), Vec::<String>::new());
    assert_eq!(catalogue.snapshots().expect("snapshots"), []);
}

#[test]
fn rows_are_what_is_offered_by_the_bytes_of_versions() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    let versions = ["1.10.0", "1.9.0", "1.2.0", "1.0.0", "0.1.0"];
    catalogue.apply(&versions.map(|version| held("a", version, 1))).expect("apply");
    catalogue
        .apply(&[
            removed_upstream("a", "1.9.0", UpstreamRemoval::Yanked),
            removed_upstream("a", "1.0.0", UpstreamRemoval::Deleted),
            held_back("a", "0.1.0"),
        ])
        .expect("apply");
    assert_eq!(all_now(&catalogue)["a"], ["1.10.0 1", "1.2.0 1", "1.9.0 1 yanked"]);
}

/// Every kind of change that alters what is offered keeps what was offered before, once, and a state can be read until its
/// snapshot is forgotten.
#[test]
fn every_change_keeps_what_was_offered_before() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    catalogue.apply(&[held("a", "1.0.0", 1), held("a", "2.0.0", 2), held("b", "1.0.0", 3)]).expect("apply");
    let lost = |name: &str| Change::Lost { id: id(name, "1.0.0"), store: StoreId::LOOSE };
    let nights: Vec<Vec<Change>> = vec![
        vec![],
        vec![held("c", "1.0.0", 4)],
        vec![held("c", "1.0.0", 5)],
        vec![held_back("a", "1.0.0"), held_back("a", "2.0.0")],
        vec![Change::Offered(id("a", "1.0.0")), removed_upstream("a", "1.0.0", UpstreamRemoval::Yanked)],
        vec![Change::Reinstated(id("a", "1.0.0")), removed_upstream("b", "1.0.0", UpstreamRemoval::Deleted)],
        vec![lost("a")],
        vec![held("a", "1.0.0", 1), Change::Reinstated(id("b", "1.0.0"))],
        vec![Change::Removed(id("a", "2.0.0")), held("a", "3.0.0", 103), held("c", "2.0.0", 104)],
        vec![Change::BundleGone(3)],
        vec![held("b", "1.0.0", 7), held("b", "1.0.0", 8)],
        vec![failed("a", "1.0.0", 9), failed("b", "1.0.0", 8)],
        vec![Change::Resolved(id("a", "1.0.0"))],
        vec![deferred("a", "1.0.0", 9), deferred("b", "1.0.0", 8)],
        vec![Change::Undeferred(id("a", "1.0.0")), Change::Dropped(id("b", "1.0.0"))],
    ];
    let mut states = BTreeMap::new();
    for (serial, night) in (1..).zip(&nights) {
        for change in night {
            catalogue.apply(std::slice::from_ref(change)).expect("apply");
        }
        states.insert(serial, all_now(&catalogue));
        taken(&mut catalogue, serial);
        for (serial, state) in &states {
            assert_eq!(&all_at(&catalogue, *serial), state, "snapshot {serial} after {night:?}");
            tells_what_is_left(&catalogue, dir.path(), *serial, state);
        }
    }
    let newest = u64::try_from(nights.len()).expect("small");
    assert_eq!(catalogue.crates_changed_since(newest - 1).expect("changed"), ["a", "b"]);
    assert_eq!(catalogue.crates_changed_since(newest).expect("changed"), Vec::<String>::new());
    // All states differ from the next, so that this test can fail.
    assert!(states.values().zip(states.values().skip(1)).all(|(one, next)| one != next));

    catalogue.keep_snapshots(&[4, 8]).expect("kept");
    let kept: Vec<u64> = catalogue.snapshots().expect("snapshots").iter().map(|row| row.serial).collect();
    assert_eq!(kept, [4, 8, newest]);
    for serial in kept {
        assert_eq!(all_at(&catalogue, serial), states[&serial], "snapshot {serial}");
    }
    catalogue.keep_snapshots(&[]).expect("kept");
    assert_eq!(catalogue.crates_changed_since(0).expect("changed"), Vec::<String>::new());
    assert_eq!(all_at(&catalogue, newest), states[&newest]);
}

#[test]
fn changes_that_alter_nothing_that_is_offered_keep_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    catalogue.apply(&[held("a", "1.0.0", 1)]).expect("apply");
    taken(&mut catalogue, 1);
    catalogue
        .apply(&[
            Change::Seen { id: id("a", "1.0.0"), source: 1 },
            // In one more place.
            held("a", "1.0.0", 1),
            Change::DirWritten("a".to_owned()),
            Change::CursorOutdated,
        ])
        .expect("apply");
    assert_eq!(catalogue.crates_changed_since(0).expect("changed"), Vec::<String>::new());
}

#[test]
fn digests_of_units_are_those_of_the_newest_snapshot() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    let unit = |unit, byte| UnitRow {
        unit,
        sha256: Sha256::from_bytes([byte; 32]),
        crates: 1,
        releases: 2,
        bytes: u64::from(byte),
    };
    let sha256 = Sha256::from_bytes([9; 32]);
    catalogue.snapshot_taken(SnapshotRow { serial: 1, sha256 }, &[unit(0, 1), unit(255, 2)]).expect("taken");
    catalogue.snapshot_taken(SnapshotRow { serial: 2, sha256 }, &[unit(255, 3)]).expect("taken");
    assert_eq!(catalogue.snapshot_units().expect("units"), [unit(0, 1), unit(255, 3)]);
    let reader = Catalogue::open_read_only(&dir.path().join("c.sqlite")).expect("open").expect("some");
    assert_eq!(reader.snapshot_units().expect("units").len(), 2);
}

/// A snapshot that is kept for years keeps the rows that tell of it, and not all that came after it.
#[test]
fn a_pinned_snapshot_keeps_only_its_own_rows() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    let mut states = BTreeMap::new();
    for serial in 1..=20 {
        // One crate changes every night, the other on the third.
        let mut night = vec![held("a", "1.0.0", u8::try_from(serial).expect("small"))];
        night.extend((serial <= 3).then(|| held("b", "1.0.0", 50)));
        night.extend((serial == 3).then(|| held("b", "1.0.0", 51)));
        catalogue.apply(&night).expect("apply");
        states.insert(serial, all_now(&catalogue));
        taken(&mut catalogue, serial);
    }
    catalogue.keep_snapshots(&[2, 18, 19]).expect("kept");
    for serial in [2, 18, 19, 20] {
        assert_eq!(all_at(&catalogue, serial), states[&serial], "snapshot {serial}");
    }
    let marks = "SELECT crate || serial FROM offered_before WHERE version = '' ORDER BY 1";
    let mut query = catalogue.db.prepare(marks).expect("query");
    let marks = query.query_map([], |row| row.get(0)).expect("rows").collect::<Result<Vec<String>, _>>();
    assert_eq!(marks.expect("marks"), ["a19", "a20", "a3", "b3"]);
}

/// A release whose new bytes could not be fetched is missing, although others are held.
#[test]
fn what_could_not_be_fetched_is_named_though_other_bytes_are_held() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    let names = |catalogue: &Catalogue| -> Vec<String> {
        catalogue.unfetched().expect("rows").into_iter().map(|row| row.name.to_string()).collect()
    };
    catalogue
        .apply(&[held("a", "1.0.0", 1), failed("a", "1.0.0", 9), failed("b", "1.0.0", 2)])
        .expect("apply");
    assert_eq!(names(&catalogue), ["a", "b"]);
    catalogue.apply(&[held("a", "1.0.0", 9)]).expect("apply");
    assert_eq!(names(&catalogue), ["b"]);
}

#[test]
fn a_yank_outlives_the_loss_of_the_bytes() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalogue = open(dir.path());
    let lost = Change::Lost { id: id("a", "1.0.0"), store: StoreId::LOOSE };
    catalogue
        .apply(&[held("a", "1.0.0", 1), removed_upstream("a", "1.0.0", UpstreamRemoval::Yanked), lost])
        .expect("apply");
    catalogue.apply(&[held("a", "1.0.0", 1)]).expect("apply");
    assert_eq!(all_now(&catalogue)["a"], ["1.0.0 1 yanked"]);
}
