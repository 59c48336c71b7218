use mirror_index::{IndexLimits, Selection};

use super::index_cache_filter::IndexCacheFilter;
use crate::error::SyncError;
use crate::plan::{Item, Parsed, Totals, wants_file};

/// Reads index files as a plan wants them.
pub(crate) struct ReadFile {
    pub(super) selection: Selection,
    pub(super) limits: IndexLimits,
    /// `None` when no lines are kept.
    pub(super) lines: Option<IndexCacheFilter>,
}

impl ReadFile {
    /// Returns the item of a file; `None` when nothing in it can be wanted.
    pub(super) fn file(&mut self, path: &str, data: &[u8]) -> Result<Option<Item>, SyncError> {
        match wants_file(&self.selection, path) {
            true => self.whole_file(path, data).map(|file| Some(Item::File(file))),
            false => Ok(None),
        }
    }

    /// Parses a file, wanted or not, and packs its lines unless the mirror has them.
    pub(super) fn whole_file(&mut self, path: &str, data: &[u8]) -> Result<Parsed, SyncError> {
        let lines = match &mut self.lines {
            Some(lines) => lines.pick(path, data)?,
            None => None,
        };
        Ok(Parsed::of(path, data, &self.limits).with(lines))
    }

    pub(super) fn keeps(&self) -> bool {
        self.lines.is_some()
    }

    /// Parses a file without packing its lines.
    pub(super) fn parsed(&self, path: &str, data: &[u8]) -> Parsed {
        Parsed::of(path, data, &self.limits)
    }

    /// Counts what is selected of a file; `None` when nothing can be.
    pub(super) fn totals(&self, path: &str, data: &[u8]) -> Option<Totals> {
        wants_file(&self.selection, path).then(|| self.parsed(path, data).totals(&self.selection))
    }
}

/// Counts what is selected of an index file.
pub(super) fn totals_of(selection: &Selection, path: &str, data: &[u8], limits: &IndexLimits) -> u64 {
    match wants_file(selection, path) {
        true => Parsed::of(path, data, limits).totals(selection).selected,
        false => 0,
    }
}
