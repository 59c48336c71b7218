//! Where the bytes of a release are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mirror_manifest::{Frame, Held};
use mirror_store::bundle::{BundleLimits, BundleReader, FrameBuffers, Member};
use mirror_store::{HeldFile, Store, StoreError};
use mirror_types::ReleaseId;

use crate::error::ServeError;

/// Buffers for reading bundles that are kept for the next one, at most.
const SPARE: usize = 4;
/// Frames that are read with kept buffers, which would grow for good with larger ones.
const SMALL: u64 = 256 << 10;

/// The bytes of a release, found.
#[derive(Debug, Clone)]
pub enum Located {
    /// In a file of their own.
    Loose(Arc<HeldFile>),
    /// In a bundle, which was changed last at this time.
    Bundled(Arc<BundleReader>, Frame, SystemTime),
}

/// The loose tree and the bundles.
pub(crate) struct Places {
    store: Store,
    bundles_dir: PathBuf,
    open: Mutex<HashMap<u32, (Arc<BundleReader>, SystemTime)>>,
    spare: Mutex<Vec<FrameBuffers>>,
}

impl Places {
    pub(crate) fn new(store: Store, bundles_dir: PathBuf) -> Self {
        Self { store, bundles_dir, open: Mutex::default(), spare: Mutex::default() }
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
        if held.loose
            && let Some(file) = self.store.open_held(&self.store.layout().path(id))?
            && file.len() == held.size
        {
            return Ok(Some(Located::Loose(Arc::new(file))));
        }
        self.bundled(held)
    }

    /// The same without opening anything that is not needed.
    pub(crate) fn is_there(&self, id: &ReleaseId, held: &Held) -> Result<bool, ServeError> {
        if held.loose && self.store.size(&self.store.layout().path(id))? == Some(held.size) {
            return Ok(true);
        }
        Ok(self.bundled(held)?.is_some())
    }

    /// The same, but only when nothing has to be waited for.
    pub(crate) fn locate_at_once(&self, id: &ReleaseId, held: &Held) -> Option<Located> {
        if held.loose {
            let file = self.store.open_held_at_once(&self.store.layout().path(id)).ok()??;
            if let Some(file) = file.filter(|file| file.len() == held.size) {
                return Some(Located::Loose(Arc::new(file)));
            }
        }
        let frame = held.frame?;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, modified) = open.get(&frame.bundle)?;
        (frame.offset.checked_add(frame.len)? <= reader.len() && reader.is_at_hand(frame.offset, frame.len))
            .then(|| Located::Bundled(Arc::clone(reader), frame, *modified))
    }

    fn bundled(&self, held: &Held) -> Result<Option<Located>, ServeError> {
        let Some(frame) = held.frame else { return Ok(None) };
        let Some(end) = frame.offset.checked_add(frame.len) else { return Ok(None) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((reader, modified)) = open.get(&frame.bundle).filter(|(reader, _)| end <= reader.len()) {
            return Ok(Some(Located::Bundled(Arc::clone(reader), frame, *modified)));
        }
        // Not open yet, or grown since.
        let Some((reader, modified)) = self.open_bundle(frame.bundle)? else { return Ok(None) };
        let reader = Arc::new(reader);
        open.insert(frame.bundle, (Arc::clone(&reader), modified));
        Ok((end <= reader.len()).then_some(Located::Bundled(reader, frame, modified)))
    }

    fn open_bundle(&self, number: u32) -> Result<Option<(BundleReader, SystemTime)>, ServeError> {
        for suffix in ["", ".partial", ""] {
            // It may get its final name between the first look and the second.
            let path = self.bundles_dir.join(format!("bundle-{number:04}.tar.zst{suffix}"));
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
        frame: Frame,
        id: &ReleaseId,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut is_it = false;
        let mut visit = |member: &mut Member<'_>| {
            is_it = member.release() == id;
            if is_it { member.read(take) } else { Ok(()) }
        };
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = if frame.len <= SMALL { spare().pop() } else { None };
        match kept.map_or_else(FrameBuffers::new, Ok) {
            Ok(mut buffers) => {
                let read = reader.read_at_with(&mut buffers, frame.offset, frame.len, &mut visit);
                let mut spare = spare();
                if frame.len <= SMALL && spare.len() < SPARE {
                    spare.push(buffers);
                }
                read?;
            }
            // No memory for buffers of our own: its error is told by the one that makes them itself.
            Err(_) => reader.read_at(frame.offset, frame.len, &mut visit)?,
        }
        Ok(is_it)
    }
}
