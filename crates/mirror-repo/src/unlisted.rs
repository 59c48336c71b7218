//! Finds crates that a mirror offers and Cargo cannot find.

use std::collections::HashSet;

use mirror_types::{CrateName, ReleaseId, index_path};

use crate::error::RepoError;
use crate::listing::Listing;
use crate::mirror::Mirror;

/// Most releases or crates without an index line that are named one by one.
const MAX_NAMED: usize = 10;

impl Mirror {
    /// Returns the number of offered releases without a line in the index cache, which Cargo cannot find, and the first
    /// of them. Reads all index lines; blocks.
    ///
    /// # Errors
    /// When the catalogue or the index lines cannot be read.
    pub fn unlisted(&self) -> Result<(u64, Vec<ReleaseId>), RepoError> {
        let mut listed = HashSet::new();
        for path in self.index_paths()? {
            let listing = self.listing_with(&path, &mut |_, _| Ok::<_, RepoError>(true))?;
            listed.extend(listing.iter().flat_map(Listing::releases));
        }
        let (mut count, mut first) = (0, Vec::new());
        self.ask(|catalogue| {
            Ok(catalogue.releases(&mut |name, version| {
                let (Ok(name), Ok(version)) = (name.parse(), version.parse()) else { return };
                let id = ReleaseId { name, version };
                if !listed.contains(&id) {
                    count += 1;
                    if first.len() < MAX_NAMED {
                        first.push(id);
                    }
                }
            })?)
        })?;
        Ok((count, first))
    }

    /// Returns the number of offered crates without an index file in the cache, of which Cargo finds nothing, and the
    /// first of them. Looks at every crate, and reads no index file; blocks.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn unlisted_crates(&self) -> Result<(u64, Vec<CrateName>), RepoError> {
        let paths: HashSet<String> = self.index_paths()?.into_iter().collect();
        let (mut count, mut first) = (0, Vec::<CrateName>::new());
        self.ask(|catalogue| {
            let mut last = String::new();
            Ok(catalogue.releases(&mut |name, _| {
                if name == last {
                    return;
                }
                name.clone_into(&mut last);
                if let Ok(name) = name.parse::<CrateName>()
                    && !paths.contains(&index_path(&name))
                {
                    count += 1;
                    if first.len() < MAX_NAMED {
                        first.push(name);
                    }
                }
            })?)
        })?;
        Ok((count, first))
    }
}
