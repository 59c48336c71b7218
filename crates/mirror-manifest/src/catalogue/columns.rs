//! Conversions between values and columns.

use mirror_types::{Locations, MemberLocation, Sha256};

pub(super) fn sha(blob: &[u8]) -> rusqlite::Result<Sha256> {
    Sha256::from_slice(blob).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Blob, error.into())
    })
}

/// Reads the columns `loose`, `bundle`, `frame_offset` and `frame_len`, of which the first is column `at`.
pub(super) fn locations(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Locations> {
    Ok(Locations::of(row.get(at)?, member(row, at + 1)?))
}

/// Reads the last three of these columns.
pub(super) fn member(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<MemberLocation>> {
    let (bundle, offset, len) = (row.get(at)?, row.get(at + 1)?, row.get(at + 2)?);
    let place = |bundle: Option<u32>, offset: Option<i64>, len: Option<i64>| {
        Some(MemberLocation::tar(bundle?, size(offset?), size(len?)))
    };
    Ok(place(bundle, offset, len))
}

pub(super) fn size(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Returns a number in the form for SQLite.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
