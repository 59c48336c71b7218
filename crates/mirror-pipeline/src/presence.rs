//! Whether what the catalogue calls held is still on disk, without a look at every file: a
//! directory whose modification time is the one recorded with its last agreeing listing has lost
//! nothing. A listing taken within two seconds of the modification proves nothing about later
//! changes in the same tick, and is not trusted.

use std::collections::{HashMap, HashSet, VecDeque};

use mirror_manifest::{Catalogue, DirRow};
use mirror_store::Store;

use crate::error::PipelineError;

const TICK_NS: i64 = 2_000_000_000;
/// Listings kept; crates come in an order in which few directories are in use at a time.
const KEPT: usize = 64;

/// What is known of one directory.
pub(crate) enum DirState {
    /// Unchanged since a listing that agreed with the catalogue.
    Unchanged,
    /// The names of the files in it.
    Listed(HashSet<String>),
}

pub(crate) struct Presence {
    store: Option<Store>,
    known: HashMap<String, (i64, i64)>,
    recent: VecDeque<(String, DirState)>,
    listed: HashMap<String, (i64, i64)>,
}

impl Presence {
    pub(crate) fn new(store: Option<Store>, catalogue: Option<&Catalogue>) -> Result<Self, PipelineError> {
        let mut known = HashMap::new();
        if let Some(catalogue) = catalogue {
            catalogue.dirs(&mut |row| {
                known.insert(row.path, (row.mtime_ns, row.listed_ns));
            })?;
        }
        Ok(Self { store, known, recent: VecDeque::new(), listed: HashMap::new() })
    }

    /// The state of a directory, looked at once as long as it stays in use.
    pub(crate) fn of(&mut self, dir: &str) -> Result<&DirState, PipelineError> {
        // The one in use is the last one.
        let at = match self.recent.iter().rposition(|(name, _)| name == dir) {
            Some(at) => at,
            None => {
                let state = self.look(dir)?;
                if self.recent.len() == KEPT {
                    self.recent.pop_front();
                }
                self.recent.push_back((dir.to_owned(), state));
                self.recent.len() - 1
            }
        };
        Ok(&self.recent[at].1)
    }

    fn look(&mut self, dir: &str) -> Result<DirState, PipelineError> {
        let Some(store) = &self.store else { return Ok(DirState::Listed(HashSet::new())) };
        if let Some(&(mtime, listed)) = self.known.get(dir)
            && listed - mtime > TICK_NS
            && store.dir_mtime_ns(dir)? == Some(mtime)
        {
            return Ok(DirState::Unchanged);
        }
        let Some(listing) = store.list_dir(dir)? else { return Ok(DirState::Listed(HashSet::new())) };
        self.listed.entry(dir.to_owned()).or_insert((listing.mtime_ns, listing.listed_ns));
        Ok(DirState::Listed(listing.files.into_iter().collect()))
    }

    /// The directories that were listed; to be recorded once every crate in them was compared.
    pub(crate) fn into_rows(self) -> Vec<DirRow> {
        self.listed
            .into_iter()
            .map(|(path, (mtime_ns, listed_ns))| DirRow { path, mtime_ns, listed_ns })
            .collect()
    }
}
