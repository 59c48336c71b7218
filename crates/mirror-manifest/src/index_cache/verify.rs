//! Checks the whole index cache.

use std::path::Path;
use std::thread;

use rusqlite::Connection;

use super::database::{damaged, failed};
use super::reader::text_of;
use crate::error::ManifestError;
use crate::sqlite::{READ_ONLY, connect, structure_fault};

/// Checks the structure of a cache, and all lines in it on all processors. Returns the rows whose lines are damaged.
pub(super) fn damaged_rows(db: &Connection, path: &Path) -> Result<Vec<i64>, ManifestError> {
    let fail = failed("check", path);
    // Checks the index by path, too: a file that cannot be found by its path is as good as missing.
    if let Some(fault) = structure_fault(db, "integrity_check").map_err(&fail)? {
        return Err(damaged(path, &fault));
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = thread::scope(|scope| {
        let check = |part: usize| scope.spawn(move || check_rows(path, part, threads));
        let handles: Vec<_> = (0..threads).map(check).collect();
        handles.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut found = Vec::new();
    for part in parts {
        let panicked = |_| damaged(path, "a thread that checked it panicked");
        found.extend(part.map_err(panicked)?.map_err(&fail)?);
    }
    Ok(found)
}

/// Returns the damaged ones among every `parts`th row. The check takes far longer than passing over the other rows.
fn check_rows(path: &Path, part: usize, parts: usize) -> rusqlite::Result<Vec<i64>> {
    let db = connect(path, READ_ONLY)?;
    let mut statement =
        db.prepare("SELECT id, digest, size, frame FROM index_files WHERE abs(id % ?1) = ?2")?;
    let mut rows = statement.query([as_number(parts), as_number(part)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        // A value of another type counts as damage, too.
        if !matches!(text_of(row, 1), Ok(Some(_))) {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

fn as_number(of_threads: usize) -> i64 {
    i64::try_from(of_threads).unwrap_or(i64::MAX)
}
