//! Shared code of a mirror's databases: checks of their files before SQLite opens them, and how they are opened.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub(crate) const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Returns the fault of a file that should be an SQLite database. SQLite takes a file of a few bytes for an empty one,
/// and one of a later SQLite for one that cannot be written. An empty file has no fault: a process killed while
/// creating the database leaves one.
pub(crate) fn head_fault(path: &Path) -> io::Result<Option<&'static str>> {
    const HEAD_BYTES: usize = 100;
    const MAGIC: &[u8] = b"SQLite format 3\0";
    /// The bytes that state how the file is written and read: with a rollback journal (1) or a log (2).
    const VERSIONS: Range<usize> = 18..20;
    let mut head = Vec::new();
    let read = mirror_fs::open_to_read(path).and_then(|file| {
        let len = file.metadata()?.len();
        file.take(HEAD_BYTES as u64).read_to_end(&mut head).map(|_| len)
    });
    let len = match read {
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // SQLite rolls back what a process left that was killed while writing, whatever the state of the file.
    if std::fs::symlink_metadata(&files_of(path)[3]).is_ok_and(|journal| journal.len() > 0) {
        return Ok(None);
    }
    let log = std::fs::symlink_metadata(&files_of(path)[1]).map_or(0, |meta| meta.len());
    Ok(match head.len() {
        0 => None,
        HEAD_BYTES if !head.starts_with(MAGIC) => Some("it is no SQLite database"),
        // A log may have the rest.
        HEAD_BYTES if log == 0 && !is_of_pages(len, &head) => Some("it is cut short"),
        HEAD_BYTES if head[VERSIONS].iter().all(|version| matches!(version, 1 | 2)) => None,
        HEAD_BYTES => Some("its header makes no sense"),
        _ => Some("it is cut short"),
    })
}

/// Returns whether a database of this length consists of whole pages of the size in its header.
fn is_of_pages(len: u64, head: &[u8]) -> bool {
    match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        0 => false,
        // The value 1 stands for 65,536, which does not fit.
        1 => len.is_multiple_of(1 << 16),
        size => len.is_multiple_of(size),
    }
}

/// Returns the files of a database: itself, and those that SQLite keeps beside it.
pub(crate) fn files_of(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|suffix| {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        file.into()
    })
}

/// Opens a connection that plans a statement once. Otherwise SQLite plans a statement anew whenever a value is bound that
/// it compared with the condition of a partial index, which takes far longer than most of our statements.
pub(crate) fn connect(path: impl AsRef<Path>, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(db)
}

/// Opens a database to write to it, and makes it where there is none.
pub(crate) fn open_or_make(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::default())
}

pub(crate) fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX))
}

/// Returns the format of the database at `path`; `None` when there is none.
pub(crate) fn format_of(
    path: &Path,
    open: impl FnOnce(&Path) -> rusqlite::Result<Connection>,
) -> rusqlite::Result<Option<i64>> {
    if !path.exists() {
        return Ok(None);
    }
    let db = open(path)?;
    db.pragma_query_value(None, "user_version", |row| row.get(0)).map(Some)
}

/// Opens a database for reading. Where nothing can be written, SQLite cannot keep the marks by which readers and
/// writers cooperate; the file is then read as it is, and the second value is true.
pub(crate) fn open_or_freeze(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    let db = connect(path, READ_ONLY)?;
    let looked = db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    match looked.map_err(|error| (error.sqlite_error_code(), error)) {
        Ok(_) => Ok((db, false)),
        Err((Some(CannotOpen | ReadOnly), error)) => {
            let Some(path) = path.to_str() else { return Err(error) };
            let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let flags = READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Ok((connect(format!("file:{path}?immutable=1"), flags)?, true))
        }
        Err((_, error)) => Err(error),
    }
}

pub(crate) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    open_or_freeze(path).map(|(db, _)| db)
}

/// Returns whether a database has tables.
pub(crate) fn has_tables(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// Checks the structure of a whole database and returns its first fault; reads all of it. `check` is the pragma to use.
pub(crate) fn structure_fault(db: &Connection, check: &str) -> rusqlite::Result<Option<String>> {
    let fault: String = db.query_row(&format!("PRAGMA {check}(1)"), [], |row| row.get(0))?;
    Ok((fault != "ok").then(|| fault.replace('\n', " ")))
}
