//! Keeps bundles open, and reads single members from them.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mirror_types::{FaultKind, MemberLocation, ReleaseId, Sha256};

use crate::error::BundleError;
use crate::limits::BundleLimits;
use crate::member::Member;
use crate::names::{bundle_path, list_bundles};
use crate::reader::{BundleReader, FrameBuffers};

/// Most read buffers that are kept for reuse.
const SPARE_BUFFERS: usize = 4;
/// Most bundles that are kept open by default.
const MAX_OPEN: usize = 64;
/// Largest frame that is read with small buffers, bytes.
const SMALL_FRAME_BYTES: u64 = 256 << 10;

/// The most recently used bundles of a directory, open. Any number of threads may share it.
pub struct OpenBundles {
    dir: PathBuf,
    open: Mutex<Recent>,
    spare: Mutex<Vec<FrameBuffers>>,
    /// Buffers for larger frames: some MiB each.
    large: Mutex<Vec<FrameBuffers>>,
}

/// A bundle that is open.
#[derive(Debug, Clone)]
pub struct OpenBundle {
    /// The reader of the bundle.
    pub reader: Arc<BundleReader>,
    /// The time of its last modification.
    pub modified: SystemTime,
}

struct Recent {
    most: usize,
    uses: u64,
    /// The bundles by number, each with the number of its last use.
    bundles: HashMap<u32, (OpenBundle, u64)>,
}

impl Recent {
    /// Returns an open bundle that extends as far as a member.
    fn get(&mut self, at: MemberLocation) -> Option<OpenBundle> {
        let end = at.offset.checked_add(at.len)?;
        self.uses += 1;
        let (bundle, used) = self.bundles.get_mut(&at.bundle)?;
        *used = self.uses;
        (end <= bundle.reader.len()).then(|| bundle.clone())
    }

    fn insert(&mut self, number: u32, bundle: OpenBundle) {
        self.bundles.remove(&number);
        while self.bundles.len() >= self.most
            && let Some(oldest) =
                self.bundles.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number)
        {
            self.bundles.remove(&oldest);
        }
        self.bundles.insert(number, (bundle, self.uses));
    }
}

impl fmt::Debug for OpenBundles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the bundles in {}", self.dir.display())
    }
}

impl OpenBundles {
    /// Most members with large frames that are worth reading at the same time: for this many, buffers are kept.
    pub const LARGE_AT_ONCE: usize = 2;

    /// Makes the cache; opens nothing yet.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        let open = Mutex::new(Recent { most: MAX_OPEN, uses: 0, bundles: HashMap::new() });
        Self { dir, open, spare: Mutex::default(), large: Mutex::default() }
    }

    /// Returns the directory of the bundles.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets the number of bundles that are kept open.
    pub fn keep_open(&self, most: usize) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).most = most.max(1);
    }

    /// Opens the bundle of a member, unless it is open; `None` when none extends that far. Blocks.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn find(&self, at: MemberLocation) -> Result<Option<OpenBundle>, BundleError> {
        let Some(end) = at.offset.checked_add(at.len) else { return Ok(None) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(at) {
            return Ok(Some(known));
        }
        // The bundle is not open, or was appended to since.
        let Some(bundle) = self.open(at.bundle)? else { return Ok(None) };
        open.insert(at.bundle, bundle.clone());
        Ok((end <= bundle.reader.len()).then_some(bundle))
    }

    /// Returns the bundle of a member when it is open. Reading the member may still wait for the disk.
    #[must_use]
    pub fn find_at_once(&self, at: MemberLocation) -> Option<OpenBundle> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(at)
    }

    fn open(&self, number: u32) -> Result<Option<OpenBundle>, BundleError> {
        // The bundle may get its final name between the first look and the second.
        for is_sealed in [true, false, true] {
            let path = bundle_path(&self.dir, number, is_sealed);
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match BundleReader::open(&path, BundleLimits::default()) {
                Ok(reader) => return Ok(Some(OpenBundle { reader: Arc::new(reader), modified })),
                Err(_) if !path.exists() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Passes the member at a place of an open bundle to `visit`, if it is `id`; returns whether it is. Blocks.
    ///
    /// # Errors
    /// When the bundle is damaged there or cannot be read; what `visit` returns.
    pub fn visit<E: From<BundleError>>(
        &self,
        reader: &BundleReader,
        at: MemberLocation,
        id: &ReleaseId,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut is_it = false;
        let mut check = |member: &mut Member<'_>| {
            is_it = member.release() == id;
            if is_it { visit(member) } else { Ok(()) }
        };
        // The buffers are kept, also to bound memory: memory that each of many threads allocates and frees in turn
        // stays allocated for each of them.
        let (buffers, most) = if at.len <= SMALL_FRAME_BYTES {
            (&self.spare, SPARE_BUFFERS)
        } else {
            (&self.large, Self::LARGE_AT_ONCE)
        };
        let spare = || buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().pop();
        match kept.map_or_else(FrameBuffers::new, Ok) {
            Ok(mut buffers) => {
                let read = reader.read_at_with(&mut buffers, at.offset, at.len, &mut check);
                let mut spare = spare();
                if spare.len() < most {
                    spare.push(buffers);
                }
                read?;
            }
            // There is no memory for buffers here: `read_at` makes its own, and reports the error.
            Err(_) => reader.read_at(at.offset, at.len, &mut check)?,
        }
        Ok(is_it)
    }

    /// Passes the member at a place to `visit`; returns false when its bundle is missing or damaged there, or another
    /// release is there. Blocks.
    ///
    /// # Errors
    /// When the directory or a bundle cannot be read; what `visit` returns.
    pub fn visit_if_whole(
        &self,
        at: MemberLocation,
        id: &ReleaseId,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<(), BundleError>,
    ) -> Result<bool, BundleError> {
        let Some(bundle) = self.find(at)? else {
            // A directory that cannot be listed is an error, unlike a missing bundle.
            return list_bundles(&self.dir).map(|_| false);
        };
        match self.visit(&bundle.reader, at, id, visit) {
            Err(error) if error.kind() == FaultKind::Integrity => Ok(false),
            visited => visited,
        }
    }

    /// Returns hash and size of a member; `None` when it is missing or damaged.
    ///
    /// # Errors
    /// When the directory or a bundle cannot be read.
    pub fn hash(&self, at: MemberLocation, id: &ReleaseId) -> Result<Option<(Sha256, u64)>, BundleError> {
        let mut found = None;
        let is_whole = self.visit_if_whole(at, id, &mut |member| {
            found = Some((member.sha256()?, member.size()));
            Ok(())
        })?;
        Ok(found.filter(|_| is_whole))
    }
}
