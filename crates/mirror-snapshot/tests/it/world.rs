//! Rows and snapshots to test with.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mirror_snapshot::{
    Contents, Counts, Gap, GapKind, Row, RowError, RowState, Snapshot, digest_rows, row_order,
};
use mirror_types::{MirrorId, ReleaseId, Sha256};

/// 2026-11-27T03:00:00Z.
pub(crate) const CREATED: u64 = 1_795_748_400;
pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn mirror() -> MirrorId {
    "0fa00102030405060708090a0b0c0d0e".parse().unwrap()
}

pub(crate) fn id(name: &str, version: &str) -> ReleaseId {
    ReleaseId { name: name.parse().unwrap(), version: version.parse().unwrap() }
}

pub(crate) fn row(name: &str, version: &str, byte: u8, state: RowState) -> Row {
    Row { id: id(name, version), checksum: Sha256::from_bytes([byte; 32]), state }
}

/// Rows in their order.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("serde", "1.0.0", 1, RowState::Offered),
        row("serde", "1.0.1", 2, RowState::Yanked),
        row("Inflector", "0.11.4", 3, RowState::Offered),
        row("a-foo", "0.1.0+build.1", 4, RowState::Offered),
    ];
    rows.sort_by(|a, b| row_order(&a.id, &b.id));
    rows
}

pub(crate) fn ok(rows: &[Row]) -> impl Iterator<Item = Result<Row, RowError>> + '_ {
    rows.iter().cloned().map(Ok)
}

pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    rows.iter().for_each(|row| row.push_line(&mut text));
    text
}

/// The contents of a snapshot of [`rows`].
pub(crate) fn contents() -> Contents {
    let (units, counts) = digest_rows(ok(&rows())).unwrap();
    let mut contents = Contents::new(mirror(), at(CREATED), at(CREATED + 90 * DAY), units);
    contents.counts = Counts { crates: counts.crates, releases: counts.releases, bytes: 123_456 };
    contents.gaps = vec![
        Gap::new(id("vanished", "0.3.0"), GapKind::Acknowledged, "upstream lost the file"),
        Gap::new(id("broken", "1.0.0"), GapKind::Failed, "404 \"Not Found\""),
    ];
    contents
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot::new(contents()).unwrap()
}

/// The snapshot with this serial, which names the one before.
pub(crate) fn successor(before: &Snapshot) -> Snapshot {
    let mut contents = contents();
    contents.serial = before.serial() + 1;
    contents.previous = Some(before.digest());
    contents.created = before.contents().created + Duration::from_secs(DAY);
    contents.expires = contents.created + Duration::from_secs(90 * DAY);
    Snapshot::new(contents).unwrap()
}
