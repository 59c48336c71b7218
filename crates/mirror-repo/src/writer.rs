//! A mirror, opened to be changed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use mirror_manifest::{Catalogue, IndexCursor, LinesReport, LinesWriter, ManifestWriter, rfc3339};
use mirror_store::Store;
use mirror_store::bundle::BundleWriter;
use mirror_types::{MirrorId, ReleaseId, StoreId};

use crate::bundles::check_bundles;
use crate::error::RepoError;
use crate::open::{LockedMirror, OpenOptions, OpenReport};
use crate::records::Recorder;
use crate::scan::{Scan, scan};

/// A mirror, opened to be changed: nobody else writes into it as long as this lives. Everything blocks.
///
/// What is to be changed is gathered in a [`Transaction`](crate::Transaction), which [`MirrorWriter::commit`] makes
/// durable.
#[derive(Debug)]
pub struct MirrorWriter {
    store: Store,
    id: MirrorId,
    manifest: ManifestWriter,
    catalogue: Catalogue,
    /// None before it is opened, and when it was ended.
    index_cache: Option<LinesWriter>,
    bundles: Option<BundleWriter>,
    recorder: Arc<Recorder>,
    /// The bit of the source of the run; 0 for none.
    source: u64,
    /// Directories in which files were put.
    written: HashSet<String>,
}

impl MirrorWriter {
    /// Opens the mirror, making it when it is not there: takes the lock, finds its manifest and its bundles, takes in
    /// what the manifest says and the catalogue does not know, holds the catalogue against bundles and files, and
    /// writes down what is gone. Blocks; the first time it reads a manifest of an earlier version whole.
    ///
    /// # Errors
    /// When another run holds the mirror or its manifest, manifest or bundles are another mirror's, bundles are
    /// missing, something is damaged, or the disk refuses.
    pub fn open(options: &OpenOptions) -> Result<(Self, OpenReport), RepoError> {
        let store = LockedMirror::lock(options)?;
        let mut report = OpenReport::default();
        let writer = Self::open_in(store, options, &|| false, &mut report)?;
        Ok((writer, report))
    }

    /// Opens the mirror whose lock is held already. `report` says what was found and done, also when this fails. The
    /// scan of the tree ends early when `is_stopped` says so: the next one goes on.
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
            // Another manifest may speak of other bundles.
            catalogue.set_bundles_identity(None)?;
        }
        report.catalogue_remade = catalogue.replay(locked.manifest.path(), locked.store.layout())?.anew;
        let mut writer = Self::over(locked, catalogue, options);
        report.misplaced_members = writer.check_members(true)?;
        check_bundles(&writer.catalogue, writer.bundles_dir())?;
        LockedMirror::remember_bundles(&writer.store, writer.bundles_dir())?;
        if options.writes_bundles {
            writer.open_bundles(options, report)?;
        }
        let (scanned, cache) = writer.look_around(options.verify, is_stopped)?;
        report.index_cache = cache;
        writer.record_scan(&scanned)?;
        report.lost = scanned.lost;
        Ok(writer)
    }

    /// Joins what was locked with a catalogue.
    pub(crate) fn over(locked: LockedMirror, catalogue: Catalogue, options: &OpenOptions) -> Self {
        let LockedMirror { store, id, manifest, bundles_dir } = locked;
        let recorder = Recorder {
            root: options.root.display().to_string(),
            layout: store.layout(),
            bundles_dir,
            run_id: run_id(),
            target: if options.writes_bundles { StoreId::BUNDLES } else { StoreId::LOOSE },
        };
        Self {
            store,
            id,
            manifest,
            catalogue,
            index_cache: None,
            bundles: None,
            recorder: Arc::new(recorder),
            source: 0,
            written: HashSet::new(),
        }
    }

    /// Scans the tree, and opens the index cache meanwhile.
    fn look_around(
        &mut self,
        verify: bool,
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Scan, LinesReport), RepoError> {
        let (store, catalogue) = (&self.store, &mut self.catalogue);
        let reader = catalogue.another()?;
        let (scanned, opened) = thread::scope(|scope| {
            let scanning = scope.spawn(move || scan(store, &reader, is_stopped));
            let opened = LinesWriter::open(&store.state_dir(), catalogue, verify);
            let panicked = |_| RepoError::Internal("a thread panicked".to_owned());
            Ok::<_, RepoError>((scanning.join().map_err(panicked)??, opened?))
        })?;
        let (cache, report) = opened;
        self.index_cache = Some(cache);
        Ok((scanned, report))
    }

    /// Returns the loose tree.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the id of the mirror.
    #[must_use]
    pub fn id(&self) -> MirrorId {
        self.id
    }

    /// Returns the catalogue, to be asked.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Returns the directory of the bundles, below the root as it was named where it lies there. It need not exist.
    #[must_use]
    pub fn bundles_dir(&self) -> &Path {
        &self.recorder.bundles_dir
    }

    /// Returns the path of the manifest, as it was named.
    #[must_use]
    pub fn manifest_path(&self) -> &Path {
        self.manifest.path()
    }

    /// Returns what this run calls itself in the manifest.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.recorder.run_id
    }

    /// Returns the bit of the source of the run; 0 for none.
    #[must_use]
    pub fn source(&self) -> u64 {
        self.source
    }

    /// Records the source of the run under a name without secrets, and returns its bit. `covers_all` is asked when the
    /// mirror never recorded a source: whether everything that it holds was seen in this one.
    ///
    /// # Errors
    /// When SQLite fails; what `covers_all` gives.
    pub fn record_source<E: From<RepoError>>(
        &mut self,
        name: &str,
        covers_all: impl FnOnce(&Catalogue) -> Result<bool, E>,
    ) -> Result<u64, E> {
        let fail = |error| E::from(RepoError::Manifest(error));
        self.source = match self.catalogue.source_bit(name).map_err(fail)? {
            Some(bit) => bit,
            None => {
                let bit = self.catalogue.record_source(name).map_err(fail)?;
                if bit == 1 && covers_all(&self.catalogue)? {
                    self.catalogue.see_all(bit).map_err(fail)?;
                }
                bit
            }
        };
        Ok(self.source)
    }

    /// Leaves behind how far the mirror has come with its index.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_cursor(&mut self, cursor: &IndexCursor) -> Result<(), RepoError> {
        Ok(self.catalogue.set_cursor(cursor)?)
    }

    /// Leaves behind how fast a run downloaded, in files per second.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_download_rate(&mut self, files_per_sec: f64) -> Result<(), RepoError> {
        Ok(self.catalogue.set_download_rate(files_per_sec)?)
    }

    /// Ends writing into the bundles; the open one is sealed when `seal` says so. Returns the name of the bundle that
    /// stays open.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn finish_bundles(&mut self, seal: bool) -> Result<Option<String>, RepoError> {
        let Some(mut bundles) = self.bundles.take() else { return Ok(None) };
        if seal {
            bundles.seal()?;
        }
        // Before anybody else may write there.
        self.remember_bundles()?;
        let open = self.open_bundle_name();
        drop(bundles);
        open
    }

    /// Ends a run, whose bundles are ended. `changed` are releases that upstream deleted or offers again: the index
    /// lines beside their bundles are written anew. `whole`: the run came to its end.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn finish(&mut self, changed: &[ReleaseId], whole: bool) -> Result<(), RepoError> {
        self.catalogue.know(self.manifest.path())?;
        if whole {
            // For whoever serves the mirror: how fresh it is.
            self.catalogue.set_last_run(SystemTime::now())?;
        }
        if let Some(cache) = self.index_cache.take() {
            cache.finish(&mut self.catalogue)?;
        }
        if self.recorder.target == StoreId::BUNDLES {
            crate::bundle_lines::write(
                &self.catalogue,
                &self.store.state_dir(),
                self.bundles_dir(),
                changed,
            )?;
        }
        self.record_dir_times()
    }

    /// Scans the tree again, so that the next run need not list what this one wrote. Returns what is gone.
    ///
    /// # Errors
    /// When the disk or SQLite fails.
    pub fn rescan(&mut self, is_stopped: &(dyn Fn() -> bool + Sync)) -> Result<Vec<ReleaseId>, RepoError> {
        let scanned = scan(&self.store, &self.catalogue, is_stopped)?;
        self.record_scan(&scanned)?;
        Ok(scanned.lost)
    }

    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    pub(crate) fn catalogue_mut(&mut self) -> &mut Catalogue {
        &mut self.catalogue
    }

    pub(crate) fn bundles(&mut self) -> Result<&mut BundleWriter, RepoError> {
        let none = || RepoError::Internal("a member for a bundle in a run without bundles".to_owned());
        self.bundles.as_mut().ok_or_else(none)
    }

    pub(crate) fn set_bundles(&mut self, writer: BundleWriter) {
        self.bundles = Some(writer);
    }

    pub(crate) fn index_cache(&mut self) -> Result<&mut LinesWriter, RepoError> {
        let none = || RepoError::Internal("index lines for an index cache that is closed".to_owned());
        self.index_cache.as_mut().ok_or_else(none)
    }

    /// Appends records to the manifest, durable on return; returns its length.
    pub(crate) fn append(&mut self, records: &[mirror_manifest::ManifestRecord]) -> Result<u64, RepoError> {
        let len = self.manifest.append(records)?;
        self.manifest.sync()?;
        Ok(len)
    }

    /// Returns the directory of a file when it is the first one that this run puts there.
    pub(crate) fn first_write(&mut self, path: &str) -> Option<String> {
        let (dir, _) = path.rsplit_once('/')?;
        if self.written.contains(dir) {
            return None;
        }
        self.written.insert(dir.to_owned());
        Some(dir.to_owned())
    }

    /// Returns the directories in which this run put files.
    pub(crate) fn take_written(&mut self) -> HashSet<String> {
        std::mem::take(&mut self.written)
    }
}

/// Makes a name for a run: when it began, and its process.
fn run_id() -> String {
    format!("{}-{}", rfc3339(SystemTime::now()).replace([':', '-'], ""), std::process::id())
}

/// Returns where a mirror keeps its catalogue, by its `.mirror`.
#[must_use]
pub fn catalogue_in(state_dir: &Path) -> PathBuf {
    state_dir.join("catalogue.sqlite")
}
