//! What is held but gone: noticed by the times of directories.
//!
//! Removing a file changes its directory, so a directory whose times are those recorded with its last
//! listing has lost nothing. A listing taken within two seconds of a change proves nothing about later
//! changes in the same tick of a coarse file system, and is not trusted. Nor are the times of a copied
//! mirror, where the system tells no time that a copy cannot have: a copy may have the original's times
//! and not its files. A run leaves the times of the directories that it wrote to. Where they are others, somebody
//! else was there, or the run was killed: then sizes are compared too, not names alone.

use std::collections::HashSet;
use std::thread;

use mirror_manifest::{Catalogue, Change, DirRow, ManifestWriter};
use mirror_store::{DirListing, Store};
use mirror_types::{CrateName, ReleaseId, StoreId};
use tokio_util::sync::CancellationToken;

use crate::error::PipelineError;
use crate::gone::{Gone, Lost};

const TICK_NS: i64 = 2_000_000_000;
/// Directories that are worth a thread.
const AT_LEAST: usize = 64;

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
/// catalogue, on all processors. Blocks.
pub(crate) fn sweep(
    store: &Store,
    catalogue: &Catalogue,
    cancel: &CancellationToken,
) -> Result<Swept, PipelineError> {
    let here = catalogue.has_times_of(&store.identity())?;
    let mut rows = Vec::new();
    catalogue.dirs(&mut |row| rows.push(row))?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = rows.len().div_ceil(threads).max(AT_LEAST);
    if rows.len() <= part {
        return sweep_some(store, catalogue, &rows, here, cancel);
    }
    let parts = rows.chunks(part).map(|rows| Ok((rows, catalogue.another()?)));
    let parts = parts.collect::<Result<Vec<_>, PipelineError>>()?;
    let swept = thread::scope(|scope| {
        let sweeping: Vec<_> = parts
            .into_iter()
            .map(|(rows, catalogue)| scope.spawn(move || sweep_some(store, &catalogue, rows, here, cancel)))
            .collect();
        let failed = |_| PipelineError::Internal("a thread panicked".to_owned());
        sweeping.into_iter().map(|part| part.join().map_err(failed)?).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(swept.into_iter().fold(Swept::default(), Swept::and))
}

/// `here`: the times are of this mirror.
fn sweep_some(
    store: &Store,
    catalogue: &Catalogue,
    rows: &[DirRow],
    here: bool,
    cancel: &CancellationToken,
) -> Result<Swept, PipelineError> {
    let mut swept = Swept::default();
    for row in rows {
        let as_left = is_as_left(store, row)?;
        if as_left && here && is_settled(row) {
            continue;
        }
        if cancel.is_cancelled() {
            swept.stopped = true;
            break;
        }
        // Listed too soon, or written to by a run and not listed since.
        swept.look(store, catalogue, row.path.clone(), !(as_left && here))?;
    }
    Ok(swept)
}

/// Has the next sweep look at every directory, and at the size of every file.
pub(crate) fn distrust(catalogue: &mut Catalogue) -> Result<(), PipelineError> {
    Ok(catalogue.set_times_of(None)?)
}

/// Notes the times of the directories in which a run put files, as it leaves them. The next run lists them,
/// and knows whether somebody else was there in between.
pub(crate) fn leave(
    store: &Store,
    catalogue: &mut Catalogue,
    touched: impl IntoIterator<Item = String>,
) -> Result<(), PipelineError> {
    let mut changes = Vec::new();
    for path in touched {
        if let Some(times) = store.dir_times(&path)? {
            let (mtime_ns, ctime_ns) = (times.mtime_ns, times.ctime_ns);
            changes.push(Change::DirListed(DirRow { path, mtime_ns, ctime_ns, listed_ns: 0 }));
        }
    }
    Ok(catalogue.apply(&changes)?)
}

/// Whether a directory has the times that the catalogue has of it.
fn is_as_left(store: &Store, row: &DirRow) -> Result<bool, PipelineError> {
    let times = store.dir_times(&row.path)?;
    Ok(times.is_some_and(|times| times.mtime_ns == row.mtime_ns && times.ctime_ns == row.ctime_ns))
}

/// Whether nothing can have happened in the tick in which a directory was listed.
fn is_settled(row: &DirRow) -> bool {
    row.listed_ns.saturating_sub(row.mtime_ns.max(row.ctime_ns)) > TICK_NS
}

impl Swept {
    fn and(mut self, other: Self) -> Self {
        self.lost.extend(other.lost);
        self.listed.extend(other.listed);
        self.stopped |= other.stopped;
        self
    }

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

    /// Has manifest and catalogue know it: the lost are in the failure ledger from now on, until they are held
    /// again, so that no crash can make them be forgotten.
    pub(crate) fn record(
        &self,
        store: &Store,
        catalogue: &mut Catalogue,
        gone: &Gone<'_>,
        manifest: &mut ManifestWriter,
    ) -> Result<(), PipelineError> {
        for id in &self.lost {
            tracing::warn!(release = %id, "was held, but its file is gone or has another size");
        }
        let manifest_len = gone.write(catalogue, &self.lost, Lost::File, manifest)?;
        let lost = |id: &ReleaseId| Change::Lost { id: id.clone(), store: StoreId::LOOSE };
        let mut changes: Vec<_> = self.lost.iter().map(lost).collect();
        changes.extend(self.listed.iter().cloned().map(Change::DirListed));
        changes.extend(manifest_len.map(Change::ManifestLen));
        catalogue.apply(&changes)?;
        if !self.stopped {
            catalogue.set_times_of(Some(&store.identity()))?;
        }
        Ok(())
    }
}
