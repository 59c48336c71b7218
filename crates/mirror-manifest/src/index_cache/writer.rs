use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, params};

use super::database::{FORMAT, at, check_file, failed, index_cache_in, is_made, make_tables, state_of};
use super::packer::PackedLines;
use super::state::CacheState;
use super::{reader, takeover, verify};
use crate::catalogue::{Catalogue, Change};
use crate::error::{ManifestError, is_damage};
use crate::sqlite::{files_of, open_or_make};

/// Pages of the write-ahead log that are collected before they go into the database: 16 MiB. With the 4 MiB that are
/// SQLite's default, a first run would spend much of its time waiting for the disk.
const CHECKPOINT_PAGES: u32 = 4_000;

/// Writes to the index cache. One at a time, under the lock of the mirror. Blocks.
#[derive(Debug)]
pub struct IndexCacheWriter {
    db: Connection,
    path: PathBuf,
    state: CacheState,
}

/// The findings of opening the index cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexCacheReport {
    /// True if the cache is gone, damaged, or lacks files that the catalogue recorded: it is filled again.
    pub lost: bool,
    /// Index files with damaged lines: they are read again.
    pub damaged: u64,
}

/// The state in which a cache was found.
#[derive(Debug, Default)]
struct Found {
    /// Logs of an earlier version that were converted.
    taken_over: u64,
    /// Index files with damaged lines, which were removed.
    damaged: u64,
}

impl IndexCacheWriter {
    /// Opens the index cache below `dir`, the mirror's `.mirror`, or creates it: from the log of an earlier version, if
    /// there is one. Sets a damaged cache aside, and begins a new one. Removes the cursor from the catalogue when it
    /// does not belong to this cache, so that the run reads the whole index. `verify`: reads and checks everything, and
    /// removes what is damaged, and then the cursor.
    ///
    /// # Errors
    /// When the disk or SQLite fails, or the cache is of a newer format.
    pub fn open(
        dir: &Path,
        catalogue: &mut Catalogue,
        verify: bool,
    ) -> Result<(Self, IndexCacheReport), ManifestError> {
        let path = index_cache_in(dir);
        let logs = takeover::logs(dir)?;
        let mut report = IndexCacheReport::default();
        let (cache, found) = match Self::open_at(&path, &logs, verify) {
            Err(error) if is_damaged_cache(&error) => {
                report.lost = true;
                set_aside(&path)?;
                Self::open_at(&path, &logs, false)?
            }
            opened => opened?,
        };
        report.damaged = found.damaged;
        let before = catalogue.index_cache()?;
        report.lost |= before.is_some_and(|before| cache.state.lacks_some_of(before));
        // A log beside a cache shows that an earlier version has worked with the mirror since: the cursor goes, too.
        let knew_log = catalogue.forget_log()?;
        report.lost |= knew_log && before.is_none() && found.taken_over == 0;
        if before != Some(cache.state) {
            catalogue.apply(&[Change::IndexCache(cache.state)])?;
        }
        for log in &logs {
            mirror_fs::remove(log).map_err(at("remove", log))?;
        }
        Ok((cache, report))
    }

    fn open_at(path: &Path, logs: &[PathBuf], verify: bool) -> Result<(Self, Found), ManifestError> {
        let fail = failed("open", path);
        check_file(path)?;
        let db = open_or_make(path).map_err(&fail)?;
        let is_made = is_made(&db, path)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(&fail)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(&fail)?;
        let mut found = Found::default();
        if !is_made {
            // The logs are removed next.
            db.pragma_update(None, "synchronous", "FULL").map_err(&fail)?;
            found.taken_over = make(&db, path, logs)?;
            if let Some(dir) = path.parent() {
                mirror_fs::sync_dir(dir).map_err(at("make durable the directory of", dir))?;
            }
        }
        // If a power cut takes something from the cache, the catalogue shows it.
        db.pragma_update(None, "synchronous", "NORMAL").map_err(&fail)?;
        let state = state_of(&db).map_err(&fail)?;
        let mut cache = Self { db, path: path.to_owned(), state };
        if verify {
            found.damaged = cache.remove(&verify::damaged_rows(&cache.db, path)?)?;
        }
        Ok((cache, found))
    }

    /// Stores index files, in one transaction, and returns the new state of the cache, which the caller records in the
    /// catalogue.
    ///
    /// # Errors
    /// When SQLite fails; then nothing is stored.
    pub fn append(&mut self, files: &[PackedLines]) -> Result<CacheState, ManifestError> {
        let mut state = self.state;
        self.change("write to", |to| {
            keep(to, files, &mut state)?;
            remember(to, state)
        })?;
        self.state = state;
        Ok(state)
    }

    /// Returns whether the cache has an index file.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn has(&self, path: &str) -> Result<bool, ManifestError> {
        Ok(reader::digest(&self.db, path).map_err(failed("read", &self.path))?.is_some())
    }

    /// Ends writing: moves the write-ahead log into the database, as far as other readers allow.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn finish(self) -> Result<(), ManifestError> {
        let done = |_: &rusqlite::Row<'_>| Ok(());
        self.db
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], done)
            .map_err(failed("finish writing to", &self.path))
    }

    /// Removes rows; returns their number.
    fn remove(&mut self, rows: &[i64]) -> Result<u64, ManifestError> {
        if rows.is_empty() {
            return Ok(0);
        }
        let mut state = self.state;
        self.change("remove damaged lines from", |to| {
            let mut remove = to.prepare("DELETE FROM index_files WHERE id = ?1")?;
            rows.iter().try_for_each(|row| remove.execute([row]).map(drop))?;
            state.replaced = state.replaced.saturating_add(1);
            remember(to, state)
        })?;
        self.state = state;
        Ok(rows.len() as u64)
    }

    fn change(
        &self,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), ManifestError> {
        let write = || {
            let to = self.db.unchecked_transaction()?;
            change(&to)?;
            to.commit()
        };
        write().map_err(failed(doing, &self.path))
    }
}

/// Makes the tables of a cache and fills them from the logs, in one transaction; returns the number of logs.
fn make(db: &Connection, path: &Path, logs: &[PathBuf]) -> Result<u64, ManifestError> {
    let fail = failed("make", path);
    let to = db.unchecked_transaction().map_err(&fail)?;
    make_tables(&to).map_err(&fail)?;
    let mut state = state_of(&to).map_err(&fail)?;
    let mut taken_over = 0;
    for log in logs {
        let mut keep_one = |lines| keep(&to, &[lines], &mut state).map_err(&fail);
        taken_over += u64::from(takeover::read(log, &mut keep_one)?);
    }
    remember(&to, state).map_err(&fail)?;
    to.pragma_update(None, "user_version", FORMAT).map_err(&fail)?;
    to.commit().map_err(&fail)?;
    Ok(taken_over)
}

fn keep(to: &Transaction<'_>, files: &[PackedLines], state: &mut CacheState) -> rusqlite::Result<()> {
    let mut add = to.prepare_cached(
        "INSERT INTO index_files (path, digest, size, frame) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    let mut replace =
        to.prepare_cached("UPDATE index_files SET digest = ?2, size = ?3, frame = ?4 WHERE path = ?1")?;
    for file in files {
        let size = i64::try_from(file.size).unwrap_or(i64::MAX);
        let row = params![file.path, file.digest.as_bytes(), size, file.frame];
        if add.execute(row)? > 0 {
            state.added = state.added.saturating_add(1);
        } else {
            state.replaced = state.replaced.saturating_add(1);
            replace.execute(row)?;
        }
    }
    Ok(())
}

fn remember(to: &Transaction<'_>, state: CacheState) -> rusqlite::Result<()> {
    let mut remember = to.prepare_cached("UPDATE cache SET added = ?1, replaced = ?2")?;
    remember.execute([state.added, state.replaced]).map(drop)
}

fn is_damaged_cache(error: &ManifestError) -> bool {
    match error {
        ManifestError::DamagedIndexCache { .. } => true,
        ManifestError::IndexCache { source, .. } => is_damage(source),
        _ => false,
    }
}

/// Moves a damaged cache out of the way, replacing one that was set aside before.
fn set_aside(path: &Path) -> Result<(), ManifestError> {
    let [database, beside @ ..] = files_of(path);
    for file in beside {
        mirror_fs::remove(&file).map_err(at("remove", &file))?;
    }
    let aside = path.with_file_name("index.damaged.sqlite");
    mirror_fs::rename(&database, &aside).map_err(at("set aside", &database))
}
