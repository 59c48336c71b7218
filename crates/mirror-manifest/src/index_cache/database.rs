use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::state::CacheState;
use crate::error::ManifestError;
use crate::sqlite::{files_of, has_tables, head_fault};

/// The format that this version reads and writes. Version 1 was a log of frames.
pub(super) const FORMAT: i64 = 2;

/// The table has row ids: with frames in the rows, a tree by path would be deep and slow to change.
const INDEX_FILES: &str = "CREATE TABLE index_files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, size INTEGER NOT NULL,
    frame BLOB NOT NULL
)";
/// The table has one row, with the [`CacheState`].
const CACHE: &str =
    "CREATE TABLE cache (id INTEGER NOT NULL, added INTEGER NOT NULL, replaced INTEGER NOT NULL)";

/// Makes the tables of a cache.
pub(super) fn make_tables(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(&format!("{INDEX_FILES}; {CACHE}; INSERT INTO cache VALUES (random(), 0, 0);"))
}

/// Returns the path of a mirror's index cache, given its `.mirror`.
#[must_use]
pub fn index_cache_in(dir: &Path) -> PathBuf {
    dir.join("index.sqlite")
}

/// Turns an error of SQLite into one that names the operation on the cache.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> ManifestError + use<> {
    let path = path.to_owned();
    move |source| ManifestError::IndexCache { doing, path: path.clone(), source }
}

/// Turns an I/O error into one that names the operation on a file.
pub(super) fn at<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> ManifestError + 'a {
    move |source| match mirror_fs::not_plain(&source) {
        Some(_) => ManifestError::Strange { path: path.to_owned() },
        None => ManifestError::IndexCacheFile { doing, path: path.to_owned(), source },
    }
}

/// Refuses links and special files in the place of a cache, and files that are no database.
pub(super) fn check_file(path: &Path) -> Result<(), ManifestError> {
    for file in files_of(path) {
        mirror_fs::is_file(&file).map_err(at("look at", &file))?;
    }
    match head_fault(path).map_err(at("look at", path))? {
        None => Ok(()),
        Some(reason) => Err(damaged(path, reason)),
    }
}

pub(super) fn damaged(path: &Path, reason: &str) -> ManifestError {
    ManifestError::DamagedIndexCache { path: path.to_owned(), reason: reason.to_owned() }
}

/// Returns whether a cache was created; one whose creation was stopped has neither a format nor tables.
pub(super) fn is_made(db: &Connection, path: &Path) -> Result<bool, ManifestError> {
    let fail = failed("open", path);
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&fail)?;
    match found {
        FORMAT if has_our_tables(db).map_err(&fail)? => Ok(true),
        FORMAT => Err(damaged(path, "it has other tables than it should")),
        0 if !has_tables(db).map_err(&fail)? => Ok(false),
        found if found > FORMAT => {
            Err(ManifestError::NewerIndexCache { path: path.to_owned(), found, known: FORMAT })
        }
        _ => Err(damaged(path, "it has tables, and does not say of which format")),
    }
}

/// Returns whether the tables were made by our statements, whose text SQLite keeps.
fn has_our_tables(db: &Connection) -> rusqlite::Result<bool> {
    let mut statement = db.prepare("SELECT count(*) FROM sqlite_schema WHERE sql IN (?1, ?2)")?;
    statement.query_row([INDEX_FILES, CACHE], |row| row.get::<_, i64>(0)).map(|count| count == 2)
}

/// Reads the state of a cache.
pub(super) fn state_of(db: &Connection) -> rusqlite::Result<CacheState> {
    let mut statement = db.prepare_cached("SELECT id, added, replaced FROM cache")?;
    statement
        .query_row([], |row| Ok(CacheState { id: row.get(0)?, added: row.get(1)?, replaced: row.get(2)? }))
}
