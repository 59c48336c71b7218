//! A mirror, opened to be changed.

mod run;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use mirror_manifest::{Catalogue, IndexCacheReader, IndexCacheWriter, IndexCursor, ManifestWriter, rfc3339};
use mirror_store::{BundleStore, CrateStore, LooseStore, Store};
use mirror_types::{MirrorId, StoreId};

use crate::error::RepoError;
use crate::open::{LockedMirror, OpenOptions};
use crate::records::Recorder;
use crate::stores::Stores;

/// A mirror, opened to be changed: no other process writes to it while this exists. Everything blocks.
///
/// Changes are collected in a [`Transaction`](crate::Transaction), which [`MirrorWriter::commit`] makes durable.
#[derive(Debug)]
pub struct MirrorWriter {
    store: Store,
    id: MirrorId,
    manifest: ManifestWriter,
    catalogue: Catalogue,
    /// `None` before it is opened, and after it was ended.
    index_cache: Option<IndexCacheWriter>,
    /// Present when bundles are written.
    bundles: Option<Arc<BundleStore>>,
    stores: Stores,
    recorder: Arc<Recorder>,
    /// The bit of the source of the run; 0 for none.
    source: u64,
    /// Directories into which this run put files.
    written: HashSet<String>,
}

impl MirrorWriter {
    /// Joins a locked mirror and a catalogue.
    pub(crate) fn over(
        locked: LockedMirror,
        catalogue: Catalogue,
        options: &OpenOptions,
    ) -> Result<Self, RepoError> {
        let LockedMirror { store, id, manifest, bundles_dir } = locked;
        let mut stores = Stores::default();
        stores.set(Arc::new(LooseStore::new(store.clone())));
        stores.set(Arc::new(BundleStore::to_read(&bundles_dir, store.layout())));
        let stores = stores.with(&options.stores)?;
        let recorder = Recorder {
            root: options.root.display().to_string(),
            layout: store.layout(),
            bundles_dir,
            run_id: run_id(),
            target: match options.targets.first() {
                _ if options.writes_bundles() => StoreId::BUNDLES,
                Some(first) => *first,
                None => StoreId::LOOSE,
            },
        };
        Ok(Self {
            store,
            id,
            manifest,
            catalogue,
            index_cache: None,
            bundles: None,
            stores,
            recorder: Arc::new(recorder),
            source: 0,
            written: HashSet::new(),
        })
    }

    /// Returns the loose tree.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns all stores in which it keeps releases.
    #[must_use]
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Returns the id of the mirror.
    #[must_use]
    pub fn id(&self) -> MirrorId {
        self.id
    }

    /// Returns the catalogue, for queries.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Opens the index cache for reading; it shows the committed state.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn index_cache_reader(&self) -> Result<IndexCacheReader, RepoError> {
        let none = || RepoError::Internal("the index cache is gone while a run writes into it".to_owned());
        IndexCacheReader::open(&self.store.state_dir())?.ok_or_else(none)
    }

    /// Returns the directory of the bundles. Where it is below the root, it has the form in which the root was named.
    /// It need not exist.
    #[must_use]
    pub fn bundles_dir(&self) -> &Path {
        &self.recorder.bundles_dir
    }

    /// Returns the path of the manifest, as it was named.
    #[must_use]
    pub fn manifest_path(&self) -> &Path {
        self.manifest.path()
    }

    /// Returns the id of this run in the manifest.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.recorder.run_id
    }

    /// Returns the bit of the source of the run; 0 for none.
    #[must_use]
    pub fn source(&self) -> u64 {
        self.source
    }

    /// Records the source of the run under a name without secrets, and returns its bit. Calls `covers_all` when the
    /// mirror never recorded a source: it returns whether everything that the mirror holds was seen in this one.
    ///
    /// # Errors
    /// When SQLite fails; what `covers_all` returns.
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

    /// Saves how far the mirror has come with its index.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_cursor(&mut self, cursor: &IndexCursor) -> Result<(), RepoError> {
        Ok(self.catalogue.set_cursor(cursor)?)
    }

    /// Saves the download rate of a run, in files per second.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_download_rate(&mut self, files_per_sec: f64) -> Result<(), RepoError> {
        Ok(self.catalogue.set_download_rate(files_per_sec)?)
    }

    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    pub(crate) fn catalogue_mut(&mut self) -> &mut Catalogue {
        &mut self.catalogue
    }

    pub(crate) fn set_bundles(&mut self, bundles: BundleStore) {
        let bundles = Arc::new(bundles);
        self.stores.set(Arc::clone(&bundles) as Arc<dyn CrateStore>);
        self.bundles = Some(bundles);
    }

    pub(crate) fn index_cache(&mut self) -> Result<&mut IndexCacheWriter, RepoError> {
        let none = || RepoError::Internal("index lines for an index cache that is closed".to_owned());
        self.index_cache.as_mut().ok_or_else(none)
    }

    /// Appends records to the manifest, durable on return; returns its length.
    pub(crate) fn append(&mut self, records: &[mirror_manifest::ManifestRecord]) -> Result<u64, RepoError> {
        let len = self.manifest.append(records)?;
        self.manifest.sync()?;
        Ok(len)
    }

    /// Returns the directory of a file when this run has not put a file there before.
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

/// Makes an id for a run: its start time and its process.
fn run_id() -> String {
    format!("{}-{}", rfc3339(SystemTime::now()).replace([':', '-'], ""), std::process::id())
}

/// Returns where a mirror keeps its catalogue, by its `.mirror`.
#[must_use]
pub fn catalogue_in(state_dir: &Path) -> PathBuf {
    state_dir.join("catalogue.sqlite")
}
