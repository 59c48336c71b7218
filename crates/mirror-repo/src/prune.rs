//! Prunes what upstream removed, when the operator says so.

use mirror_manifest::{Catalogue, UpstreamRemoval};
use mirror_types::ReleaseId;

use crate::error::RepoError;
use crate::writer::MirrorWriter;

/// Removals at once beyond which they look like a fault upstream, not like housekeeping.
const MASS_RELEASES: u64 = 500;
/// The same as a part of what is held: one in a thousand.
const MASS_PART: u64 = 1_000;
/// Releases removed between two commits.
const BATCH: usize = 500;
/// Releases hidden between two commits.
const HIDDEN_BATCH: usize = 5_000;
/// Held releases from which a mass removal is looked for: in a smaller mirror, a single crate would be one.
const GUARDED_FROM: u64 = 1_000;

/// Returns whether `doomed` of `held` releases are suspiciously many.
#[must_use]
pub fn is_mass(doomed: u64, held: u64) -> bool {
    doomed > MASS_RELEASES || doomed.saturating_mul(MASS_PART) > held
}

/// Splits releases into those outside all bundles and those in one: bundles are never rewritten.
///
/// # Errors
/// When the catalogue cannot be read.
pub fn split_by_bundles(
    catalogue: &Catalogue,
    ids: Vec<ReleaseId>,
) -> Result<(Vec<ReleaseId>, Vec<ReleaseId>), RepoError> {
    if catalogue.bundles()?.is_empty() {
        return Ok((ids, Vec::new()));
    }
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    for id in ids {
        let held = catalogue.held_of(&id.name)?;
        let in_bundle = |version: &str| {
            held.iter().any(|held| held.version == version && held.locations.member().is_some())
        };
        if in_bundle(id.version.as_str()) {
            inside.push(id);
        } else {
            outside.push(id);
        }
    }
    Ok((outside, inside))
}

impl MirrorWriter {
    /// Returns the held releases that upstream removed in one of the ways that `takes` accepts.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn removed_upstream(
        &self,
        takes: impl Fn(UpstreamRemoval) -> bool,
    ) -> Result<Vec<ReleaseId>, RepoError> {
        let removed_upstream = self.catalogue().removed_upstream()?.into_iter();
        Ok(removed_upstream.filter(|(_, kind, _)| takes(*kind)).map(|(id, ..)| id).collect())
    }

    /// Returns whether removing so many of the held releases looks suspicious.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn is_mass(&self, doomed: usize) -> Result<bool, RepoError> {
        Ok(is_mass(doomed as u64, self.catalogue().count()?))
    }

    /// Removes the files of releases, durable on return. After a crash in between, the next run finds the removed files
    /// lost and records that; the entries are resolved, because upstream does not have the releases.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn prune(&mut self, doomed: &[ReleaseId]) -> Result<(), RepoError> {
        for batch in doomed.chunks(BATCH) {
            let mut tx = self.begin();
            batch.iter().for_each(|id| tx.remove(id.clone()));
            self.commit(tx)?;
        }
        Ok(())
    }

    /// Returns whether so many releases disappeared upstream at once that it looks like a fault there.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn is_mass_removal(&self, removed: usize) -> Result<bool, RepoError> {
        let held = self.catalogue().count()?;
        Ok(held > GUARDED_FROM && is_mass(removed as u64, held))
    }

    /// Hides releases that upstream deleted, and stores the index lines that lack them. Durable on return.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn hide(
        &mut self,
        removed: &[ReleaseId],
        lines: Vec<mirror_manifest::PackedLines>,
    ) -> Result<(), RepoError> {
        for chunk in removed.chunks(HIDDEN_BATCH) {
            let mut tx = self.begin();
            chunk.iter().for_each(|id| tx.deleted_upstream(id.clone()));
            self.commit(tx)?;
        }
        let mut tx = self.begin();
        lines.into_iter().for_each(|lines| tx.index_file(lines));
        self.commit(tx).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mass_is_more_than_500_or_one_in_a_thousand() {
        for (doomed, held, mass) in [
            (1, 1_000, false),
            (1, 999, true),
            (500, 2_500_000, false),
            (501, 2_500_000, true),
            (51, 50_000, true),
        ] {
            assert_eq!(is_mass(doomed, held), mass, "{doomed} of {held}");
        }
    }
}
