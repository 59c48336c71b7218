use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::database::{at, check_file, failed, index_cache_in, is_made, state_of};
use super::digest::TextDigest;
use super::state::CacheState;
use super::takeover;
use crate::error::ManifestError;
use crate::sqlite::open_or_freeze;

/// Largest index file: a row with a larger size is damaged.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// An index cache, open for reading. It shows the committed state, even while another process writes. Blocks.
#[derive(Debug)]
pub struct IndexCacheReader {
    db: Connection,
    path: PathBuf,
    /// The state when it was opened.
    state: CacheState,
    frozen: bool,
}

impl IndexCacheReader {
    /// Opens the index cache below `dir`, which is the mirror's `.mirror`; `None` when there is none. Takes no lock.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or of a newer format; [`ManifestError::OldIndexCache`] when the mirror
    /// still has the log of an earlier version.
    pub fn open(dir: &Path) -> Result<Option<Self>, ManifestError> {
        let path = index_cache_in(dir);
        check_file(&path)?;
        if path.try_exists().map_err(at("look at", &path))? {
            let (db, frozen) = open_or_freeze(&path).map_err(failed("open", &path))?;
            if is_made(&db, &path)? {
                let state = state_of(&db).map_err(failed("open", &path))?;
                return Ok(Some(Self { db, path, state, frozen }));
            }
        }
        match takeover::logs(dir)?.pop() {
            // An empty cache would look like a mirror that holds nothing.
            Some(path) => Err(ManifestError::OldIndexCache { path }),
            None => Ok(None),
        }
    }

    /// Opens the same cache again, for another thread.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn another(&self) -> Result<Self, ManifestError> {
        let (db, frozen) = open_or_freeze(&self.path).map_err(failed("open", &self.path))?;
        Ok(Self { db, path: self.path.clone(), state: self.state, frozen })
    }

    /// Returns the state of the cache when it was opened.
    #[must_use]
    pub fn state(&self) -> CacheState {
        self.state
    }

    /// Returns whether this reads the file as it was when it was opened, as
    /// [`Catalogue::is_frozen`](crate::Catalogue::is_frozen).
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Limits the cache of this connection, for one of many.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn keep_little(&self) -> Result<(), ManifestError> {
        const KIB: i64 = 256;
        self.db.pragma_update(None, "cache_size", -KIB).map_err(failed("open", &self.path))
    }

    /// Returns the text of an index file, by its path in the index, as upstream has it. `None` when the cache does not
    /// have it.
    ///
    /// # Errors
    /// When it cannot be read, or differs from what was written.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ManifestError> {
        let query = || {
            let mut statement =
                self.db.prepare_cached("SELECT digest, size, frame FROM index_files WHERE path = ?1")?;
            statement.query_row([path], |row| text_of(row, 0)).optional()
        };
        let bad = || ManifestError::BadLines { path: self.path.clone(), file: path.to_owned() };
        query().map_err(failed("read", &self.path))?.map(|text| text.ok_or_else(bad)).transpose()
    }

    /// Returns the digest of an index file; `None` when the cache does not have it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn digest(&self, path: &str) -> Result<Option<TextDigest>, ManifestError> {
        digest(&self.db, path).map_err(failed("read", &self.path))
    }

    /// Passes every index file in the cache to `visit`, in no order. Reads the whole database.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn digests(&self, visit: &mut dyn FnMut(&str, TextDigest)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare("SELECT path, digest FROM index_files")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?, digest_of(row, 1)?);
            }
            Ok(())
        };
        query().map_err(failed("read", &self.path))
    }

    /// Passes the path of every index file in the cache to `visit`, in order.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn paths(&self, visit: &mut dyn FnMut(&str)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement = self.db.prepare("SELECT path FROM index_files ORDER BY path")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?);
            }
            Ok(())
        };
        query().map_err(failed("read", &self.path))
    }
}

/// Returns the digest of an index file; `None` when the cache does not have it.
pub(super) fn digest(db: &Connection, path: &str) -> rusqlite::Result<Option<TextDigest>> {
    let mut statement = db.prepare_cached("SELECT digest FROM index_files WHERE path = ?1")?;
    statement.query_row([path], |row| digest_of(row, 0)).optional()
}

fn digest_of(row: &Row<'_>, at: usize) -> rusqlite::Result<TextDigest> {
    TextDigest::from_slice(row.get_ref(at)?.as_blob()?).ok_or(rusqlite::Error::InvalidQuery)
}

/// Unpacks the text in the columns `digest`, `size` and `frame`, of which the first is column `at`; `None` when it
/// differs from what was written.
pub(super) fn text_of(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    let (digest, size) = (digest_of(row, at)?, row.get::<_, i64>(at + 1)?);
    let size = usize::try_from(size).ok().filter(|size| *size as u64 <= MAX_BYTES);
    let frame = row.get_ref(at + 2)?.as_blob()?;
    let text = size.and_then(|size| zstd::bulk::decompress(frame, size).ok());
    Ok(text.filter(|text| TextDigest::of(text) == digest))
}
