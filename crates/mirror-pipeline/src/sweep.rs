//! What is held but gone: noticed by the times of directories.
//!
//! Removing a file changes its directory, so a directory whose modification time is the one recorded
//! with its last listing has lost nothing. A listing taken within two seconds of the modification
//! proves nothing about later changes in the same tick of a coarse file system, and is not trusted. Nor
//! are the times of a copied mirror: a copy may have the original's times and not its files.

use std::collections::HashSet;

use mirror_manifest::{Catalogue, CatalogueBatch, DirRow};
use mirror_store::Store;
use mirror_types::{CrateName, ReleaseId};
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;

/// Where the catalogue keeps which mirror the times are of.
const PLACE: &str = "swept_place";
const TICK_NS: i64 = 2_000_000_000;

/// What a sweep found.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Held releases without a file.
    pub(crate) lost: Vec<ReleaseId>,
    /// Directories that were listed, the lost left out of account.
    listed: Vec<DirRow>,
    /// Not every directory was looked at.
    stopped: bool,
}

/// Lists the directories that changed since they were last listed, and compares them with the
/// catalogue. Blocks.
pub(crate) fn sweep(
    store: &Store,
    catalogue: &Catalogue,
    cancel: &CancellationToken,
) -> Result<Swept, PipelineError> {
    let mut changed = Vec::new();
    let mut failed = None;
    let here = catalogue.recall(PLACE)?.is_some_and(|place| place == store.identity());
    catalogue.dirs(&mut |row| match unchanged(store, &row) {
        Ok(true) if here => {}
        Ok(true) => changed.push(row.path),
        Ok(false) => changed.push(row.path),
        Err(error) => failed = Some(error),
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut swept = Swept::default();
    for dir in changed {
        if cancel.is_cancelled() {
            swept.stopped = true;
            break;
        }
        look(store, catalogue, dir, &mut swept)?;
    }
    Ok(swept)
}

fn unchanged(store: &Store, row: &DirRow) -> Result<bool, PipelineError> {
    Ok(row.listed_ns - row.mtime_ns > TICK_NS && store.dir_mtime_ns(&row.path)? == Some(row.mtime_ns))
}

fn look(store: &Store, catalogue: &Catalogue, dir: String, swept: &mut Swept) -> Result<(), PipelineError> {
    let layout = store.layout();
    let listing = store.list_dir(&dir)?;
    let files: HashSet<&str> =
        listing.iter().flat_map(|listing| &listing.files).map(String::as_str).collect();
    catalogue.loose_between(&layout.names_in(&dir), &mut |name, version| {
        if files.contains(format!("{name}-{version}.crate").as_str()) {
            return;
        }
        let Ok(name) = name.parse::<CrateName>() else { return };
        if let (true, Ok(version)) = (layout.dir(&name) == dir, version.parse()) {
            swept.lost.push(ReleaseId { name, version });
        }
    })?;
    if let Some(listing) = listing {
        swept.listed.push(DirRow { path: dir, mtime_ns: listing.mtime_ns, listed_ns: listing.listed_ns });
    }
    Ok(())
}

impl Swept {
    /// Has the catalogue know it: the lost are in the failure ledger from now on, until they are held
    /// again, so that no crash can make them be forgotten.
    pub(crate) fn record(&self, store: &Store, catalogue: &mut Catalogue) -> Result<(), PipelineError> {
        for id in &self.lost {
            tracing::warn!(release = %id, "was held, but its file is gone");
        }
        let batch = CatalogueBatch {
            lost: self.lost.clone(),
            dirs: self.listed.clone(),
            ..CatalogueBatch::default()
        };
        catalogue.apply(&batch)?;
        let place = store.identity();
        if !self.stopped && catalogue.recall(PLACE)?.as_ref() != Some(&place) {
            catalogue.remember(PLACE, &place)?;
        }
        Ok(())
    }
}
