//! The files of the tree, by directory listings: a person or another program may have put a release there that no
//! record names.

use std::collections::{HashSet, VecDeque};

use mirror_store::Store;
use mirror_types::{Layout, ReleaseId};

use crate::error::RepoError;

/// Most listings in memory. Crates come in an order that uses few directories at a time.
const MAX_LISTINGS: usize = 64;

/// Finds files in the tree by directory listings, of which it keeps a few.
#[derive(Debug)]
pub struct Presence {
    store: Option<Store>,
    recent: VecDeque<(String, HashSet<String>)>,
}

impl Presence {
    /// Searches a tree; without one, no file is there.
    #[must_use]
    pub fn new(store: Option<Store>) -> Self {
        Self { store, recent: VecDeque::new() }
    }

    /// Returns whether the file of a release is there. Lists its directory once for as long as it stays in use.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn has(&mut self, layout: Layout, id: &ReleaseId) -> Result<bool, RepoError> {
        let Some(store) = &self.store else { return Ok(false) };
        let dir = layout.dir(&id.name);
        // The directory in use is the last one.
        let at = match self.recent.iter().rposition(|(name, _)| *name == dir) {
            Some(at) => at,
            None => {
                let listing = store.list_dir(&dir)?;
                let files = listing.map_or_else(HashSet::new, |listing| listing.files.into_iter().collect());
                if self.recent.len() == MAX_LISTINGS {
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
