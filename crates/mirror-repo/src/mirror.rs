//! A mirror, opened to be read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use mirror_bundle::{BundleError, BundleReader, OpenBundle, OpenBundles};
use mirror_index_line::records;
use mirror_manifest::{Catalogue, Held, HeldTotals, IndexCacheReader, ManifestError, SnapshotRow};
use mirror_store::{AtOnce, CrateStore, MirrorRecord, OpenCrate, Store, StoreError};
use mirror_types::{CrateName, HeldBack, Layout, MemberLocation, MirrorId, ReleaseId, index_path};

use crate::change_detector::{ChangeDetector, MirrorState};
use crate::error::RepoError;
use crate::listing::{Listing, Versions};
use crate::recorded::RecordedPlaces;
use crate::resolve::BUNDLES;
use crate::snapshot::SnapshotDir;
use crate::stores::Stores;
use crate::writer::catalogue_in;

/// Most idle connections to the catalogue.
const MAX_IDLE_CONNECTIONS: usize = 4;

/// A mirror, opened to be read: the held releases, their index lines, their bytes. Takes no lock and writes nothing; a
/// download may be running. Everything blocks. Any number of threads may share it.
pub struct Mirror {
    root: PathBuf,
    database: PathBuf,
    store: Store,
    bundles: OpenBundles,
    /// The stores beside these two.
    others: Stores,
    /// Replaced when another catalogue is put in the place of this one.
    catalogues: RwLock<Arc<Pool>>,
    detector: Mutex<ChangeDetector>,
    /// The snapshot of which it tells; `None` for what is offered now.
    snapshot: Option<SnapshotRow>,
}

/// The place in which the bytes of a release were found.
#[derive(Debug, Clone)]
pub enum Located {
    /// Open, to be read by position: a file of its own, or the object of another store.
    Open(Arc<OpenCrate>),
    /// In a bundle, with the time of its last modification.
    Bundled(Arc<BundleReader>, MemberLocation, SystemTime),
}

impl Located {
    fn open(bytes: impl Into<OpenCrate>) -> Self {
        Self::Open(Arc::new(bytes.into()))
    }

    fn in_bundle(bundle: OpenBundle, at: MemberLocation) -> Self {
        Self::Bundled(bundle.reader, at, bundle.modified)
    }
}

/// Connections to the same catalogue, each with one to the index cache.
#[derive(Default)]
struct Pool {
    spare: Mutex<Vec<Connections>>,
}

/// A connection to the catalogue and, once it was asked for, one to the index cache.
struct Connections {
    catalogue: Catalogue,
    cache: Option<IndexCacheReader>,
}

impl Connections {
    /// Reads from one state of the catalogue, and from the index cache below `dir`. That is in the same state or, while
    /// a run commits, in the next one: lines are committed before the catalogue's rows. `None` when there is no cache.
    fn ask_both<T, E: From<ManifestError>>(
        &mut self,
        dir: &Path,
        look: impl FnOnce(&Catalogue, &IndexCacheReader) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let Self { catalogue, cache } = self;
        catalogue.consistently(|| {
            let wanted = catalogue.index_cache()?;
            let is_it =
                |cache: &IndexCacheReader| wanted.is_some_and(|state| cache.state().is_of_same_cache(state));
            if !cache.as_ref().is_some_and(is_it) {
                *cache = IndexCacheReader::open(dir)?;
                cache.as_ref().map_or(Ok(()), IndexCacheReader::keep_little)?;
            }
            cache.as_ref().map_or(Ok(None), |cache| look(catalogue, cache))
        })
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the mirror at {}", self.root.display())
    }
}

impl Mirror {
    /// Opens the mirror at `root`. `bundles_dir` is the directory of its bundles; without it, the directory that the
    /// mirror records, or else `bundles` beside the root.
    ///
    /// # Errors
    /// When there is no mirror, its bundles are missing, or a file cannot be read.
    pub fn open(root: &Path, bundles_dir: Option<&Path>) -> Result<Self, RepoError> {
        Self::open_with(root, bundles_dir, &[])
    }

    /// Opens the mirror as [`Mirror::open`] does, with stores beside the loose tree and the bundles.
    ///
    /// # Errors
    /// As [`Mirror::open`]; when something is held in a store that is not in the list.
    pub fn open_with(
        root: &Path,
        bundles_dir: Option<&Path>,
        others: &[Arc<dyn CrateStore>],
    ) -> Result<Self, RepoError> {
        let others = Stores::default().with(others)?;
        let none = || RepoError::NoMirror { path: root.to_owned() };
        let database = catalogue_in(&root.join(".mirror"));
        let store = Store::open_read_only(root, Layout::Shard)?.ok_or_else(none)?;
        let detector = ChangeDetector::open(&database)?.ok_or_else(none)?;
        refuse_old_cache(&store.state_dir())?;
        let bundles_dir = bundles_of(root, bundles_dir, detector.catalogue())?;
        others.check(&detector.catalogue().other_stores()?)?;
        Ok(Self::over(root, store, detector, bundles_dir, others))
    }

    /// Joins the opened parts.
    pub(crate) fn over(
        root: &Path,
        store: Store,
        detector: ChangeDetector,
        bundles_dir: PathBuf,
        others: Stores,
    ) -> Self {
        Self {
            root: root.to_owned(),
            database: catalogue_in(&store.state_dir()),
            store,
            bundles: OpenBundles::new(bundles_dir),
            others,
            catalogues: RwLock::default(),
            detector: Mutex::new(detector),
            snapshot: None,
        }
    }

    /// Returns the id of the mirror; `None` for one that only a program of before has written to. Blocks.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn id(&self) -> Result<Option<MirrorId>, RepoError> {
        Ok(MirrorRecord::read(&self.root)?.and_then(|record| record.id))
    }

    /// Makes this tell what was offered when a snapshot was taken: everything that is asked for afterwards is about that
    /// state, as far as its bytes are held and upstream has not deleted them since. Without a serial, it goes on to tell
    /// what is offered now.
    ///
    /// # Errors
    /// When there is no such snapshot, the catalogue does not know it, or its document is not the one that was taken.
    pub fn at_snapshot(mut self, serial: Option<u64>) -> Result<Self, RepoError> {
        let Some(serial) = serial else { return Ok(self) };
        let known = self.catalogue()?.snapshot(serial)?;
        if self.snapshot_dir().find(serial)?.digest() != known.sha256 {
            return Err(RepoError::OtherSnapshot { serial });
        }
        self.snapshot = Some(known);
        self.catalogue()?;
        Ok(self)
    }

    /// Returns the serial of the snapshot of which this tells; `None` when it tells what is offered now.
    #[must_use]
    pub fn snapshot(&self) -> Option<u64> {
        self.snapshot.map(|snapshot| snapshot.serial)
    }

    /// Returns the snapshots of the mirror.
    #[must_use]
    pub fn snapshot_dir(&self) -> SnapshotDir {
        SnapshotDir::of(&self.root)
    }

    /// Returns the root of the mirror.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where its bundles are.
    #[must_use]
    pub fn bundles_dir(&self) -> &Path {
        self.bundles.dir()
    }

    /// Returns the layout of its loose tree.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.store.layout()
    }

    /// Returns its loose tree.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns its bundles.
    #[must_use]
    pub fn bundles(&self) -> &OpenBundles {
        &self.bundles
    }

    /// Returns a number that grows with every change of the mirror. Cheap: reads no file.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn generation(&self) -> Result<u64, RepoError> {
        Ok(self.state()?.generation)
    }

    /// Returns the current state of the mirror. Cheap: reads no file.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn state(&self) -> Result<MirrorState, RepoError> {
        let mut detector = self.detector();
        if detector.catalogue().is_frozen() {
            self.look(&mut detector)?;
        }
        Ok(detector.state()?)
    }

    /// Checks whether another catalogue was put in the place of the open one, and opens it then. Should be called now
    /// and then. Returns whether the catalogue was replaced since the last call.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn look_again(&self) -> Result<bool, RepoError> {
        let mut detector = self.detector();
        self.look(&mut detector)?;
        Ok(detector.take_replaced())
    }

    fn look(&self, detector: &mut ChangeDetector) -> Result<(), RepoError> {
        if detector.look()? {
            *self.catalogues.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        }
        Ok(())
    }

    fn detector(&self) -> MutexGuard<'_, ChangeDetector> {
        self.detector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a query on the catalogue, with a connection of its own. Repeats it where the catalogue was written
    /// meanwhile and the reader cannot detect that by itself.
    ///
    /// # Errors
    /// When the catalogue cannot be read, and the errors of `look`.
    pub fn ask<T>(&self, mut look: impl FnMut(&Catalogue) -> Result<T, RepoError>) -> Result<T, RepoError> {
        self.ask_with_cache(|connections| look(&connections.catalogue))
    }

    fn ask_with_cache<T, E: From<RepoError>>(
        &self,
        mut look: impl FnMut(&mut Connections) -> Result<T, E>,
    ) -> Result<T, E> {
        /// The pause between two tries, multiplied by their number.
        const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
        const TRIES: u32 = 8;
        for again in 1..TRIES {
            let before = self.detector().frozen_marks();
            let answer = self.state().map_err(E::from).and_then(|_| self.ask_once(&mut look));
            if before.is_none() || before == self.detector().frozen_marks() {
                return answer;
            }
            std::thread::sleep(PAUSE * again);
        }
        self.state()?;
        self.ask_once(&mut look)
    }

    fn ask_once<T, E: From<RepoError>>(
        &self,
        look: &mut impl FnMut(&mut Connections) -> Result<T, E>,
    ) -> Result<T, E> {
        let pool = Arc::clone(&self.catalogues.read().unwrap_or_else(PoisonError::into_inner));
        let spare = || pool.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().pop();
        let mut connections = match kept {
            Some(connections) => connections,
            None => Connections { catalogue: self.connect()?, cache: None },
        };
        let answer = look(&mut connections);
        // A connection to a frozen file would not see the next change.
        connections.cache = connections.cache.filter(|cache| !cache.is_frozen());
        let mut spare = spare();
        if spare.len() < MAX_IDLE_CONNECTIONS && !connections.catalogue.is_frozen() {
            spare.push(connections);
        }
        answer
    }

    /// Opens a connection to the catalogue, for queries about everything that is held; for others there is
    /// [`Mirror::ask`].
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn catalogue(&self) -> Result<Catalogue, RepoError> {
        let none = || RepoError::NoMirror { path: self.root.clone() };
        let mut catalogue = Catalogue::open_read_only(&self.database)?.ok_or_else(none)?;
        if let Some(snapshot) = self.snapshot {
            catalogue.tell_of_snapshot(snapshot)?;
        }
        Ok(catalogue)
    }

    fn connect(&self) -> Result<Catalogue, RepoError> {
        let catalogue = self.catalogue()?;
        catalogue.keep_little()?;
        Ok(catalogue)
    }

    /// Returns the held part of a crate's index file, with the name in lower case or not; `None` when nothing is held.
    ///
    /// # Errors
    /// When the index cache or the catalogue cannot be read.
    pub fn listing(&self, name: &CrateName) -> Result<Option<Listing>, RepoError> {
        self.listing_at(&index_path(name))
    }

    /// Returns the held part of an index file, by its path in the index.
    ///
    /// # Errors
    /// When the index cache or the catalogue cannot be read.
    pub fn listing_at(&self, path: &str) -> Result<Option<Listing>, RepoError> {
        self.listing_with(path, &mut |id, held| {
            // One unreadable file must not hide the others.
            Ok::<_, RepoError>(self.is_there(&id, held).unwrap_or_else(|error| {
                tracing::warn!(release = %id, "is held, but cannot be looked at: {error}");
                false
            }))
        })
    }

    /// Returns the offered part of an index file, restricted to what `takes` accepts, by its path in the index.
    ///
    /// # Errors
    /// When the index cache or the catalogue cannot be read, and the errors of `takes`.
    pub fn listing_with<E: From<RepoError> + From<ManifestError>>(
        &self,
        path: &str,
        takes: &mut dyn FnMut(ReleaseId, &Held) -> Result<bool, E>,
    ) -> Result<Option<Listing>, E> {
        self.ask_with_cache(|connections| {
            connections.ask_both(&self.store.state_dir(), |catalogue, cache| {
                let Some(text) = cache.read(path)? else { return Ok(None) };
                Listing::of(&text, &mut |name| Ok(offered(catalogue, name)?), &mut |name, version, held| {
                    let (Ok(name), Ok(version)) = (name.parse(), version.parse()) else {
                        return Ok(false);
                    };
                    takes(ReleaseId { name, version }, held)
                })
            })
        })
    }

    /// Returns the text of an index file as upstream has it, by its path in the index; `None` when the index cache does not
    /// have it.
    ///
    /// # Errors
    /// When the index cache cannot be read.
    pub fn index_text(&self, path: &str) -> Result<Option<Vec<u8>>, RepoError> {
        self.ask_with_cache(|connections| {
            connections.ask_both(&self.store.state_dir(), |_, cache| Ok::<_, RepoError>(cache.read(path)?))
        })
    }

    /// Returns where an offered release is held: one that upstream did not delete, and that policy does not hold back.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn held(&self, id: &ReleaseId) -> Result<Option<Held>, RepoError> {
        self.ask(|catalogue| Ok(catalogue.offered_release(id)?))
    }

    /// Returns whether upstream deleted a release.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn is_deleted(&self, id: &ReleaseId) -> Result<bool, RepoError> {
        self.ask(|catalogue| Ok(catalogue.is_deleted(id)?))
    }

    /// Returns the decision to hold a release back, whether its bytes are held or not: a deferred one counts, too.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn held_back(&self, id: &ReleaseId) -> Result<Option<HeldBack>, RepoError> {
        self.ask(|catalogue| Ok(catalogue.held_back(id)?))
    }

    /// Returns the first release of an index file that policy holds back, in the order of upstream, with the decision.
    /// `path` is that of the file in the index.
    ///
    /// # Errors
    /// When the index cache or the catalogue cannot be read.
    pub fn held_back_at(&self, path: &str) -> Result<Option<(ReleaseId, HeldBack)>, RepoError> {
        self.ask_with_cache(|connections| {
            connections.ask_both(&self.store.state_dir(), |catalogue, cache| {
                let Some(text) = cache.read(path)? else { return Ok(None) };
                for (record, _) in records(&text) {
                    if let Some(decision) = catalogue.held_back(&record.id)? {
                        return Ok::<_, RepoError>(Some((record.id, decision)));
                    }
                }
                Ok(None)
            })
        })
    }

    /// Finds the bytes that the catalogue lists; `None` when they are missing, or have another length. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn locate(&self, id: &ReleaseId, held: &Held) -> Result<Option<Located>, RepoError> {
        if held.locations.is_loose()
            && let Some(file) = self.store.open_held(&self.store.layout().path(id))?
            && file.len() == held.size
        {
            return Ok(Some(Located::open(file)));
        }
        if let Some(at) = held.locations.member()
            && let Some(bundle) = self.bundles.find(at)?
        {
            return Ok(Some(Located::in_bundle(bundle, at)));
        }
        for (store, at) in self.others.of(&held.locations) {
            if let Some(open) = store.open(id, at)?
                && open.len() == held.size
            {
                return Ok(Some(Located::open(open)));
            }
        }
        Ok(None)
    }

    /// Finds the bytes like [`Mirror::locate`], but only if that takes no wait for the disk.
    #[must_use]
    pub fn locate_at_once(&self, id: &ReleaseId, held: &Held) -> Option<Located> {
        if held.locations.is_loose() {
            match self.store.open_held_at_once(&self.store.layout().path(id)) {
                Ok(AtOnce::Open(file)) if file.len() == held.size => return Some(Located::open(file)),
                Ok(AtOnce::Open(_) | AtOnce::Missing) => {}
                Ok(AtOnce::Later) | Err(_) => return None,
            }
        }
        let at = held.locations.member()?;
        Some(Located::in_bundle(self.bundles.find_at_once(at)?, at))
    }

    /// Returns whether the bytes are where the catalogue says, without opening more than that needs. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn is_there(&self, id: &ReleaseId, held: &Held) -> Result<bool, RepoError> {
        if held.locations.is_loose() && self.store.size(&self.store.layout().path(id))? == Some(held.size) {
            return Ok(true);
        }
        if let Some(at) = held.locations.member()
            && self.bundles.find(at)?.is_some()
        {
            return Ok(true);
        }
        for (store, at) in self.others.of(&held.locations) {
            if store.size(id, at)? == Some(held.size) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the error for the bytes of an open release that could not be read.
    pub(crate) fn unread(&self, id: &ReleaseId, source: std::io::Error) -> StoreError {
        StoreError::Io { doing: "read", path: self.layout().path(id).into(), source }
    }

    /// Returns all of the bytes of a release. Memory: their size.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, id: &ReleaseId, located: &Located) -> Result<Vec<u8>, RepoError> {
        match located {
            Located::Open(file) => Ok(file.read().map_err(|source| self.unread(id, source))?),
            Located::Bundled(reader, at, _) => {
                let mut bytes = Vec::new();
                let is_it = self.bundles.visit(reader, *at, id, &mut |member| {
                    member.read(&mut |piece| {
                        bytes.extend_from_slice(piece);
                        Ok::<_, BundleError>(())
                    })
                })?;
                if is_it {
                    Ok(bytes)
                } else {
                    Err(RepoError::Internal(format!("{id} is not where the catalogue says")))
                }
            }
        }
    }

    /// Counts what is held; the time grows with the number of releases.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn totals(&self) -> Result<HeldTotals, RepoError> {
        self.ask(|catalogue| Ok(catalogue.totals()?))
    }

    /// Returns the time at which the last whole run ended, RFC 3339.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn last_run(&self) -> Result<Option<String>, RepoError> {
        self.ask(|catalogue| Ok(catalogue.last_run()?))
    }

    /// Returns the paths of the index files in the index cache, in order. Memory: some 40 bytes for each.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn index_paths(&self) -> Result<Vec<String>, RepoError> {
        self.ask_with_cache(|connections| {
            let mut paths = Vec::new();
            connections.ask_both(&self.store.state_dir(), |_, cache| {
                cache.paths(&mut |path| paths.push(path.to_owned()))?;
                Ok::<_, RepoError>(Some(()))
            })?;
            Ok(paths)
        })
    }
}

fn offered(catalogue: &Catalogue, name: &str) -> Result<Versions, RepoError> {
    let Ok(name) = name.parse::<CrateName>() else { return Ok(Versions::new()) };
    let rows = catalogue.offered_of(&name)?.into_iter();
    Ok(rows.map(|release| (release.held.version.clone(), release)).collect())
}

/// Refuses a mirror whose index lines have the form of an earlier version: it would appear to list nothing.
fn refuse_old_cache(dir: &Path) -> Result<(), RepoError> {
    match IndexCacheReader::open(dir) {
        Err(error @ ManifestError::OldIndexCache { .. }) => Err(error.into()),
        // A damaged index cache does not keep releases from being served.
        _ => Ok(()),
    }
}

/// Returns the directory of the bundles, which must exist when they hold something.
fn bundles_of(root: &Path, given: Option<&Path>, catalogue: &Catalogue) -> Result<PathBuf, RepoError> {
    let dir = match given {
        Some(dir) => dir.to_owned(),
        None => {
            // The directory that the mirror records. A mirror that was moved may have it inside or beside itself.
            let remembered = RecordedPlaces::of(root)?.map(|places| places.bundles);
            let kept = catalogue.bundles_dir()?;
            let beside = root.parent().unwrap_or(Path::new("")).join(BUNDLES);
            let inside = root.join(BUNDLES);
            let mut places = remembered.into_iter().chain(kept).chain([inside.clone(), beside]);
            places.find(|dir| dir.is_dir()).unwrap_or(inside)
        }
    };
    if !dir.is_dir() && !catalogue.bundles()?.is_empty() {
        return Err(RepoError::NoBundles { path: dir });
    }
    Ok(dir)
}
