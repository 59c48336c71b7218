//! Where the bytes of a release are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mirror_manifest::Held;
use mirror_store::bundle::{BundleLimits, BundleReader, FrameBuffers, Member};
use mirror_store::{HeldFile, Store, StoreError};
use mirror_types::{BundleNumber, MemberLocation, ReleaseId};

use crate::error::ServeError;

/// Buffers for reading bundles that are kept for the next one, at most.
const SPARE: usize = 4;
/// Bundles that are kept open, unless told otherwise.
const OPEN_BUNDLES: usize = 64;
/// Members of bundles that are worth another thread are read so many at a time, and have their own buffers.
pub(crate) const SPARE_LARGE: usize = 2;
/// Frames up to this are read with small buffers.
const SMALL: u64 = 256 << 10;

/// The bytes of a release, found.
#[derive(Debug, Clone)]
pub enum Located {
    /// In a file of their own.
    Loose(Arc<HeldFile>),
    /// In a bundle, which was changed last at this time.
    Bundled(Arc<BundleReader>, MemberLocation, SystemTime),
}

/// Bundles that are open: those that were used last.
struct OpenBundles {
    most: usize,
    uses: u64,
    bundles: HashMap<u32, OpenBundle>,
}

struct OpenBundle {
    reader: Arc<BundleReader>,
    modified: SystemTime,
    used: u64,
}

impl OpenBundles {
    fn get(&mut self, number: u32) -> Option<&OpenBundle> {
        self.uses += 1;
        let open = self.bundles.get_mut(&number)?;
        open.used = self.uses;
        Some(open)
    }

    fn insert(&mut self, number: u32, reader: Arc<BundleReader>, modified: SystemTime) {
        self.bundles.remove(&number);
        while self.bundles.len() >= self.most
            && let Some(oldest) =
                self.bundles.iter().min_by_key(|(_, open)| open.used).map(|(number, _)| *number)
        {
            self.bundles.remove(&oldest);
        }
        self.bundles.insert(number, OpenBundle { reader, modified, used: self.uses });
    }
}

/// The loose tree and the bundles.
pub(crate) struct Places {
    store: Store,
    bundles_dir: PathBuf,
    open: Mutex<OpenBundles>,
    spare: Mutex<Vec<FrameBuffers>>,
    /// For larger frames: some MiB each.
    large: Mutex<Vec<FrameBuffers>>,
}

impl Places {
    pub(crate) fn new(store: Store, bundles_dir: PathBuf) -> Self {
        let open = Mutex::new(OpenBundles { most: OPEN_BUNDLES, uses: 0, bundles: HashMap::new() });
        Self { store, bundles_dir, open, spare: Mutex::default(), large: Mutex::default() }
    }

    /// Keeps so many bundles open and no more.
    pub(crate) fn keep_open(&self, most: usize) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).most = most.max(1);
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn bundles_dir(&self) -> &Path {
        &self.bundles_dir
    }

    /// Finds the bytes that the catalogue speaks of; `None` when they are not there, or of another
    /// length. Blocks.
    pub(crate) fn locate(&self, id: &ReleaseId, held: &Held) -> Result<Option<Located>, ServeError> {
        if held.locations.is_loose()
            && let Some(file) = self.store.open_held(&self.store.layout().path(id))?
            && file.len() == held.size
        {
            return Ok(Some(Located::Loose(Arc::new(file))));
        }
        self.bundled(held)
    }

    /// The same without opening anything that is not needed.
    pub(crate) fn is_there(&self, id: &ReleaseId, held: &Held) -> Result<bool, ServeError> {
        if held.locations.is_loose() && self.store.size(&self.store.layout().path(id))? == Some(held.size) {
            return Ok(true);
        }
        Ok(self.bundled(held)?.is_some())
    }

    /// The same, but only when nothing has to be waited for.
    pub(crate) fn locate_at_once(&self, id: &ReleaseId, held: &Held) -> Option<Located> {
        if held.locations.is_loose() {
            let file = self.store.open_held_at_once(&self.store.layout().path(id)).ok()??;
            if let Some(file) = file.filter(|file| file.len() == held.size) {
                return Some(Located::Loose(Arc::new(file)));
            }
        }
        let at = held.locations.member()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let OpenBundle { reader, modified, .. } = open.get(at.bundle)?;
        // Whoever reads the frame looks whether that has to be waited for.
        let is_there = at.offset.checked_add(at.len)? <= reader.len();
        is_there.then(|| Located::Bundled(Arc::clone(reader), at, *modified))
    }

    fn bundled(&self, held: &Held) -> Result<Option<Located>, ServeError> {
        let Some(at) = held.locations.member() else { return Ok(None) };
        let Some(end) = at.offset.checked_add(at.len) else { return Ok(None) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(at.bundle).filter(|known| end <= known.reader.len()) {
            return Ok(Some(Located::Bundled(Arc::clone(&known.reader), at, known.modified)));
        }
        // Not open yet, or grown since.
        let Some((reader, modified)) = self.open_bundle(at.bundle)? else { return Ok(None) };
        let reader = Arc::new(reader);
        open.insert(at.bundle, Arc::clone(&reader), modified);
        Ok((end <= reader.len()).then_some(Located::Bundled(reader, at, modified)))
    }

    fn open_bundle(&self, number: u32) -> Result<Option<(BundleReader, SystemTime)>, ServeError> {
        let name = BundleNumber::new(number).file_name();
        for suffix in ["", BundleNumber::PARTIAL, ""] {
            // It may get its final name between the first look and the second.
            let path = self.bundles_dir.join(format!("{name}{suffix}"));
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match BundleReader::open(&path, BundleLimits::default()) {
                Ok(reader) => return Ok(Some((reader, modified))),
                Err(_) if !path.exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Reads the member of a frame, which must be `id`; gives its data to `take`, in pieces. Blocks.
    pub(crate) fn read_frame<E: From<StoreError>>(
        &self,
        reader: &BundleReader,
        at: MemberLocation,
        id: &ReleaseId,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut is_it = false;
        let mut visit = |member: &mut Member<'_>| {
            is_it = member.release() == id;
            if is_it { member.read(take) } else { Ok(()) }
        };
        // Kept, also for the sake of memory: what each of many threads allocates and frees in turn stays with all of them.
        let (buffers, most) = if at.len <= SMALL { (&self.spare, SPARE) } else { (&self.large, SPARE_LARGE) };
        let spare = || buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().pop();
        match kept.map_or_else(FrameBuffers::new, Ok) {
            Ok(mut buffers) => {
                let read = reader.read_at_with(&mut buffers, at.offset, at.len, &mut visit);
                let mut spare = spare();
                if spare.len() < most {
                    spare.push(buffers);
                }
                read?;
            }
            // No memory for buffers of our own: its error is told by the one that makes them itself.
            Err(_) => reader.read_at(at.offset, at.len, &mut visit)?,
        }
        Ok(is_it)
    }
}
