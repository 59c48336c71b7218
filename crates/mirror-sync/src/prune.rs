//! Prunes what upstream removed, when the operator says so and the index confirms it.

use std::collections::HashMap;

use mirror_git::IndexSource;
use mirror_index::{IndexLimits, parse_file};
use mirror_manifest::Catalogue;
use mirror_repo::{MirrorWriter, split_by_bundles};
use mirror_types::{ReleaseId, index_path};

use crate::error::SyncError;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::Prune;
use crate::outcome::Outcome;

/// Leaves out releases in bundles, which are never rewritten.
pub(crate) fn outside_bundles(
    catalogue: &Catalogue,
    doomed: Vec<ReleaseId>,
    observer: &dyn SyncObserver,
) -> Result<Vec<ReleaseId>, SyncError> {
    let (outside, inside) = split_by_bundles(catalogue, doomed)?;
    for id in inside {
        observer.event(SyncEvent::PruneKept(&id));
    }
    Ok(outside)
}

/// Prunes what `what` selects, after reporting it; refuses a mass of releases unless that is allowed. `source` is the
/// index that the run read.
pub(crate) fn prune(
    mirror: &mut MirrorWriter,
    source: &IndexSource,
    what: Prune,
    allow_mass: bool,
    outcome: &mut Outcome,
    observer: &dyn SyncObserver,
) -> Result<(), SyncError> {
    let removed_upstream = mirror.removed_upstream(|kind| what.takes(kind))?;
    let doomed =
        outside_bundles(mirror.catalogue(), still_removed(source, what, &removed_upstream)?, observer)?;
    if doomed.is_empty() {
        return Ok(());
    }
    for id in &doomed {
        observer.event(SyncEvent::Pruning(id));
    }
    if !allow_mass && mirror.is_mass(doomed.len())? {
        outcome.prune_refused = doomed.len() as u64;
        return Ok(());
    }
    mirror.prune(&doomed)?;
    outcome.pruned += doomed.len() as u64;
    Ok(())
}

/// Returns the releases that the index itself still lacks or yanks: the catalogue may come from a run that saw another
/// index. Only a crate without bad lines can show deletions.
fn still_removed(
    source: &IndexSource,
    what: Prune,
    doomed: &[ReleaseId],
) -> Result<Vec<ReleaseId>, SyncError> {
    let limits = IndexLimits::default();
    let mut still = Vec::new();
    for of_crate in doomed.chunk_by(|a, b| a.name == b.name) {
        let path = index_path(&of_crate[0].name);
        let (mut whole, mut offered) = (true, HashMap::new());
        if let Some(file) = source.file(&path)? {
            let records = parse_file(&path, &file.data, &limits, &mut |_| whole = false);
            offered.extend(records.into_iter().map(|record| (record.id, record.yanked)));
        }
        let is_still = |id: &&ReleaseId| match offered.get(id) {
            Some(yanked) => *yanked && what == Prune::Yanked,
            None => whole,
        };
        still.extend(of_crate.iter().filter(is_still).cloned());
    }
    Ok(still)
}
