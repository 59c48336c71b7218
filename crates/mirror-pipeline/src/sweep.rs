//! What is held but gone: noticed by the times of directories.
//!
//! Removing a file changes its directory, so a directory whose times are those recorded with its last
//! listing has lost nothing. A listing taken within two seconds of a change proves nothing about later
//! changes in the same tick of a coarse file system, and is not trusted. Nor are the times of a copied
//! mirror, where the system tells no time that a copy cannot have: a copy may have the original's times
//! and not its files. A run leaves the times of the directories that it wrote to. Where they are others, somebody
//! else was there, or the run was killed: then sizes are compared too, not names alone.

use std::collections::HashSet;

use mirror_manifest::{Catalogue, CatalogueBatch, DirRow};
use mirror_store::{DirListing, Store};
use mirror_types::{CrateName, ReleaseId};
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;

/// Where the catalogue keeps which mirror the times are of.
const PLACE: &str = "swept_place";
const TICK_NS: i64 = 2_000_000_000;

/// What a sweep found.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Held releases without a file, or with a file of another size.
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
    let here = catalogue.recall(PLACE)?.is_none_or(|place| place == store.identity());
    catalogue.dirs(&mut |row| match is_as_left(store, &row) {
        Ok(true) if here && is_settled(&row) => {}
        // Listed too soon, or written to by a run and not listed since.
        Ok(as_left) => changed.push((row.path, !(as_left && here))),
        Err(error) => failed = Some(error),
    })?;
    failed.map_or(Ok(()), Err)?;
    let mut swept = Swept::default();
    for (dir, foreign) in changed {
        if cancel.is_cancelled() {
            swept.stopped = true;
            break;
        }
        swept.look(store, catalogue, dir, foreign)?;
    }
    Ok(swept)
}

/// Has the next sweep look at every directory, and at the size of every file.
pub(crate) fn distrust(catalogue: &mut Catalogue) -> Result<(), PipelineError> {
    Ok(catalogue.remember(PLACE, "")?)
}

/// Notes the times of the directories in which a run put files, as it leaves them. The next run lists them,
/// and knows whether somebody else was there in between.
pub(crate) fn leave(
    store: &Store,
    catalogue: &mut Catalogue,
    touched: impl IntoIterator<Item = String>,
) -> Result<(), PipelineError> {
    let mut batch = CatalogueBatch::default();
    for path in touched {
        if let Some(times) = store.dir_times(&path)? {
            let (mtime_ns, ctime_ns) = (times.mtime_ns, times.ctime_ns);
            batch.dirs.push(DirRow { path, mtime_ns, ctime_ns, listed_ns: 0 });
        }
    }
    Ok(catalogue.apply(&batch)?)
}

/// Whether a directory has the times that the catalogue has of it.
fn is_as_left(store: &Store, row: &DirRow) -> Result<bool, PipelineError> {
    let times = store.dir_times(&row.path)?;
    Ok(times.is_some_and(|times| times.mtime_ns == row.mtime_ns && times.ctime_ns == row.ctime_ns))
}

/// Whether nothing can have happened in the tick in which a directory was listed.
fn is_settled(row: &DirRow) -> bool {
    row.listed_ns - row.mtime_ns.max(row.ctime_ns) > TICK_NS
}

impl Swept {
    /// Compares one directory with the catalogue; `foreign`: somebody else changed it.
    fn look(
        &mut self,
        store: &Store,
        catalogue: &Catalogue,
        dir: String,
        foreign: bool,
    ) -> Result<(), PipelineError> {
        let layout = store.layout();
        let listing = store.list_dir(&dir)?;
        let files: HashSet<&str> =
            listing.iter().flat_map(|listing| &listing.files).map(String::as_str).collect();
        let mut failed = None;
        catalogue.loose_between(&layout.names_in(&dir), &mut |name, version, size| {
            let (Ok(name), Ok(version)) = (name.parse::<CrateName>(), version.parse()) else { return };
            let id = ReleaseId { name, version };
            if layout.dir(&id.name) != dir {
                return;
            }
            let is_there = match files.contains(id.file_name().as_str()) {
                true if foreign => store.size(&layout.path(&id)).map(|found| found == Some(size)),
                found => Ok(found),
            };
            match is_there {
                Ok(true) => {}
                Ok(false) => self.lost.push(id),
                Err(error) => failed = Some(error),
            }
        })?;
        failed.map_or(Ok(()), Err)?;
        if let Some(DirListing { times, listed_ns, .. }) = listing {
            let (mtime_ns, ctime_ns) = (times.mtime_ns, times.ctime_ns);
            self.listed.push(DirRow { path: dir, mtime_ns, ctime_ns, listed_ns });
        }
        Ok(())
    }

    /// Has the catalogue know it: the lost are in the failure ledger from now on, until they are held
    /// again, so that no crash can make them be forgotten.
    pub(crate) fn record(&self, store: &Store, catalogue: &mut Catalogue) -> Result<(), PipelineError> {
        for id in &self.lost {
            tracing::warn!(release = %id, "was held, but its file is gone or has another size");
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
