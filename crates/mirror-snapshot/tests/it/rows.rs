//! Rows: digests of units, and the differences of two states.

use std::collections::BTreeMap;

use mirror_snapshot::{
    Change, Row, RowCounts, RowError, RowReader, RowState, Snapshot, Unit, UnitDigester, UnitDigests,
    compare, diff, digest_rows, digest_unit, row_order,
};
use mirror_types::{FaultKind, Sha256};
use proptest::prelude::*;

use crate::world::{contents, id, ok, row, rows, snapshot, text};

/// Computes the digests as the page describes them: rows of a unit, sorted, as one text.
fn naive(rows: &[Row]) -> UnitDigests {
    let mut digests = UnitDigests::empty();
    for unit in Unit::all() {
        let own: Vec<Row> = rows.iter().filter(|row| Unit::of(&row.id.name) == unit).cloned().collect();
        digests.set(unit, mirror_checksum::Hasher::of(text(&own).as_bytes()));
    }
    digests
}

#[test]
fn units_without_rows_have_the_digest_of_nothing() {
    let (digests, counts) = digest_rows(ok(&[])).unwrap();
    assert_eq!((&digests, counts), (&UnitDigests::empty(), RowCounts::default()));
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(digests.get(Unit::new(7)).to_hex(), nothing);
    assert_eq!(digest_unit(Unit::new(7), ok(&[])).unwrap().0.to_hex(), nothing);
}

#[test]
fn the_order_of_the_units_does_not_matter() {
    let (digests, counts) = digest_rows(ok(&rows())).unwrap();
    assert_eq!(digests, naive(&rows()));
    assert_eq!(counts, RowCounts { crates: 3, releases: 4 });
    // The last rows first, but those of a unit in order.
    let mut digester = UnitDigester::default();
    let all = rows();
    for row in all[2..].iter().chain(&all[..2]) {
        digester.add(row).unwrap();
    }
    assert_eq!(digester.finish(), (digests.clone(), counts));
    // One unit after the other.
    let mut single = UnitDigests::empty();
    let mut sum = RowCounts::default();
    for unit in Unit::all() {
        let own: Vec<Row> = all.iter().filter(|row| Unit::of(&row.id.name) == unit).cloned().collect();
        let (digest, counts) = digest_unit(unit, ok(&own)).unwrap();
        single.set(unit, digest);
        sum += counts;
    }
    assert_eq!((single, sum), (digests, counts));
}

#[test]
fn rows_in_disorder_and_twice_are_refused() {
    let (a, b) = (row("serde", "1.0.0", 1, RowState::Offered), row("serde", "1.0.1", 1, RowState::Offered));
    let error = digest_rows(ok(&[b.clone(), a.clone()])).expect_err("disorder");
    let message =
        "the row of serde 1.0.0 is behind that of serde 1.0.1, but does not follow it in the order of rows";
    assert_eq!((error.to_string().as_str(), error.kind()), (message, FaultKind::Refused));
    let twice = Row { state: RowState::Yanked, ..a.clone() };
    let error = digest_rows(ok(&[a.clone(), twice])).expect_err("twice");
    assert_eq!(error.to_string(), "serde 1.0.0 has two rows");
    let error = digest_unit(Unit::new(0x8c), ok(&[a])).expect_err("other unit");
    assert_eq!(error.to_string(), "the row of serde 1.0.0 is among those of unit 8c, and belongs to another");
    // The same name in another case is in the same unit.
    assert!(digest_unit(Unit::new(0x8b), ok(&[row("Serde", "9.0.0", 1, RowState::Offered), b])).is_ok());
}

#[test]
fn two_snapshots_differ_where_their_rows_do() {
    assert_eq!(compare(&snapshot(), &snapshot()), []);
    let mut all = rows();
    all[3].state = RowState::Offered;
    let mut changed = contents();
    changed.units = digest_rows(ok(&all)).unwrap().0;
    let changed = Snapshot::new(changed).unwrap();
    assert_eq!(compare(&snapshot(), &changed), [Unit::new(0x8b)]);
    assert_ne!(changed.root(), snapshot().root());
}

#[test]
fn every_kind_of_change_is_found() {
    let offered = |name: &str, byte| row(name, "1.0.0", byte, RowState::Offered);
    let yanked = |name: &str, byte| row(name, "1.0.0", byte, RowState::Yanked);
    let old =
        [offered("a", 1), offered("b", 1), offered("c", 1), offered("d", 1), yanked("e", 1), yanked("f", 1)];
    let new =
        [offered("a", 1), offered("b", 2), yanked("c", 1), offered("e", 1), yanked("f", 2), yanked("g", 1)];
    let changes: Result<Vec<_>, RowError> = diff(ok(&old), ok(&new)).collect();
    assert_eq!(
        changes.unwrap(),
        [
            Change::Replaced { old: offered("b", 1), new: offered("b", 2) },
            Change::Yanked(yanked("c", 1)),
            Change::Removed(offered("d", 1)),
            Change::Unyanked(offered("e", 1)),
            Change::Replaced { old: yanked("f", 1), new: yanked("f", 2) },
            Change::Added(yanked("g", 1)),
        ]
    );
}

#[test]
fn a_difference_of_unsorted_or_unreadable_rows_is_refused() {
    let sorted = rows();
    let mut reversed = rows();
    reversed.reverse();
    for (old, new) in [(&sorted, &reversed), (&reversed, &sorted), (&reversed, &reversed)] {
        let mut changes = diff(ok(old), ok(new));
        assert!(changes.any(|change| change.is_err()));
        assert!(changes.next().is_none(), "nothing comes after an error");
    }
    let good = text(&sorted);
    let bad = good.replacen("offered", "0ffered", 1);
    let mut changes = diff(RowReader::new(good.as_bytes()), RowReader::new(bad.as_bytes()));
    let error = changes.find_map(Result::err).unwrap();
    assert!(matches!(error, RowError::BadLine { line: 1, .. }), "{error}");
}

/// Rows of few names and versions, so that two sets of them have much in common.
fn some_rows() -> impl Strategy<Value = Vec<Row>> {
    let one = ("[ab][AB]?", 0..3_u8, 0..2_u8, any::<bool>()).prop_map(|(name, version, byte, yanked)| {
        let state = if yanked { RowState::Yanked } else { RowState::Offered };
        row(&name, &format!("1.0.{version}"), byte, state)
    });
    prop::collection::vec(one, 0..20).prop_map(|mut rows| {
        rows.sort_by(|a, b| row_order(&a.id, &b.id));
        rows.dedup_by(|a, b| a.id == b.id);
        rows
    })
}

proptest! {
    #[test]
    fn digests_are_those_of_the_page(rows in some_rows()) {
        prop_assert_eq!(digest_rows(ok(&rows)).unwrap().0, naive(&rows));
    }

    /// Applying the changes to the old rows makes the new ones.
    #[test]
    fn a_difference_is_complete_and_minimal(old in some_rows(), new in some_rows()) {
        let map = |rows: &[Row]| {
            rows.iter().map(|row| (row.id.clone(), (row.checksum, row.state))).collect::<BTreeMap<_, _>>()
        };
        let mut state = map(&old);
        let mut last = None;
        for change in diff(ok(&old), ok(&new)) {
            let change: Change = change.unwrap();
            prop_assert!(last.is_none_or(|last| row_order(&last, change.id()).is_lt()));
            last = Some(change.id().clone());
            let before = state.get(change.id()).copied();
            match &change {
                Change::Added(row) => prop_assert!(before.is_none() && new.contains(row)),
                Change::Removed(row) => prop_assert_eq!(before, Some((row.checksum, row.state))),
                Change::Replaced { old, new } => prop_assert!(old.checksum != new.checksum),
                Change::Yanked(row) | Change::Unyanked(row) => {
                    prop_assert!(before.is_some_and(|(sum, state)| sum == row.checksum && state != row.state));
                }
            }
            match change {
                Change::Removed(row) => { state.remove(&row.id); }
                Change::Added(row) | Change::Replaced { new: row, .. } | Change::Yanked(row) | Change::Unyanked(row) => {
                    state.insert(row.id, (row.checksum, row.state));
                }
            }
        }
        prop_assert_eq!(state, map(&new));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let read: Result<Vec<Row>, _> = RowReader::new(&bytes[..]).collect();
        if let Ok(rows) = read {
            prop_assert_eq!(text(&rows).into_bytes(), bytes);
        }
    }
}

#[test]
fn a_row_is_what_the_page_says() {
    let row = Row {
        id: id("Inflector", "0.11.4"),
        checksum: Sha256::from_bytes([0xab; 32]),
        state: RowState::Yanked,
    };
    assert_eq!(text(&[row]), format!("Inflector 0.11.4 {} yanked\n", "ab".repeat(32)));
}
