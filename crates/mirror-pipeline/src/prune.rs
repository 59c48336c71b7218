//! Removes what upstream withdrew, when the operator says so.

use std::collections::HashMap;

use mirror_index::{IndexLimits, IndexSource, parse_file};
use mirror_manifest::{Catalogue, Change, ManifestWriter};
use mirror_store::Store;
use mirror_types::{ReleaseId, index_path};

use crate::error::PipelineError;
use crate::gone::Gone;
use crate::options::Prune;
use crate::outcome::Outcome;

/// More than these at once look like a fault upstream, not like housekeeping.
const MASS: u64 = 500;
/// The same as a part of what is held: one in a thousand.
const MASS_PART: u64 = 1_000;
/// Releases removed between two commits.
const BATCH: usize = 500;

pub(crate) struct Pruner<'a> {
    /// The index that the run went through.
    pub(crate) source: &'a IndexSource,
    pub(crate) store: &'a Store,
    pub(crate) catalogue: &'a mut Catalogue,
    pub(crate) manifest: &'a mut ManifestWriter,
    pub(crate) gone: &'a Gone<'a>,
}

/// Whether so many of what is held are suspicious.
pub(crate) fn is_mass(doomed: u64, held: u64) -> bool {
    doomed > MASS || doomed.saturating_mul(MASS_PART) > held
}

/// Leaves out what bundles hold, which are never written again.
pub(crate) fn outside_bundles(
    catalogue: &Catalogue,
    doomed: Vec<ReleaseId>,
) -> Result<Vec<ReleaseId>, PipelineError> {
    if catalogue.bundles()?.is_empty() {
        return Ok(doomed);
    }
    let mut outside = Vec::new();
    for id in doomed {
        let held = catalogue.held_of(&id.name)?;
        if held.iter().any(|held| held.version == id.version.as_str() && held.locations.member().is_some()) {
            tracing::info!(release = %id, "was withdrawn upstream; it stays, because a bundle holds it");
        } else {
            outside.push(id);
        }
    }
    Ok(outside)
}

impl Pruner<'_> {
    /// Removes what `what` says, after it has been said in the log; refuses a mass of it unless that
    /// is allowed.
    pub(crate) fn prune(
        &mut self,
        what: Prune,
        allow_mass: bool,
        outcome: &mut Outcome,
    ) -> Result<(), PipelineError> {
        let withdrawn = self.catalogue.withdrawn()?;
        let doomed = withdrawn.into_iter().filter(|(_, kind, _)| what.takes(*kind)).map(|(id, ..)| id);
        let doomed = self.still_withdrawn(what, &doomed.collect::<Vec<_>>())?;
        let doomed = outside_bundles(self.catalogue, doomed)?;
        if doomed.is_empty() {
            return Ok(());
        }
        for id in &doomed {
            tracing::info!(release = %id, "is to be pruned: upstream withdrew it");
        }
        if !allow_mass && is_mass(doomed.len() as u64, self.catalogue.count()?) {
            outcome.prune_refused = doomed.len() as u64;
            return Ok(());
        }
        for batch in doomed.chunks(BATCH) {
            self.remove(batch)?;
            outcome.pruned += batch.len() as u64;
        }
        Ok(())
    }

    /// Asks the index itself: the catalogue may have been told by a run that saw another one. Only a
    /// crate without bad lines tells of deletions.
    fn still_withdrawn(&self, what: Prune, doomed: &[ReleaseId]) -> Result<Vec<ReleaseId>, PipelineError> {
        let limits = IndexLimits::default();
        let mut still = Vec::new();
        for of_crate in doomed.chunk_by(|a, b| a.name == b.name) {
            let path = index_path(&of_crate[0].name);
            let (mut whole, mut offered) = (true, HashMap::new());
            if let Some(file) = self.source.file(&path)? {
                let records = parse_file(&path, &file.data, &limits, &mut |_| whole = false);
                offered.extend(records.into_iter().map(|record| (record.id, record.yanked)));
            }
            still.extend(
                of_crate
                    .iter()
                    .filter(|id| match offered.get(id) {
                        Some(yanked) => *yanked && what == Prune::Yanked,
                        None => whole,
                    })
                    .cloned(),
            );
        }
        Ok(still)
    }

    /// Files first, then the record of it, then the catalogue. What a crash leaves in between, the next run finds
    /// to be lost, and writes the record; it is settled because upstream does not have it.
    fn remove(&mut self, batch: &[ReleaseId]) -> Result<(), PipelineError> {
        let layout = self.store.layout();
        self.store.remove(batch.iter().map(|id| layout.path(id)))?;
        let mut records = Vec::with_capacity(batch.len());
        for id in batch {
            self.gone.tell(id, None, None, &mut records);
        }
        let len = self.manifest.append(&records)?;
        self.manifest.sync()?;
        let mut changes: Vec<_> = batch.iter().cloned().map(Change::Removed).collect();
        changes.push(Change::ManifestLen(len));
        Ok(self.catalogue.apply(&changes)?)
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
