use std::path::{Path, PathBuf};

use mirror_types::{CrateName, ReleaseId, Sha256, VersionText};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use crate::error::ManifestError;
use crate::record::ManifestRecord;
use crate::writer::read_from;

const FORMAT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE crates (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE releases (
    crate_id INTEGER NOT NULL REFERENCES crates(id),
    version TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (crate_id, version)
) WITHOUT ROWID;
CREATE TABLE dirs (path TEXT PRIMARY KEY, mtime_ns INTEGER NOT NULL, listed_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE failures (
    crate TEXT NOT NULL, version TEXT NOT NULL, cksum TEXT, url TEXT NOT NULL, kind TEXT NOT NULL,
    error TEXT NOT NULL, http_status INTEGER, attempts INTEGER NOT NULL,
    first_seen TEXT NOT NULL, last_seen TEXT NOT NULL,
    PRIMARY KEY (crate, version)
) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIEW held AS
    SELECT crates.name AS crate, version, lower(hex(sha256)) AS sha256, size
    FROM releases JOIN crates ON crates.id = crate_id;
PRAGMA user_version = 1;
";

/// What a mirror holds, what failed, and how far the manifest was taken in: a SQLite database.
/// An index over the manifest, never the only copy.
#[derive(Debug)]
pub struct Catalogue {
    db: Connection,
    path: PathBuf,
}

/// One held version of a crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Version text.
    pub version: String,
    /// Hash of the held bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// A release that is held from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRelease {
    /// Crate and version.
    pub id: ReleaseId,
    /// Hash of the held bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// A directory whose listing agreed with the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirRow {
    /// Path below the root.
    pub path: String,
    /// Its modification time before it was listed, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When it was listed, nanoseconds since 1970.
    pub listed_ns: i64,
}

/// A line of the failure ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRow {
    /// The crate.
    pub name: CrateName,
    /// Its version; `None` when nothing is known of the whole crate, because its index file could
    /// not be had.
    pub version: Option<VersionText>,
    /// Checksum of the index.
    pub cksum: Option<Sha256>,
    /// Readable URL.
    pub url: String,
    /// Kind of the failure.
    pub kind: String,
    /// One line.
    pub error: String,
    /// Last HTTP status.
    pub http_status: Option<u16>,
    /// Attempts, over all runs.
    pub attempts: u32,
    /// RFC 3339.
    pub first_seen: String,
    /// RFC 3339.
    pub last_seen: String,
}

/// Changes that are applied together, in this order.
#[derive(Debug, Clone, Default)]
pub struct CatalogueBatch {
    /// Rows that have no good file behind them.
    pub forgotten: Vec<ReleaseId>,
    /// Rows that have one.
    pub held: Vec<HeldRelease>,
    /// To be taken out of the ledger.
    pub healed: Vec<ReleaseId>,
    /// Crates whose index file could be read: rows of the whole crate are taken out of the ledger.
    pub healed_crates: Vec<CrateName>,
    /// To be put into the ledger.
    pub failed: Vec<FailureRow>,
    /// Directories whose listing agreed.
    pub dirs: Vec<DirRow>,
    /// Length of the manifest that is taken in with this.
    pub manifest_len: Option<u64>,
}

/// What a replay took in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records that were read.
    pub records: u64,
}

impl Catalogue {
    /// Opens or makes the catalogue.
    ///
    /// # Errors
    /// When SQLite fails or the format is newer.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
        let db = Connection::open(path).map_err(fail)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        // What a power cut takes from the catalogue is taken in again from the manifest.
        db.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
        match found {
            0 => db.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;")).map_err(fail)?,
            FORMAT => {}
            found => {
                return Err(ManifestError::NewerCatalogue { path: path.to_owned(), found, known: FORMAT });
            }
        }
        Ok(Self { db, path: path.to_owned() })
    }

    /// Opens the catalogue for reading; `None` when there is none.
    ///
    /// # Errors
    /// When SQLite fails or the format is newer.
    pub fn open_read_only(path: &Path) -> Result<Option<Self>, ManifestError> {
        if !path.exists() {
            return Ok(None);
        }
        let fail = |source| ManifestError::Catalogue { doing: "open", path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(fail)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
        if found != FORMAT {
            return Err(ManifestError::NewerCatalogue { path: path.to_owned(), found, known: FORMAT });
        }
        Ok(Some(Self { db, path: path.to_owned() }))
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
            let mut statement = self.db.prepare_cached(
                "SELECT version, sha256, size FROM releases
                 WHERE crate_id = (SELECT id FROM crates WHERE name = ?1)",
            )?;
            let rows = statement.query_map([name.as_str()], |row| {
                Ok(Held {
                    version: row.get(0)?,
                    sha256: sha(row.get_ref(1)?.as_blob()?)?,
                    size: size(row.get(2)?),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read what is held from"))
    }

    /// Number of held releases.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn count(&self) -> Result<u64, ManifestError> {
        self.db
            .query_row("SELECT count(*) FROM releases", [], |row| row.get(0))
            .map(size)
            .map_err(self.fail("count what is held in"))
    }

    /// Gives the directories whose listing agreed to `visit`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn dirs(&self, visit: &mut dyn FnMut(DirRow)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare("SELECT path, mtime_ns, listed_ns FROM dirs")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(DirRow { path: row.get(0)?, mtime_ns: row.get(1)?, listed_ns: row.get(2)? });
            }
            Ok(())
        };
        query().map_err(self.fail("read the directories of"))
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

    /// The crates that stand in the ledger as a whole.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn failed_crates(&self) -> Result<Vec<String>, ManifestError> {
        let query = || {
            let mut statement = self.db.prepare("SELECT crate FROM failures WHERE version = ''")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(self.fail("read the failures of"))
    }

    /// A value that an earlier run left behind.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn recall(&self, key: &str) -> Result<Option<String>, ManifestError> {
        self.db
            .query_row("SELECT value FROM state WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(self.fail("read the state of"))
    }

    /// Leaves a value behind for a later run.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn remember(&mut self, key: &str, value: &str) -> Result<(), ManifestError> {
        let written = self.db.execute("INSERT OR REPLACE INTO state VALUES (?1, ?2)", [key, value]);
        written.map(drop).map_err(self.fail("write to"))
    }

    /// How many bytes of the manifest are taken in.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn manifest_len(&self) -> Result<u64, ManifestError> {
        let text = self.recall("manifest_len")?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Applies a batch in one transaction.
    ///
    /// # Errors
    /// When SQLite fails; then nothing of it is applied.
    pub fn apply(&mut self, batch: &CatalogueBatch) -> Result<(), ManifestError> {
        let fail = self.fail("write to");
        let mut write = || {
            let transaction = self.db.transaction()?;
            apply(&transaction, batch)?;
            transaction.commit()
        };
        write().map_err(fail)
    }

    /// Takes in what the manifest says beyond what was taken in before. A manifest shorter than
    /// that is another one, and is read from its beginning.
    ///
    /// # Errors
    /// When the manifest is damaged or SQLite fails.
    pub fn replay(&mut self, manifest: &Path) -> Result<ReplayReport, ManifestError> {
        const CHUNK: usize = 10_000;
        let mut report = ReplayReport::default();
        let known = self.manifest_len()?;
        let len = std::fs::metadata(manifest).map_or(0, |meta| meta.len());
        let mut batch = CatalogueBatch::default();
        read_from::<ManifestError>(manifest, if len < known { 0 } else { known }, &mut |end, record| {
            report.records += 1;
            take(record, &mut batch);
            batch.manifest_len = Some(end);
            if batch.held.len() + batch.failed.len() >= CHUNK {
                self.apply(&std::mem::take(&mut batch))?;
            }
            Ok(())
        })?;
        if batch.manifest_len.is_some() {
            self.apply(&batch)?;
        }
        Ok(report)
    }
}

/// What a record says of what is held. Records of schema 1 prove nothing: their writer kept files
/// with wrong hashes.
fn take(record: ManifestRecord, batch: &mut CatalogueBatch) {
    let Some(Ok(name)) = record.crate_name.as_deref().map(str::parse::<CrateName>) else { return };
    let version = match record.version.as_deref().map(str::parse::<VersionText>) {
        Some(Ok(version)) => Some(version),
        Some(Err(_)) => return,
        None => None,
    };
    if record.schema_version < 2 {
        return;
    }
    if record.ok && record.storage.contains("filesystem") {
        let Some(version) = version else { return };
        let id = ReleaseId { name, version };
        let Some(Ok(sha256)) = record.sha256.as_deref().map(Sha256::from_hex) else { return };
        // A chunk is applied failures last: an earlier failure of the same release must go.
        batch.failed.retain(|row| row.name != id.name || row.version.as_ref() != Some(&id.version));
        batch.healed.push(id.clone());
        batch.held.push(HeldRelease { id, sha256, size: record.size });
    } else if !record.ok {
        batch.failed.push(FailureRow {
            name,
            version,
            cksum: record.cksum.as_deref().and_then(|text| text.parse().ok()),
            url: record.url,
            kind: record.status,
            error: record.error.unwrap_or_default(),
            http_status: record.http_status,
            attempts: record.retries + 1,
            first_seen: record.finished_at.clone(),
            last_seen: record.finished_at,
        });
    }
}

fn apply(to: &Transaction<'_>, batch: &CatalogueBatch) -> rusqlite::Result<()> {
    let mut forget = to.prepare_cached(
        "DELETE FROM releases WHERE crate_id = (SELECT id FROM crates WHERE name = ?1) AND version = ?2",
    )?;
    for id in &batch.forgotten {
        forget.execute([id.name.as_str(), id.version.as_str()])?;
    }
    let mut find = to.prepare_cached("SELECT id FROM crates WHERE name = ?1")?;
    let mut name = to.prepare_cached("INSERT INTO crates (name) VALUES (?1)")?;
    let mut hold = to.prepare_cached(
        "INSERT INTO releases (crate_id, version, sha256, size) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET sha256 = excluded.sha256, size = excluded.size",
    )?;
    for held in &batch.held {
        let known = find.query_row([held.id.name.as_str()], |row| row.get::<_, i64>(0)).optional()?;
        let id = match known {
            Some(id) => id,
            None => name.insert([held.id.name.as_str()])?,
        };
        let size = i64::try_from(held.size).unwrap_or(i64::MAX);
        hold.execute(params![id, held.id.version.as_str(), held.sha256.as_bytes(), size])?;
    }
    let mut heal = to.prepare_cached("DELETE FROM failures WHERE crate = ?1 AND version = ?2")?;
    for id in &batch.healed {
        heal.execute([id.name.as_str(), id.version.as_str()])?;
    }
    let mut heal_crate = to.prepare_cached("DELETE FROM failures WHERE crate = ?1 AND version = ''")?;
    for name in &batch.healed_crates {
        heal_crate.execute([name.as_str()])?;
    }
    let mut fail = to.prepare_cached(
        "INSERT INTO failures VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET cksum = excluded.cksum, url = excluded.url, kind = excluded.kind,
             error = excluded.error, http_status = excluded.http_status,
             attempts = attempts + excluded.attempts, last_seen = excluded.last_seen",
    )?;
    for row in &batch.failed {
        fail.execute(params![
            row.name.as_str(),
            row.version.as_ref().map_or("", VersionText::as_str),
            row.cksum.map(Sha256::to_hex),
            row.url,
            row.kind,
            row.error,
            row.http_status,
            row.attempts,
            row.first_seen,
            row.last_seen
        ])?;
    }
    let mut dir = to.prepare_cached("INSERT OR REPLACE INTO dirs VALUES (?1, ?2, ?3)")?;
    for row in &batch.dirs {
        dir.execute(params![row.path, row.mtime_ns, row.listed_ns])?;
    }
    if let Some(len) = batch.manifest_len {
        to.execute("INSERT OR REPLACE INTO state VALUES ('manifest_len', ?1)", [len.to_string()])?;
    }
    Ok(())
}

fn sha(blob: &[u8]) -> rusqlite::Result<Sha256> {
    Sha256::from_slice(blob).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Blob, error.into())
    })
}

fn size(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManifestWriter;

    fn record(name: &str, ok: bool) -> ManifestRecord {
        ManifestRecord {
            schema_version: 2,
            storage: "filesystem".to_owned(),
            crate_name: Some(name.to_owned()),
            version: Some("1.0.0".to_owned()),
            sha256: ok.then(|| "ab".repeat(32)),
            size: 7,
            ok,
            status: if ok { "downloaded" } else { "error" }.to_owned(),
            ..ManifestRecord::default()
        }
    }

    #[test]
    fn a_deleted_catalogue_is_made_again_from_the_manifest() {
        let dir = tempfile::tempdir().expect("dir");
        let manifest = dir.path().join("m.jsonl");
        let (mut writer, _) = ManifestWriter::open(&manifest).expect("open");
        let end = writer
            .append(&[record("a", false), record("b", true), record("a", true), record("c", false)])
            .expect("append");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        assert_eq!(catalogue.replay(&manifest).expect("replay").records, 4);
        assert_eq!(catalogue.count().expect("count"), 2);
        assert_eq!(catalogue.failures().expect("failures"), [("c".into(), "1.0.0".into(), "error".into())]);
        assert_eq!(catalogue.manifest_len().expect("len"), end);
        assert_eq!(catalogue.replay(&manifest).expect("replay").records, 0);
        let held = catalogue.held_of(&"a".parse().expect("name")).expect("held");
        assert_eq!((held.len(), held[0].size), (1, 7));
    }

    #[test]
    fn records_of_the_source_system_prove_nothing() {
        let mut batch = CatalogueBatch::default();
        take(ManifestRecord { schema_version: 1, ..record("a", true) }, &mut batch);
        assert!(batch.held.is_empty());
    }
}
