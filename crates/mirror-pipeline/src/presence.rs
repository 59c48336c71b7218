//! Which files lie in the tree, by listings: a release that nobody speaks of may have been put there
//! by hand or by another program.

use std::collections::{HashSet, VecDeque};

use mirror_store::Store;
use mirror_types::{Layout, ReleaseId};

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

    /// Whether the file of a release is there. Its directory is listed once as long as it stays in use.
    pub(crate) fn has(&mut self, layout: Layout, id: &ReleaseId) -> Result<bool, PipelineError> {
        let Some(store) = &self.store else { return Ok(false) };
        let dir = layout.dir(&id.name);
        // The one in use is the last one.
        let at = match self.recent.iter().rposition(|(name, _)| *name == dir) {
            Some(at) => at,
            None => {
                let listing = store.list_dir(&dir)?;
                let files = listing.map_or_else(HashSet::new, |listing| listing.files.into_iter().collect());
                if self.recent.len() == KEPT {
                    self.recent.pop_front();
                }
                self.recent.push_back((dir, files));
                self.recent.len() - 1
            }
        };
        let files = &self.recent[at].1;
        Ok(!files.is_empty() && files.contains(&id.file_name()))
    }
}
