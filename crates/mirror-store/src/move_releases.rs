use std::collections::HashSet;
use std::fs;

use crate::error::{StoreError, at};
use crate::path::below;
use crate::store::Store;

impl Store {
    /// Moves files of this tree to the places of their releases: from a path to a path, both below the root, the second
    /// one free. Removes directories that are empty then. On return, the moves survive a power cut; a crash leaves each
    /// file in one of its two places. Blocks.
    ///
    /// # Errors
    /// When a path is not plain, something is in the way, or the disk refuses.
    pub fn move_releases(&self, moves: &[(String, String)]) -> Result<(), StoreError> {
        let mut touched = HashSet::new();
        for (from, to) in moves {
            self.check_way(from)?;
            self.check_way(to)?;
            let (from_path, to_path) = (below(self.root(), from)?, below(self.root(), to)?);
            if let Some((dir, _)) = to.rsplit_once('/') {
                self.make_dirs(dir, &mut touched)?;
                touched.insert(dir.to_owned());
            }
            self.fs().rename(&from_path, &to_path).map_err(at("move to its place", &from_path))?;
        }
        let emptied: HashSet<&str> =
            moves.iter().filter_map(|(from, _)| from.rsplit_once('/')).map(|at| at.0).collect();
        for dir in emptied {
            let above = dir.match_indices('/').map(|(at, _)| &dir[..at]).chain([dir]).collect::<Vec<_>>();
            // Up to the first that is not empty.
            let _ = above.into_iter().rev().try_for_each(|dir| fs::remove_dir(self.root().join(dir)));
        }
        self.sync_dirs(touched)
    }
}
