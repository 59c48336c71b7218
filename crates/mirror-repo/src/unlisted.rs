//! Crates that a mirror offers and Cargo cannot find.

use std::collections::HashSet;

use mirror_types::{CrateName, ReleaseId, index_path};

use crate::error::RepoError;
use crate::listing::Listing;
use crate::mirror::Mirror;

/// Releases or crates without an index line that are named one by one.
const MAX_NAMED: usize = 10;

impl Mirror {
    /// Returns releases that are offered and of which no line of the index is known, so that Cargo cannot find them:
    /// how many, and the first. Reads all index lines; blocks.
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

    /// Returns how many crates are offered of which no index file is kept, and the first: of those Cargo finds
    /// nothing. Looks at every crate, and reads no index file; blocks.
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
