//! The beginning and the end of a run that changes a mirror.

use std::thread;
use std::time::SystemTime;

use mirror_manifest::{Catalogue, IndexCacheReport, IndexCacheWriter, RunRow};
use mirror_store::Store;
use mirror_types::{ReleaseId, StoreId};

use super::MirrorWriter;
use crate::bundle_lines;
use crate::bundles::check_bundles;
use crate::error::RepoError;
use crate::open::{LockedMirror, OpenOptions, OpenReport};
use crate::scan::{Scan, scan};

impl MirrorWriter {
    /// Opens the mirror, or creates it: takes the lock, finds its manifest and its bundles, replays records that the
    /// catalogue lacks, compares the catalogue with bundles and files, and records what is missing. Blocks; the first
    /// time, it reads the whole manifest of an earlier version.
    ///
    /// # Errors
    /// When another run holds the mirror or its manifest, manifest or bundles belong to another mirror, bundles are
    /// missing, something is damaged, or the disk refuses.
    pub fn open(options: &OpenOptions) -> Result<(Self, OpenReport), RepoError> {
        let store = LockedMirror::lock(options)?;
        let mut report = OpenReport::default();
        let writer = Self::open_in(store, options, &|| false, &mut report)?;
        Ok((writer, report))
    }

    /// Opens the mirror whose lock is held already. `report` receives the findings and repairs, also on failure. The
    /// scan of the tree ends early when `is_stopped` returns true; the next one continues it.
    ///
    /// # Errors
    /// As [`MirrorWriter::open`].
    pub fn open_in(
        store: Store,
        options: &OpenOptions,
        is_stopped: &(dyn Fn() -> bool + Sync),
        report: &mut OpenReport,
    ) -> Result<Self, RepoError> {
        let (locked, found) = LockedMirror::open_in(store, options)?;
        *report = found;
        let mut catalogue = Catalogue::open(&locked.catalogue_path())?;
        if options.verify {
            catalogue.check()?;
        }
        if !catalogue.follows(locked.manifest.path())? {
            // Another manifest may list other bundles.
            catalogue.set_bundles_identity(None)?;
        }
        report.catalogue_remade = catalogue.replay(locked.manifest.path(), locked.store.layout())?.anew;
        let mut writer = Self::over(locked, catalogue, options)?;
        report.misplaced_members = writer.check_members(true)?;
        check_bundles(&writer.catalogue, writer.bundles_dir())?;
        LockedMirror::remember_bundles(&writer.store, writer.bundles_dir())?;
        writer.stores().check(&writer.catalogue.other_stores()?)?;
        if options.writes_bundles() {
            writer.open_bundles(options, report)?;
        }
        let (scanned, cache) = writer.look_around(options.verify, is_stopped)?;
        report.index_cache = cache;
        writer.record_scan(&scanned)?;
        report.lost = scanned.lost;
        Ok(writer)
    }

    /// Scans the tree, and opens the index cache at the same time.
    fn look_around(
        &mut self,
        verify: bool,
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Scan, IndexCacheReport), RepoError> {
        let (store, catalogue) = (&self.store, &mut self.catalogue);
        let reader = catalogue.another()?;
        let (scanned, opened) = thread::scope(|scope| {
            let scanning = scope.spawn(move || scan(store, &reader, is_stopped));
            let opened = IndexCacheWriter::open(&store.state_dir(), catalogue, verify);
            let panicked = |_| RepoError::Internal("a thread panicked".to_owned());
            Ok::<_, RepoError>((scanning.join().map_err(panicked)??, opened?))
        })?;
        let (cache, report) = opened;
        self.index_cache = Some(cache);
        Ok((scanned, report))
    }

    /// Ends writing to the bundles, and seals the partial one when `seal` is true. Returns the name of the bundle that
    /// stays partial.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn finish_bundles(&mut self, seal: bool) -> Result<Option<String>, RepoError> {
        let Some(bundles) = self.bundles.take() else { return Ok(None) };
        if seal {
            bundles.seal()?;
        }
        // Before another process may write there.
        self.remember_bundles()?;
        let open = self.open_bundle_name();
        bundles.close()?;
        open
    }

    /// Ends a run, after its bundles were finished. `changed` are releases that upstream deleted or offers again: the
    /// index lines beside their bundles are rewritten. `whole`: the run was not stopped.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn finish(&mut self, changed: &[ReleaseId], whole: bool) -> Result<(), RepoError> {
        self.catalogue.know(self.manifest.path())?;
        if whole {
            // The server shows the age of the mirror.
            self.catalogue.set_last_run(SystemTime::now())?;
        }
        if let Some(cache) = self.index_cache.take() {
            cache.finish()?;
        }
        if self.recorder.target == StoreId::BUNDLES {
            bundle_lines::write(&self.catalogue, &self.store.state_dir(), self.bundles_dir(), changed)?;
        }
        self.record_dir_times()
    }

    /// Records the run in the history of the mirror, as its last step. The id is filled in.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn record_run(&mut self, run: RunRow) -> Result<(), RepoError> {
        let run = RunRow { id: self.recorder.run_id.clone(), ..run };
        Ok(self.catalogue.record_run(&run)?)
    }

    /// Scans the tree again, so that the next run need not list the directories that this one wrote to. Returns what is
    /// missing.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn rescan(&mut self, is_stopped: &(dyn Fn() -> bool + Sync)) -> Result<Vec<ReleaseId>, RepoError> {
        let scanned = scan(&self.store, &self.catalogue, is_stopped)?;
        self.record_scan(&scanned)?;
        Ok(scanned.lost)
    }
}
