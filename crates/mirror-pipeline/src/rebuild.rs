//! Makes the catalogue again: from the manifest, the bundles and the files that are there.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use mirror_manifest::{
    Catalogue, Change, EXISTING, HeldRelease, LinesWriter, ManifestRecord, ManifestWriter, SCHEMA_VERSION,
    rfc3339,
};
use mirror_repo::{MirrorWriter, bundle_lines};
use mirror_store::bundle::BundleOptions;
use mirror_store::{Store, TreeForm};
use mirror_types::{ExitStatus, KEPT_FAILURES, Location, Locations, ReleaseId, Sha256};
use tokio_util::sync::CancellationToken;

use crate::bundles::{self, Found};
use crate::download::{database, run_id, told_opened};
use crate::error::PipelineError;
use crate::gaps;
use crate::gone::Gone;
use crate::options::RebuildOptions;
use crate::sweep::{distrust, sweep};

/// Files that are adopted between two commits.
const CHUNK: usize = 2_000;

/// What a catalogue was made of.
#[derive(Debug, Clone, Default)]
pub struct RebuildOutcome {
    /// Records of the manifest.
    pub records: u64,
    /// Bundles that are there.
    pub bundles: u64,
    /// Members that bundles list and the manifest does not.
    pub members: u64,
    /// Files that no record speaks of: hashed, and held with that hash until the index says otherwise.
    pub adopted: u64,
    /// Of these, files that lay as another tool lays them out, and were moved to where they belong.
    pub moved: u64,
    /// Files that lie beside the place of their release, where there is one already: left as they are.
    pub beside: u64,
    /// Files called `.crate` that are where no release belongs: left as they are.
    pub unplaced: u64,
    /// The first of both, as paths below the root.
    pub first_left: Vec<String>,
    /// Releases of which a record says that they are in a bundle, and that are not.
    pub lost_members: u64,
    /// Releases of which a record speaks, without a file of that size, and that no bundle has.
    pub lost: Vec<ReleaseId>,
    /// Bundles of which records speak and that are not there.
    pub missing_bundles: Vec<String>,
    /// Index files whose lines were found beside bundles, and nowhere else.
    pub index_files: u64,
    /// Releases held now.
    pub held: u64,
    /// Time taken.
    pub elapsed: Duration,
    /// Stopped before the end: the catalogue is as it was.
    pub interrupted: bool,
}

impl RebuildOutcome {
    /// The exit code of a rebuild that came to this end.
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

/// Makes the catalogue of a mirror again and puts it in the place of the old one, which may be damaged or
/// gone. Takes the lock of the mirror. Blocks; reads every file that no record speaks of.
///
/// # Errors
/// When another run holds the mirror, manifest or bundles are damaged, or the disk refuses; the old
/// catalogue stays then.
pub fn rebuild_catalogue(
    options: &RebuildOptions,
    cancel: &CancellationToken,
) -> Result<RebuildOutcome, PipelineError> {
    let began = Instant::now();
    let mut outcome = RebuildOutcome::default();
    place_all(options, cancel, &mut outcome)?;
    if cancel.is_cancelled() {
        return Ok(RebuildOutcome { interrupted: true, elapsed: began.elapsed(), ..outcome });
    }
    let (mut opened, report) = MirrorWriter::open(&options.mirror())?;
    told_opened(&opened, &report);
    rebuild_opened(&mut opened, &options.out, outcome, cancel)
}

/// Makes the catalogue of an opened mirror again.
fn rebuild_opened(
    opened: &mut MirrorWriter,
    root: &Path,
    mut outcome: RebuildOutcome,
    cancel: &CancellationToken,
) -> Result<RebuildOutcome, PipelineError> {
    let began = Instant::now();
    let MirrorWriter { store, id, manifest, bundles_dir: dir } = opened;
    let path = database(store);
    // What no manifest says: where index lines are, and since when upstream does not offer what is held.
    let before = Catalogue::open_read_only(&path).ok().flatten();
    let withdrawn = before.as_ref().and_then(|before| before.withdrawn().ok()).unwrap_or_default();
    let made = store.state_dir().join("catalogue.new.sqlite");
    Catalogue::remove(&made)?;
    let mut catalogue = Catalogue::open(&made)?;
    if let Some(Err(error)) = before.as_ref().map(|before| catalogue.take_lines_of(before)) {
        tracing::warn!(
            "the old catalogue does not say where index lines are, the next run keeps them anew: {error}"
        );
    }
    outcome.records = catalogue.replay(manifest.path(), store.layout())?.records;
    let (root, run_id) = (root.display().to_string(), run_id());
    let gone = Gone { store, root: &root, bundles_dir: dir, run_id: &run_id };
    if dir.is_dir() && bundles::is_any(dir)? {
        // Makes good what a run left that was stopped.
        drop(bundles::open_writer(dir, BundleOptions { mirror: Some(*id), ..BundleOptions::default() })?);
        outcome.lost_members = bundles::hold_against(&mut catalogue, dir, false, (&gone, manifest))?;
        let mut found = Found { manifest, root: root.clone(), run_id: &run_id };
        outcome.members = bundles::take_in(&mut catalogue, dir, &mut found)?;
    }
    outcome.missing_bundles = bundles::forget_missing(&mut catalogue, dir, &gone, manifest)?;
    outcome.bundles = catalogue.bundles()?.len() as u64;
    bundles::remember(&mut catalogue, dir)?;
    MirrorWriter::remember_bundles(store, dir)?;

    distrust(&mut catalogue)?;
    let swept = sweep(store, &catalogue, cancel)?;
    swept.record(store, &mut catalogue, &gone, manifest)?;
    for id in swept.lost {
        // A bundle may have it.
        if !catalogue.held_of(&id.name)?.iter().any(|held| held.version == id.version.as_str()) {
            outcome.lost.push(id);
        }
    }
    let mut adopter = Adopter { store, catalogue, manifest, root: root.clone(), run_id: run_id.clone() };
    outcome.adopted = adopter.adopt_all(cancel)?;
    let mut catalogue = adopter.catalogue;
    if cancel.is_cancelled() {
        drop(catalogue);
        Catalogue::remove(&made)?;
        return Ok(RebuildOutcome {
            interrupted: true,
            elapsed: began.elapsed(),
            ..RebuildOutcome::default()
        });
    }
    if let Some(Err(error)) = before.map(|before| catalogue.take_seen_of(&before)) {
        tracing::warn!(
            "the old catalogue does not say which index listed what, the next run looks anew: {error}"
        );
    }
    let withdrawn = withdrawn.into_iter().map(|(id, kind, seen)| Change::Withdrawn { id, kind, seen });
    catalogue.apply(&withdrawn.collect::<Vec<_>>())?;
    catalogue.know(manifest.path())?;
    let (mut lines, _) = LinesWriter::open(&store.state_dir(), &mut catalogue, true)?;
    outcome.index_files = bundle_lines::take_in(&mut catalogue, &mut lines, store, dir)?;
    lines.finish(&mut catalogue)?;
    gaps::settle(store, &mut catalogue, None)?;
    outcome.held = catalogue.count()?;
    drop(catalogue);
    Catalogue::put_in_place(&made, &path)?;
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

/// Moves what lies as another tool lays it out to where it belongs, and counts what cannot be placed. A run that is
/// stopped meanwhile leaves a mirror that is opened by the next rebuild alone.
fn place_all(
    options: &RebuildOptions,
    cancel: &CancellationToken,
    outcome: &mut RebuildOutcome,
) -> Result<(), PipelineError> {
    let store = Store::open_to_move(&options.out, options.layout, options.layout_asked)?;
    let layout = store.layout();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        if cancel.is_cancelled() {
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

/// Takes in files that no record speaks of.
struct Adopter<'a> {
    store: &'a Store,
    catalogue: Catalogue,
    manifest: &'a mut ManifestWriter,
    root: String,
    run_id: String,
}

impl Adopter<'_> {
    fn adopt_all(&mut self, cancel: &CancellationToken) -> Result<u64, PipelineError> {
        let (mut adopted, mut waiting) = (0, Vec::new());
        let mut dirs = vec![String::new()];
        while let Some(dir) = dirs.pop() {
            if cancel.is_cancelled() {
                break;
            }
            dirs.extend(self.store.list_dirs(&dir)?);
            if dir.is_empty() {
                // No layout has files in the root.
                continue;
            }
            let Some(listing) = self.store.list_dir(&dir)? else { continue };
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

    /// The release of a file that is where it belongs and not held.
    fn unknown(&self, dir: &str, file: &str) -> Result<Option<ReleaseId>, PipelineError> {
        let layout = self.store.layout();
        let Some(id) = ReleaseId::of_file(file).filter(|id| layout.dir(&id.name) == dir) else {
            return Ok(None);
        };
        let held = self.catalogue.held_of(&id.name)?;
        Ok((!held.iter().any(|held| held.locations.is_loose() && held.version == id.version.as_str()))
            .then_some(id))
    }

    fn adopt(&mut self, ids: &[ReleaseId]) -> Result<u64, PipelineError> {
        let started = rfc3339(SystemTime::now());
        let found = hash_all(self.store, ids)?;
        let finished = rfc3339(SystemTime::now());
        let (mut records, mut changes) = (Vec::new(), Vec::new());
        for (id, sha256, size) in found {
            let path = self.store.layout().path(&id);
            changes.extend(path.rsplit_once('/').map(|(dir, _)| Change::DirWritten(dir.to_owned())));
            let locations = Locations::from(Location::LOOSE);
            let mut record = ManifestRecord {
                schema_version: SCHEMA_VERSION,
                path: format!("{}/{path}", self.root),
                size,
                sha256: Some(sha256.to_hex()),
                started_at: started.clone(),
                finished_at: finished.clone(),
                ok: true,
                status: EXISTING.to_owned(),
                crate_name: Some(id.name.to_string()),
                version: Some(id.version.to_string()),
                run_id: Some(self.run_id.clone()),
                ..ManifestRecord::default()
            };
            record.set_locations(&locations, &|_| String::new(), &path);
            records.push(record);
            changes.push(Change::Held { release: HeldRelease { id, sha256, size, locations }, source: 0 });
        }
        if records.is_empty() {
            return Ok(0);
        }
        changes.push(Change::ManifestLen(self.manifest.append(&records)?));
        self.manifest.sync()?;
        self.catalogue.apply(&changes)?;
        Ok(records.len() as u64)
    }
}

/// Hashes files on all processors.
fn hash_all(store: &Store, ids: &[ReleaseId]) -> Result<Vec<(ReleaseId, Sha256, u64)>, PipelineError> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let share = ids.len().div_ceil(threads).max(1);
    let hash = |ids: &[ReleaseId]| {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some((sha256, size)) = store.hash(&store.layout().path(id))? {
                found.push((id.clone(), sha256, size));
            }
        }
        Ok::<_, PipelineError>(found)
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = ids.chunks(share).map(|ids| scope.spawn(move || hash(ids))).collect();
        let mut all = Vec::with_capacity(ids.len());
        for handle in handles {
            let found =
                handle.join().map_err(|_| PipelineError::Internal("a thread ended badly".to_owned()))?;
            all.extend(found?);
        }
        Ok(all)
    })
}
