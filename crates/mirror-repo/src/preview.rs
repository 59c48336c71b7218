//! A mirror as a run would find it, for dry runs.

use mirror_store::Store;
use mirror_types::{Layout, ReleaseId};

use crate::bundles::check_bundles;
use crate::change_detector::ChangeDetector;
use crate::error::RepoError;
use crate::mirror::Mirror;
use crate::open::{LockedMirror, OpenOptions};
use crate::scan::lost_files;
use crate::stores::Stores;
use crate::writer::catalogue_in;

/// A mirror as [`MirrorWriter::open`](crate::MirrorWriter::open) would find it, opened to be read. It may be missing in
/// part: before the first run there is no folder, and a folder that another program filled has no catalogue.
#[derive(Debug)]
pub struct Preview {
    layout: Layout,
    store: Option<Store>,
    mirror: Option<Mirror>,
    lost: Vec<ReleaseId>,
}

impl Preview {
    /// Opens what exists, with the manifest and the bundles that a run would use, and looks for missing files. Takes no
    /// lock and writes nothing; blocks. The search ends early when `is_stopped` returns true.
    ///
    /// # Errors
    /// As [`MirrorWriter::open`](crate::MirrorWriter::open), but for the locks.
    pub fn open(options: &OpenOptions, is_stopped: &(dyn Fn() -> bool + Sync)) -> Result<Self, RepoError> {
        let (root, asked) = (&options.root, options.layout.unwrap_or_default());
        Store::check_tree(root, asked, options.layout.is_some())?;
        let (_, bundles_dir) = LockedMirror::resolve_paths(options)?;
        let store = Store::open_read_only(root, asked)?;
        let layout = store.as_ref().map_or(asked, Store::layout);
        let others = Stores::default().with(&options.stores)?;
        let (mut mirror, mut lost) = (None, Vec::new());
        if let Some(store) = &store
            && let Some(detector) = ChangeDetector::open(&catalogue_in(&store.state_dir()))?
        {
            check_bundles(detector.catalogue(), &bundles_dir)?;
            others.check(&detector.catalogue().other_stores()?)?;
            lost = lost_files(store, detector.catalogue(), is_stopped)?;
            mirror = Some(Mirror::over(root, store.clone(), detector, bundles_dir, others));
        }
        Ok(Self { layout, store, mirror, lost })
    }

    /// Returns the layout of the loose tree, or the one that a new tree would get.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the loose tree, when there is a folder.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Returns the mirror, when the folder has a catalogue.
    #[must_use]
    pub fn mirror(&self) -> Option<&Mirror> {
        self.mirror.as_ref()
    }

    /// Returns the releases that the catalogue lists in the loose tree and whose files are missing or have another
    /// size. A run would record that first.
    #[must_use]
    pub fn lost(&self) -> &[ReleaseId] {
        &self.lost
    }
}
