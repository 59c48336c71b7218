//! Where the lines of each index file are kept.

use rusqlite::{CachedStatement, OptionalExtension as _, Row, Transaction, params};

use super::columns::{number, size};
use super::database::Catalogue;
use super::state::drop_cursor;
use crate::error::ManifestError;
use crate::lines::{IndexFileRow, TextDigest};

/// Beside the other tables, so that a catalogue of before gets it without being made again.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS index_files (
    path TEXT PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL,
    frame_offset INTEGER NOT NULL, frame_len INTEGER NOT NULL
) WITHOUT ROWID;
";

const COLUMNS: &str = "path, digest, size, frame_offset, frame_len";

/// Where the state keeps which file of lines the rows are of.
const GENERATION: &str = "lines_generation";
/// Where it keeps up to where rows point into it.
const END: &str = "lines_end";
/// Where it keeps how many bytes of it no row points to any more.
const DEAD: &str = "lines_dead";

/// Which file of lines the rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinesState {
    /// The number in its name.
    pub(crate) generation: u64,
    /// Up to where rows point into it, bytes.
    pub(crate) end: u64,
    /// Bytes that no row points to any more.
    pub(crate) dead: u64,
}

impl Catalogue {
    /// Where the lines of an index file are kept, by its path in the index.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn index_file(&self, path: &str) -> Result<Option<IndexFileRow>, ManifestError> {
        let query = || {
            let mut statement =
                self.db.prepare_cached(&format!("SELECT {COLUMNS} FROM index_files WHERE path = ?1"))?;
            statement.query_row([path], row).optional()
        };
        query().map_err(self.fail("read the index files of"))
    }

    /// Gives every kept index file to `visit`, in the order of the paths.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn index_files(&self, visit: &mut dyn FnMut(IndexFileRow)) -> Result<(), ManifestError> {
        let mut query = || {
            let mut statement =
                self.db.prepare(&format!("SELECT {COLUMNS} FROM index_files ORDER BY path"))?;
            let mut rows = statement.query([])?;
            while let Some(found) = rows.next()? {
                visit(row(found)?);
            }
            Ok(())
        };
        query().map_err(self.fail("read the index files of"))
    }

    /// Which file of lines the rows are of; `None` when lines were never kept.
    pub(crate) fn lines_state(&self) -> Result<Option<LinesState>, ManifestError> {
        let number = |key| Ok(self.recall(key)?.and_then(|text| text.parse::<u64>().ok()));
        let Some(generation) = number(GENERATION)? else { return Ok(None) };
        Ok(Some(LinesState { generation, end: number(END)?.unwrap_or(0), dead: number(DEAD)?.unwrap_or(0) }))
    }

    /// Takes over which lines another catalogue of the same mirror knows: no manifest speaks of them.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn take_lines_of(&mut self, other: &Self) -> Result<(), ManifestError> {
        let Some(state) = other.lines_state()? else { return Ok(()) };
        let mut rows = Vec::new();
        other.index_files(&mut |row| rows.push(row))?;
        self.replace_lines(state, &rows, true)
    }

    /// Lets `rows` be all that is kept, in a file of its own. `whole`: nothing is missing that was kept
    /// before; else the next run reads the whole index.
    pub(crate) fn replace_lines(
        &mut self,
        state: LinesState,
        rows: &[IndexFileRow],
        whole: bool,
    ) -> Result<(), ManifestError> {
        let fail = self.fail("write to");
        let mut write = || {
            let to = self.db.transaction()?;
            to.execute("DELETE FROM index_files", [])?;
            if !whole {
                drop_cursor(&to)?;
            }
            let mut kept = KeptLines::new(&to);
            rows.iter().try_for_each(|row| kept.keep(row))?;
            drop(kept);
            remember(&to, state)?;
            to.commit()
        };
        write().map_err(fail)
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<IndexFileRow> {
    let digest = row.get_ref(1)?.as_blob()?.try_into().map_err(|_| rusqlite::Error::InvalidQuery)?;
    Ok(IndexFileRow {
        path: row.get(0)?,
        digest: TextDigest::from_bytes(digest),
        size: size(row.get(2)?),
        frame_offset: size(row.get(3)?),
        frame_len: size(row.get(4)?),
    })
}

/// Keeps rows of one transaction, and counts what they replace.
pub(super) struct KeptLines<'t> {
    to: &'t Transaction<'t>,
    /// Finds a row, and writes one; prepared when the first is kept.
    prepared: Option<(CachedStatement<'t>, CachedStatement<'t>)>,
    end: Option<u64>,
    dead: i64,
    replaced: bool,
}

impl<'t> KeptLines<'t> {
    pub(super) fn new(to: &'t Transaction<'t>) -> Self {
        Self { to, prepared: None, end: None, dead: 0, replaced: false }
    }

    pub(super) fn keep(&mut self, row: &IndexFileRow) -> rusqlite::Result<()> {
        let prepared = match self.prepared.take() {
            Some(prepared) => prepared,
            None => (
                self.to.prepare_cached("SELECT frame_len FROM index_files WHERE path = ?1")?,
                self.to.prepare_cached("INSERT OR REPLACE INTO index_files VALUES (?1, ?2, ?3, ?4, ?5)")?,
            ),
        };
        let (before, keep) = self.prepared.insert(prepared);
        let len = before.query_row([&row.path], |row| row.get::<_, i64>(0)).optional()?;
        self.replaced |= len.is_some();
        self.dead += len.unwrap_or(0);
        self.end = self.end.max(Some(row.frame_offset + row.frame_len));
        keep.execute(params![
            row.path,
            row.digest.as_bytes(),
            number(row.size),
            number(row.frame_offset),
            number(row.frame_len)
        ])
        .map(drop)
    }

    /// Writes down how far the rows go. Returns whether any was replaced: that takes the cursor away, because whose
    /// index the lines are of may go back to the tree that it names.
    pub(super) fn finish(self) -> rusqlite::Result<bool> {
        let Some(end) = self.end else { return Ok(false) };
        let mut add = self.to.prepare_cached(
            "INSERT INTO state VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value",
        )?;
        add.execute(params![DEAD, self.dead])?;
        let mut set = self.to.prepare_cached("INSERT OR REPLACE INTO state VALUES (?1, ?2)")?;
        set.execute(params![END, number(end)])?;
        Ok(self.replaced)
    }
}

fn remember(to: &Transaction<'_>, state: LinesState) -> rusqlite::Result<()> {
    let mut remember = to.prepare_cached("INSERT OR REPLACE INTO state VALUES (?1, ?2)")?;
    for (key, value) in [(GENERATION, state.generation), (END, state.end), (DEAD, state.dead)] {
        remember.execute([key, &value.to_string()])?;
    }
    Ok(())
}
