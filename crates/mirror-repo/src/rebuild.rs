//! Rebuilds the catalogue from the manifest, the bundles and the files.

use std::time::{Duration, Instant, SystemTime};

use mirror_manifest::{Catalogue, Change, IndexCacheWriter, ManifestError};
use mirror_store::{Store, TreeForm};
use mirror_types::{ExitStatus, KEPT_FAILURES, ReleaseId, Sha256};

use crate::bundle_lines;
use crate::error::RepoError;
use crate::open::{LockedMirror, OpenOptions, OpenReport};
use crate::scan::scan;
use crate::writer::MirrorWriter;

/// Files adopted between two commits.
const CHUNK: usize = 2_000;

/// The contents of a rebuilt catalogue.
#[derive(Debug, Clone, Default)]
pub struct RebuildOutcome {
    /// Records of the manifest.
    pub records: u64,
    /// Bundles that were found.
    pub bundles: u64,
    /// Members that bundles list and the manifest does not.
    pub members: u64,
    /// Files without a record: hashed, and held with that hash until the index contradicts it.
    pub adopted: u64,
    /// Of these, files that were in the layout of another tool, and were moved to their place.
    pub moved: u64,
    /// Files outside the place of their release, where another file is already: left as they are.
    pub beside: u64,
    /// Files called `.crate` in places where no release belongs: left as they are.
    pub unplaced: u64,
    /// The first of both, as paths below the root.
    pub first_left: Vec<String>,
    /// Releases whose record names a bundle that does not have them.
    pub lost_members: u64,
    /// Releases with a record, but without a file of that size, and in no bundle.
    pub lost: Vec<ReleaseId>,
    /// Bundles that are named by records and missing.
    pub missing_bundles: Vec<String>,
    /// Index files whose lines were found only beside bundles.
    pub index_files: u64,
    /// Releases held now.
    pub held: u64,
    /// Time taken.
    pub elapsed: Duration,
    /// True if the rebuild was stopped: the catalogue is as it was.
    pub interrupted: bool,
}

impl RebuildOutcome {
    /// Returns the exit code of a rebuild with this outcome.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        if self.interrupted {
            ExitStatus::Interrupted
        } else if self.lost.is_empty()
            && self.lost_members == 0
            && self.missing_bundles.is_empty()
            && self.unplaced == 0
        {
            ExitStatus::Complete
        } else {
            ExitStatus::Records
        }
    }
}

/// The findings of a rebuild.
#[derive(Debug, Default)]
pub struct RebuildReport {
    /// The findings of opening the mirror, in its bundles and in its tree.
    pub opened: OpenReport,
    /// The reason why the old catalogue does not show which index listed what; the next run records it anew.
    pub sources_unknown: Option<ManifestError>,
}

/// Returns whether to stop.
type IsStopped<'a> = &'a (dyn Fn() -> bool + Sync);

/// Rebuilds the catalogue of a mirror and puts it in the place of the old one, which may be damaged or gone. Takes the
/// lock of the mirror. `report` receives the findings, also on failure. Blocks; reads every file that no record names.
///
/// # Errors
/// When another run holds the mirror, manifest or bundles are damaged, or the disk refuses; the old catalogue stays
/// then.
pub fn rebuild(
    options: &OpenOptions,
    is_stopped: IsStopped<'_>,
    report: &mut RebuildReport,
) -> Result<RebuildOutcome, RepoError> {
    let began = Instant::now();
    let mut outcome = RebuildOutcome::default();
    place_all(options, is_stopped, &mut outcome)?;
    if is_stopped() {
        return Ok(RebuildOutcome { interrupted: true, elapsed: began.elapsed(), ..outcome });
    }
    let (locked, opened) = LockedMirror::open(options)?;
    report.opened = opened;
    let began = Instant::now();
    let old = locked.catalogue_path();
    let made = locked.store.state_dir().join("catalogue.new.sqlite");
    Catalogue::remove(&made)?;
    // Facts that are in no manifest: the dates of removals upstream, since when bytes are known that replaced others,
    // which index lists a release, and the licences that were read.
    let before = Catalogue::open_read_only(&old).ok().flatten();
    let mut writer = begin(locked, options, &made, &mut outcome)?;
    writer.take_in_all(options, is_stopped, report, &mut outcome)?;
    if is_stopped() {
        drop(writer);
        Catalogue::remove(&made)?;
        return Ok(RebuildOutcome {
            interrupted: true,
            elapsed: began.elapsed(),
            ..RebuildOutcome::default()
        });
    }
    writer.take_over(before, report, &mut outcome)?;
    drop(writer);
    Catalogue::put_in_place(&made, &old)?;
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

/// Begins a catalogue with the records of the manifest.
fn begin(
    locked: LockedMirror,
    options: &OpenOptions,
    made: &std::path::Path,
    outcome: &mut RebuildOutcome,
) -> Result<MirrorWriter, RepoError> {
    let mut catalogue = Catalogue::open(made)?;
    outcome.records = catalogue.replay(locked.manifest.path(), locked.store.layout())?.records;
    MirrorWriter::over(locked, catalogue, options)
}

impl MirrorWriter {
    /// Adopts bundles and files.
    fn take_in_all(
        &mut self,
        options: &OpenOptions,
        is_stopped: IsStopped<'_>,
        report: &mut RebuildReport,
        outcome: &mut RebuildOutcome,
    ) -> Result<(), RepoError> {
        let opened = &mut report.opened;
        if self.has_bundles()? {
            // Repairs what an interrupted run left.
            drop(self.repair_bundles(options)?);
            opened.misplaced_members = self.check_members(false)?;
            outcome.lost_members = opened.misplaced_members;
            let taken_in = self.take_in_bundles()?;
            outcome.members = taken_in.members;
            opened.members_without_place = taken_in.without_place;
        }
        outcome.missing_bundles = self.forget_missing_bundles()?;
        outcome.bundles = self.catalogue().bundles()?.len() as u64;
        self.remember_bundles()?;
        LockedMirror::remember_bundles(self.store(), self.bundles_dir())?;
        self.invalidate_dir_times()?;
        let found = scan(self.store(), self.catalogue(), is_stopped)?;
        self.record_scan(&found)?;
        for id in &found.lost {
            // A bundle may hold the release.
            if self.catalogue().held_release(id)?.is_none() {
                outcome.lost.push(id.clone());
            }
        }
        opened.lost = found.lost;
        outcome.adopted = self.adopt_all(is_stopped)?;
        Ok(())
    }

    /// Copies what only the old catalogue knows, and the index lines beside bundles.
    fn take_over(
        &mut self,
        before: Option<Catalogue>,
        report: &mut RebuildReport,
        outcome: &mut RebuildOutcome,
    ) -> Result<(), RepoError> {
        let removed_upstream =
            before.as_ref().and_then(|before| before.removed_upstream().ok()).unwrap_or_default();
        // Where the old catalogue cannot be read, bytes that replaced others are as young as the new one.
        let replaced = before.as_ref().and_then(|before| before.replaced().ok()).unwrap_or_default();
        let deferred = before.as_ref().and_then(|before| before.deferred().ok()).unwrap_or_default();
        // Followers refuse a serial that comes twice.
        let serial = before.as_ref().and_then(|before| before.last_serial().ok()).unwrap_or_default();
        self.catalogue_mut().keep_last_serial(serial)?;
        if let Some(before) = before {
            report.sources_unknown = self.catalogue_mut().take_seen_of(&before).err();
            // A release whose licence is not known is held back until a run has verified it.
            let _ = self.catalogue_mut().take_licences_of(&before);
            // Without them, only the history that people see is shorter.
            let _ = self.catalogue_mut().take_runs_of(&before);
        }
        let mut tx = self.begin();
        for (id, kind, seen) in removed_upstream {
            tx.change(Change::RemovedUpstream { id, kind, seen });
        }
        // They say since when bytes are known that were not fetched yet.
        for release in deferred {
            tx.change(Change::Deferred(release));
        }
        for bytes in replaced {
            tx.change(Change::Replaced(bytes));
        }
        self.commit(tx)?;
        let (state, dir) = (self.store().state_dir(), self.bundles_dir().to_owned());
        let store = self.store().clone();
        let manifest = self.manifest_path().to_owned();
        let catalogue = self.catalogue_mut();
        catalogue.know(&manifest)?;
        let (mut cache, found) = IndexCacheWriter::open(&state, catalogue, true)?;
        report.opened.index_cache = found;
        outcome.index_files = bundle_lines::take_in(catalogue, &mut cache, &store, &dir)?;
        cache.finish()?;
        self.resolve_gaps(None)?;
        outcome.held = self.catalogue().count()?;
        Ok(())
    }

    /// Adopts files without a record; returns their number.
    fn adopt_all(&mut self, is_stopped: IsStopped<'_>) -> Result<u64, RepoError> {
        let (mut adopted, mut waiting) = (0, Vec::new());
        let mut dirs = vec![String::new()];
        while let Some(dir) = dirs.pop() {
            if is_stopped() {
                break;
            }
            dirs.extend(self.store().list_dirs(&dir)?);
            if dir.is_empty() {
                // No layout has files in the root.
                continue;
            }
            let Some(listing) = self.store().list_dir(&dir)? else { continue };
            for file in listing.files {
                if let Some(id) = self.unknown(&dir, &file)? {
                    waiting.push(id);
                }
            }
            if waiting.len() >= CHUNK {
                adopted += self.adopt(&waiting)?;
                waiting.clear();
            }
        }
        Ok(adopted + self.adopt(&waiting)?)
    }

    /// Returns the release of a file that is in its place and not held.
    fn unknown(&self, dir: &str, file: &str) -> Result<Option<ReleaseId>, RepoError> {
        let layout = self.store().layout();
        let Some(id) = ReleaseId::of_file(file).filter(|id| layout.dir(&id.name) == dir) else {
            return Ok(None);
        };
        let held = self.catalogue().held_release(&id)?;
        Ok(held.is_none_or(|held| !held.locations.is_loose()).then_some(id))
    }

    fn adopt(&mut self, ids: &[ReleaseId]) -> Result<u64, RepoError> {
        let started = SystemTime::now();
        let found = hash_all(self.store(), ids)?;
        let hashed = (started, SystemTime::now());
        let count = found.len() as u64;
        let mut tx = self.begin();
        for (id, sha256, size) in found {
            tx.found_file(id, (sha256, size), hashed);
        }
        self.commit(tx)?;
        Ok(count)
    }
}

/// Moves files from the layouts of other tools to their places, and counts those that belong nowhere. If it is stopped
/// meanwhile, only the next rebuild opens the mirror.
fn place_all(
    options: &OpenOptions,
    is_stopped: IsStopped<'_>,
    outcome: &mut RebuildOutcome,
) -> Result<(), RepoError> {
    let asked = options.layout.is_some();
    let store = Store::open_to_move(&options.root, options.layout.unwrap_or_default(), asked)?;
    let layout = store.layout();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        if is_stopped() {
            return Ok(());
        }
        dirs.extend(store.list_dirs(&dir)?);
        let mut moves = Vec::new();
        for file in store.list_files(&dir)? {
            let path = if dir.is_empty() { file } else { format!("{dir}/{file}") };
            let to = match TreeForm::of_path(&path, layout) {
                Some((_, form)) if form == TreeForm::Layout(layout) => continue,
                Some((id, _)) => Some(layout.path(&id)),
                None if path.ends_with(".crate") => None,
                None => continue,
            };
            match to {
                Some(to) if !store.has(&to)? => {
                    moves.push((path, to));
                    continue;
                }
                Some(_) => outcome.beside += 1,
                None => outcome.unplaced += 1,
            }
            if outcome.first_left.len() < KEPT_FAILURES {
                outcome.first_left.push(path);
            }
        }
        store.move_releases(&moves)?;
        outcome.moved += moves.len() as u64;
    }
    Ok(store.moved()?)
}

/// Hashes files on all processors.
fn hash_all(store: &Store, ids: &[ReleaseId]) -> Result<Vec<(ReleaseId, Sha256, u64)>, RepoError> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let share = ids.len().div_ceil(threads).max(1);
    let hash = |ids: &[ReleaseId]| {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some((sha256, size)) = store.hash(&store.layout().path(id))? {
                found.push((id.clone(), sha256, size));
            }
        }
        Ok::<_, RepoError>(found)
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = ids.chunks(share).map(|ids| scope.spawn(move || hash(ids))).collect();
        let mut all = Vec::with_capacity(ids.len());
        for handle in handles {
            let found = handle.join().map_err(|_| RepoError::Internal("a thread ended badly".to_owned()))?;
            all.extend(found?);
        }
        Ok(all)
    })
}
