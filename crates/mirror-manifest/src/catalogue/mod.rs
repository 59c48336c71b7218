mod apply;
mod change;
#[cfg(test)]
mod damage;
mod files;
mod gaps;
mod index_files;
mod replay;
mod rows;
mod serve;
mod sources;
mod state;

use std::ops::Range;
use std::path::{Path, PathBuf};

use mirror_types::{CrateName, Locations, MemberLocation, ReleaseId, Sha256};
use rusqlite::{Connection, OpenFlags};

pub use change::Change;
pub use gaps::{GapRow, UnavailableRow};
pub(crate) use index_files::LinesState;
pub use replay::ReplayReport;
pub use rows::{DirRow, FailureRow, Held, HeldRelease, LOST, Withdrawal};
pub use serve::Census;
pub use state::{BundlesIdentity, IndexCursor};

use crate::error::ManifestError;
use crate::writer::at;
use files::{check_head, check_plain, remove_all};

const FORMAT: i64 = 3;

const SCHEMA: &str = "
CREATE TABLE crates (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE releases (
    crate_id INTEGER NOT NULL REFERENCES crates(id),
    version TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    size INTEGER NOT NULL,
    loose INTEGER NOT NULL,
    bundle INTEGER,
    frame_offset INTEGER,
    frame_len INTEGER,
    seen INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (crate_id, version)
) WITHOUT ROWID;
CREATE TABLE bundles (number INTEGER PRIMARY KEY, end INTEGER NOT NULL);
CREATE TABLE dirs (
    path TEXT PRIMARY KEY, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, listed_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE failures (
    crate TEXT NOT NULL, version TEXT NOT NULL, cksum TEXT, url TEXT NOT NULL, kind TEXT NOT NULL,
    error TEXT NOT NULL, http_status INTEGER, attempts INTEGER NOT NULL,
    first_seen TEXT NOT NULL, last_seen TEXT NOT NULL,
    PRIMARY KEY (crate, version)
) WITHOUT ROWID;
CREATE TABLE withdrawn (
    crate TEXT NOT NULL, version TEXT NOT NULL, kind TEXT NOT NULL, first_seen TEXT NOT NULL,
    PRIMARY KEY (crate, version)
) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIEW held AS
    SELECT crates.name AS crate, version, lower(hex(sha256)) AS sha256, size, loose, bundle, frame_offset, frame_len
    FROM releases JOIN crates ON crates.id = crate_id;
PRAGMA user_version = 3;
";

/// What a mirror holds, what failed, and how far the manifest was taken in: a SQLite database.
/// An index over the manifest, never the only copy.
#[derive(Debug)]
pub struct Catalogue {
    db: Connection,
    path: PathBuf,
    /// Whether the releases say in which sources they were seen: catalogues of before do not.
    has_seen: bool,
    /// Whether it is read as if nobody could change it.
    frozen: bool,
}

impl Catalogue {
    /// Opens or makes the catalogue.
    ///
    /// # Errors
    /// When SQLite fails or the format is newer.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
        check_plain(path)?;
        check_head(path)?;
        let mut kept = Vec::new();
        // Who is killed while it is made leaves something to be taken back, which takes writing.
        if format_of(path, open_to_write).map_err(fail)?.is_some_and(|found| 0 < found && found < FORMAT) {
            // An index over the manifest, which makes it again; but for what upstream withdrew.
            kept = withdrawn_of(path).unwrap_or_default();
            remove_all(path)?;
        }
        let db = Connection::open(path).map_err(fail)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        // What a power cut takes from the catalogue is taken in again from the manifest.
        db.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
        if found <= 0 {
            check_unmade(&db, path)?;
        }
        match found {
            0 => db.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;")).map_err(fail)?,
            FORMAT => {}
            found => {
                return Err(ManifestError::NewerCatalogue { path: path.to_owned(), found, known: FORMAT });
            }
        }
        db.execute_batch(index_files::SCHEMA).map_err(fail)?;
        sources::upgrade(&db).map_err(fail)?;
        let mut catalogue = Self { db, path: path.to_owned(), has_seen: true, frozen: false };
        if !kept.is_empty() {
            let withdrawn = |(id, kind, seen): (ReleaseId, _, _)| Change::Withdrawn { id, kind, seen };
            catalogue.apply(&kept.into_iter().map(withdrawn).collect::<Vec<_>>())?;
        }
        Ok(catalogue)
    }

    /// Opens the catalogue for reading; `None` when there is none.
    ///
    /// # Errors
    /// When SQLite fails or the format is newer.
    pub fn open_read_only(path: &Path) -> Result<Option<Self>, ManifestError> {
        let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
        check_plain(path)?;
        check_head(path)?;
        let Some(found) = format_of(path, open_to_read).map_err(fail)? else { return Ok(None) };
        let (db, frozen) = open_or_freeze(path).map_err(fail)?;
        if found <= 0 {
            check_unmade(&db, path)?;
        }
        if found < FORMAT {
            // The next run that may write makes it again.
            return Ok(None);
        }
        if found > FORMAT {
            return Err(ManifestError::NewerCatalogue { path: path.to_owned(), found, known: FORMAT });
        }
        let has_seen = sources::has_seen(&db).map_err(fail)?;
        Ok(Some(Self { db, path: path.to_owned(), has_seen, frozen }))
    }

    fn fail(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> ManifestError + use<> {
        let path = self.path.clone();
        move |source| ManifestError::Catalogue { doing, path: path.clone(), source }
    }

    /// The held versions of a crate.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn held_of(&self, name: &CrateName) -> Result<Vec<Held>, ManifestError> {
        let query = || {
            let seen = if self.has_seen { "seen" } else { "0" };
            let mut statement = self.db.prepare_cached(&format!(
                "SELECT version, sha256, size, loose, bundle, frame_offset, frame_len, {seen} FROM releases
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1)"
            ))?;
            let rows = statement.query_map([name.as_str()], |row| {
                Ok(Held {
                    version: row.get(0)?,
                    sha256: sha(row.get_ref(1)?.as_blob()?)?,
                    size: size(row.get(2)?),
                    locations: locations(row, 3)?,
                    seen: size(row.get(7)?),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Checks the structure of the whole database; reads all of it.
    ///
    /// # Errors
    /// [`ManifestError::DamagedCatalogue`] with the first fault; when SQLite fails.
    pub fn check(&self) -> Result<(), ManifestError> {
        let fault: String =
            self.db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(self.fail("check"))?;
        if fault == "ok" {
            return Ok(());
        }
        Err(ManifestError::DamagedCatalogue { path: self.path.clone(), reason: fault.replace('\n', " ") })
    }

    /// Whether nothing is held.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn is_empty(&self) -> Result<bool, ManifestError> {
        self.db
            .query_row("SELECT NOT EXISTS (SELECT 1 FROM releases)", [], |row| row.get(0))
            .map_err(self.fail("look into"))
    }

    /// Number of held releases; takes time by their number.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn count(&self) -> Result<u64, ManifestError> {
        self.db
            .query_row("SELECT count(*) FROM releases", [], |row| row.get(0))
            .map(size)
            .map_err(self.fail("count what is held in"))
    }

    /// The same catalogue, opened again for reading on another thread: it shows what is committed.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn another(&self) -> Result<Self, ManifestError> {
        let (db, frozen) = open_or_freeze(&self.path).map_err(self.fail("open"))?;
        Ok(Self { db, path: self.path.clone(), has_seen: self.has_seen, frozen })
    }

    /// Returns whether this reads the file as it was when it was opened, without the marks by which readers and writers
    /// go together, because those cannot be written here. Whoever reads on when the file has changed reads nonsense.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Gives the directories whose listing agreed to `visit`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn dirs(&self, visit: &mut dyn FnMut(DirRow)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare("SELECT path, mtime_ns, ctime_ns, listed_ns FROM dirs")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(DirRow {
                    path: row.get(0)?,
                    mtime_ns: row.get(1)?,
                    ctime_ns: row.get(2)?,
                    listed_ns: row.get(3)?,
                });
            }
            Ok(())
        };
        query().map_err(self.fail("read the directories of"))
    }

    /// Gives the releases that are held as loose files, of the crates from one name up to, not
    /// including, another.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn loose_between(
        &self,
        names: &Range<String>,
        visit: &mut dyn FnMut(&str, &str, u64),
    ) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare_cached(
                "SELECT name, version, size FROM crates JOIN releases ON crate_id = crates.id
                 WHERE name >= ?1 AND name < ?2 AND loose",
            )?;
            let mut rows = statement.query([&names.start, &names.end])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, size(row.get(2)?));
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// The bundles in which something is held: their numbers, and where the last frame ends.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn bundles(&self) -> Result<Vec<(u32, u64)>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare("SELECT number, end FROM bundles ORDER BY number")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, size(row.get(1)?))))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the bundles of"))
    }

    /// Gives what is held in a bundle to `visit`. Reads all rows.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn members_of(
        &self,
        bundle: u32,
        visit: &mut dyn FnMut(ReleaseId, Sha256, MemberLocation),
    ) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare(
                "SELECT name, version, sha256, bundle, frame_offset, frame_len
                 FROM releases JOIN crates ON crate_id = crates.id WHERE bundle = ?1",
            )?;
            let mut rows = statement.query([bundle])?;
            while let Some(row) = rows.next()? {
                let (name, version) = (row.get_ref(0)?.as_str()?.parse(), row.get_ref(1)?.as_str()?.parse());
                if let (Ok(name), Ok(version), Some(member)) = (name, version, member(row, 3)?) {
                    visit(ReleaseId { name, version }, sha(row.get_ref(2)?.as_blob()?)?, member);
                }
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Gives the names of all crates of which something is or was held.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare("SELECT name FROM crates")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?);
            }
            Ok(())
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Held releases that upstream withdrew, with the time when that was first seen.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn withdrawn(&self) -> Result<Vec<(ReleaseId, Withdrawal, String)>, ManifestError> {
        withdrawn(&self.db).map_err(self.fail("read what upstream withdrew from"))
    }

    /// The crates of the failure ledger.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn ledger_crates(&self) -> Result<Vec<String>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare("SELECT DISTINCT crate FROM failures")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// The versions of a crate that stand in the failure ledger, with the kind of the failure; an empty one is
    /// the whole crate.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn ledger_of(&self, name: &CrateName) -> Result<Vec<(String, String)>, ManifestError> {
        let query = || {
            let mut statement =
                self.db.prepare_cached("SELECT version, kind FROM failures WHERE crate = ?1")?;
            let rows = statement.query_map([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// The failure ledger, by crate and version.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn failures(&self) -> Result<Vec<(String, String, String)>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare("SELECT crate, version, kind FROM failures ORDER BY 1, 2")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// Puts a catalogue that was made beside it into the place of another one. Both must be closed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_in_place(made: &Path, path: &Path) -> Result<(), ManifestError> {
        check_plain(path)?;
        // What SQLite left beside the old one must not be taken for the new one's.
        remove_all(path)?;
        mirror_fs::rename(made, path).map_err(at("publish", path))
    }

    /// Removes a catalogue, with what SQLite keeps beside it. It must be closed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(path: &Path) -> Result<(), ManifestError> {
        check_plain(path)?;
        remove_all(path)
    }

    /// Applies changes in their order, in one transaction.
    ///
    /// # Errors
    /// When SQLite fails, or a change names a store that the catalogue does not know; then nothing of it is applied.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), ManifestError> {
        if let Some(store) = changes.iter().find_map(Change::unknown_store) {
            return Err(ManifestError::UnknownStore { path: self.path.clone(), store });
        }
        let fail = self.fail("write to");
        let mut write = || {
            let transaction = self.db.transaction()?;
            apply::apply(&transaction, changes)?;
            transaction.commit()
        };
        write().map_err(fail)
    }
}

const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// The format of the catalogue at `path`; `None` when there is none.
fn format_of(
    path: &Path,
    open: impl FnOnce(&Path) -> rusqlite::Result<Connection>,
) -> rusqlite::Result<Option<i64>> {
    if !path.exists() {
        return Ok(None);
    }
    let db = open(path)?;
    db.pragma_query_value(None, "user_version", |row| row.get(0)).map(Some)
}

/// Where nothing can be written, SQLite cannot keep the marks by which readers and writers go together;
/// then the file is read as it is, and the second value is true.
fn open_or_freeze(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    let db = Connection::open_with_flags(path, READ_ONLY)?;
    let looked = db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    match looked.map_err(|error| (error.sqlite_error_code(), error)) {
        Ok(_) => Ok((db, false)),
        Err((Some(CannotOpen | ReadOnly), error)) => {
            let Some(path) = path.to_str() else { return Err(error) };
            let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let flags = READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Ok((Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?, true))
        }
        Err((_, error)) => Err(error),
    }
}

fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    open_or_freeze(path).map(|(db, _)| db)
}

/// Refuses a database without a format that has tables nevertheless: both are written at once.
fn check_unmade(db: &Connection, path: &Path) -> Result<(), ManifestError> {
    let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    if tables == 0 {
        return Ok(());
    }
    Err(ManifestError::DamagedCatalogue {
        path: path.to_owned(),
        reason: "it has tables, and does not say of which format".to_owned(),
    })
}

fn withdrawn(db: &Connection) -> rusqlite::Result<Vec<(ReleaseId, Withdrawal, String)>> {
    let mut statement = db.prepare(
        "SELECT crate, withdrawn.version, kind, first_seen FROM withdrawn
         JOIN crates ON name = crate JOIN releases ON crate_id = crates.id AND releases.version = withdrawn.version
         ORDER BY 1, 2",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, version) = (row.get_ref(0)?.as_str()?.parse(), row.get_ref(1)?.as_str()?.parse());
        let (Ok(name), Ok(version)) = (name, version) else { continue };
        let kind = Withdrawal::read(row.get_ref(2)?.as_str()?);
        found.push((ReleaseId { name, version }, kind, row.get(3)?));
    }
    Ok(found)
}

/// What an older catalogue says that no manifest does.
fn withdrawn_of(path: &Path) -> rusqlite::Result<Vec<(ReleaseId, Withdrawal, String)>> {
    withdrawn(&Connection::open_with_flags(path, READ_ONLY)?)
}

fn sha(blob: &[u8]) -> rusqlite::Result<Sha256> {
    Sha256::from_slice(blob).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Blob, error.into())
    })
}

/// Reads the columns `loose`, `bundle`, `frame_offset` and `frame_len`, of which the first is column `at`.
fn locations(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Locations> {
    Ok(Locations::of(row.get(at)?, member(row, at + 1)?))
}

/// Reads the last three of them.
fn member(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<MemberLocation>> {
    let (bundle, offset, len) = (row.get(at)?, row.get(at + 1)?, row.get(at + 2)?);
    let place = |bundle: Option<u32>, offset: Option<i64>, len: Option<i64>| {
        Some(MemberLocation::tar(bundle?, size(offset?), size(len?)))
    };
    Ok(place(bundle, offset, len))
}

fn size(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
