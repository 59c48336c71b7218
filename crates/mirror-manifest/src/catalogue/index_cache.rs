//! The state of the index cache that the cursor belongs to, as the catalogue records it.

use rusqlite::{OptionalExtension as _, Transaction};

use super::database::Catalogue;
use super::state::drop_cursor;
use crate::error::ManifestError;
use crate::index_cache::CacheState;

/// The key of the state of the cache.
const STATE: &str = "index_cache";
/// Selects the rows that earlier versions wrote about their log of index lines.
const LOG: &str = "key IN ('lines_generation', 'lines_end', 'lines_dead')";

impl Catalogue {
    /// Returns the state of the index cache that the catalogue belongs to; `None` when it records none.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn index_cache(&self) -> Result<Option<CacheState>, ManifestError> {
        Ok(self.recall(STATE)?.and_then(|text| CacheState::parse(&text)))
    }

    /// Forgets the log in which earlier versions kept index lines, and with it the cursor. Returns whether there was
    /// one.
    pub(crate) fn forget_log(&mut self) -> Result<bool, ManifestError> {
        let fail = self.fail("write to");
        let mut forget = || {
            let known = format!("SELECT EXISTS (SELECT 1 FROM state WHERE {LOG})");
            if !self.db.query_row(&known, [], |row| row.get(0))? {
                return Ok(false);
            }
            let to = self.db.transaction()?;
            to.execute_batch("DROP TABLE IF EXISTS index_files")?;
            to.execute(&format!("DELETE FROM state WHERE {LOG}"), [])?;
            drop_cursor(&to)?;
            to.commit().map(|()| true)
        };
        forget().map_err(fail)
    }
}

/// Records the state of the cache. Returns whether the cursor has to go: that is so when the cache it was set with is
/// gone or has other lines now, since upstream may go back to the tree that the cursor names.
pub(super) fn remember(to: &Transaction<'_>, state: CacheState) -> rusqlite::Result<bool> {
    let before = to
        .prepare_cached("SELECT value FROM state WHERE key = ?1")?
        .query_row([STATE], |row| row.get::<_, String>(0))
        .optional()?;
    let stands = before.and_then(|text| CacheState::parse(&text)).is_some_and(|before| state.extends(before));
    let mut remember = to.prepare_cached("INSERT OR REPLACE INTO state VALUES (?1, ?2)")?;
    remember.execute([STATE, &state.to_string()])?;
    Ok(!stands)
}
