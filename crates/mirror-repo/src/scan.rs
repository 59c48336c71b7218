//! The directory scan: finds missing files of held releases by the times of directories.
//!
//! Removing a file changes its directory, so a directory with the times of its last listing has lost nothing. A listing
//! within two seconds of a change proves nothing about later changes in the same tick of a coarse file system, and is
//! not trusted. The times of a copied mirror are not trusted either, unless the system has a time that a copy cannot
//! have: a copy may have the original's times and not its files. A run records the times of the directories that it
//! wrote to. Where they differ at the next scan, another program was there, or the run was killed: then sizes are
//! compared too, not names alone.

use std::collections::HashSet;
use std::thread;

use mirror_manifest::{Catalogue, Change, DirRow};
use mirror_store::{DirListing, Store};
use mirror_types::{CrateName, ReleaseId, StoreId};

use crate::error::RepoError;
use crate::writer::MirrorWriter;

const TICK_NS: i64 = 2_000_000_000;
/// Fewest directories that are worth a thread.
const MIN_DIRS_PER_THREAD: usize = 64;
/// Releases that one transaction records.
const CHUNK: usize = 5_000;

/// The findings of a scan.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Held releases without a file, or with a file of another size.
    pub(crate) lost: Vec<ReleaseId>,
    /// Directories that were listed; what is lost was removed from the catalogue first.
    listed: Vec<DirRow>,
    /// True if not every directory was looked at.
    stopped: bool,
}

/// Lists the directories that changed since their last listing, and compares them with the catalogue, on all
/// processors. Blocks.
pub(crate) fn scan(
    store: &Store,
    catalogue: &Catalogue,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Scan, RepoError> {
    let trusted = catalogue.has_times_of(&store.identity())?;
    let mut rows = Vec::new();
    catalogue.dirs(&mut |row| rows.push(row))?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = rows.len().div_ceil(threads).max(MIN_DIRS_PER_THREAD);
    if rows.len() <= part {
        return scan_some(store, catalogue, &rows, trusted, is_stopped);
    }
    let parts = rows.chunks(part).map(|rows| Ok((rows, catalogue.another()?)));
    let parts = parts.collect::<Result<Vec<_>, RepoError>>()?;
    let scanned = thread::scope(|scope| {
        let scanning: Vec<_> = parts
            .into_iter()
            .map(|(rows, catalogue)| {
                scope.spawn(move || scan_some(store, &catalogue, rows, trusted, is_stopped))
            })
            .collect();
        let failed = |_| RepoError::Internal("a thread panicked".to_owned());
        scanning.into_iter().map(|part| part.join().map_err(failed)?).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(scanned.into_iter().fold(Scan::default(), Scan::and))
}

/// Returns the held releases without a file, or with a file of another size. Writes nothing; blocks.
///
/// # Errors
/// When tree or catalogue cannot be read.
pub(crate) fn lost_files(
    store: &Store,
    catalogue: &Catalogue,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<ReleaseId>, RepoError> {
    Ok(scan(store, catalogue, is_stopped)?.lost)
}

/// Scans some directories. `trusted`: the recorded times are those of this mirror.
fn scan_some(
    store: &Store,
    catalogue: &Catalogue,
    rows: &[DirRow],
    trusted: bool,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Scan, RepoError> {
    let mut found = Scan::default();
    for row in rows {
        let as_left = is_as_left(store, row)?;
        if as_left && trusted && is_conclusive(row) {
            continue;
        }
        if is_stopped() {
            found.stopped = true;
            break;
        }
        // The listing was too soon after a change, or a run wrote here since.
        found.look(store, catalogue, row.path.clone(), !(as_left && trusted))?;
    }
    Ok(found)
}

/// Returns whether a directory has the recorded times.
fn is_as_left(store: &Store, row: &DirRow) -> Result<bool, RepoError> {
    let times = store.dir_times(&row.path)?;
    Ok(times.is_some_and(|times| times.mtime_ns == row.mtime_ns && times.ctime_ns == row.ctime_ns))
}

/// Returns whether the listing was late enough that no change in the same tick can have been missed.
fn is_conclusive(row: &DirRow) -> bool {
    row.listed_ns.saturating_sub(row.mtime_ns.max(row.ctime_ns)) > TICK_NS
}

impl Scan {
    fn and(mut self, other: Self) -> Self {
        self.lost.extend(other.lost);
        self.listed.extend(other.listed);
        self.stopped |= other.stopped;
        self
    }

    /// Compares one directory with the catalogue; `foreign`: another program changed it.
    fn look(
        &mut self,
        store: &Store,
        catalogue: &Catalogue,
        dir: String,
        foreign: bool,
    ) -> Result<(), RepoError> {
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
}

impl MirrorWriter {
    /// Records the findings of a scan: lost releases go into the failure ledger until they are held again, so that a
    /// crash cannot make a run forget them.
    pub(crate) fn record_scan(&mut self, scan: &Scan) -> Result<(), RepoError> {
        for chunk in scan.lost.chunks(CHUNK) {
            let mut tx = self.begin();
            for id in chunk {
                tx.lost(self, id.clone(), StoreId::LOOSE)?;
            }
            self.commit(tx)?;
        }
        // Only after that: a directory with its recorded times is not listed again.
        let mut tx = self.begin();
        for row in &scan.listed {
            tx.change(Change::DirListed(row.clone()));
        }
        self.commit(tx)?;
        if !scan.stopped {
            let mirror = self.store().identity();
            self.catalogue_mut().set_times_of(Some(&mirror))?;
        }
        Ok(())
    }

    /// Makes the next scan list every directory, and compare the size of every file.
    pub(crate) fn invalidate_dir_times(&mut self) -> Result<(), RepoError> {
        Ok(self.catalogue_mut().set_times_of(None)?)
    }

    /// Records the times of the directories in which the run put files, as it leaves them. The next run lists them, and
    /// sees from the times whether another program was there in between.
    pub(crate) fn record_dir_times(&mut self) -> Result<(), RepoError> {
        let mut tx = self.begin();
        for path in self.take_written() {
            if let Some(times) = self.store().dir_times(&path)? {
                let (mtime_ns, ctime_ns) = (times.mtime_ns, times.ctime_ns);
                tx.change(Change::DirListed(DirRow { path, mtime_ns, ctime_ns, listed_ns: 0 }));
            }
        }
        self.commit(tx).map(drop)
    }
}
