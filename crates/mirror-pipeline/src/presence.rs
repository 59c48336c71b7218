//! Which files lie in the tree, by listings: a release that nobody speaks of may have been put there
//! by hand or by another program.

use std::collections::{HashSet, VecDeque};

use mirror_store::Store;

use crate::error::PipelineError;

/// Listings kept; crates come in an order in which few directories are in use at a time.
const KEPT: usize = 64;

pub(crate) struct Presence {
    store: Option<Store>,
    recent: VecDeque<(String, HashSet<String>)>,
}

impl Presence {
    pub(crate) fn new(store: Option<Store>) -> Self {
        Self { store, recent: VecDeque::new() }
    }

    /// The names of the files in a directory, which is listed once as long as it stays in use.
    pub(crate) fn of(&mut self, dir: &str) -> Result<&HashSet<String>, PipelineError> {
        // The one in use is the last one.
        let at = match self.recent.iter().rposition(|(name, _)| name == dir) {
            Some(at) => at,
            None => {
                let files = match &self.store {
                    Some(store) => store
                        .list_dir(dir)?
                        .map_or_else(HashSet::new, |listing| listing.files.into_iter().collect()),
                    None => HashSet::new(),
                };
                if self.recent.len() == KEPT {
                    self.recent.pop_front();
                }
                self.recent.push_back((dir.to_owned(), files));
                self.recent.len() - 1
            }
        };
        Ok(&self.recent[at].1)
    }
}
