use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mirror_fs::ReadAt;
use mirror_types::{Location, ReleaseId, Sha256, StoreId};

use super::crate_store::{Aside, CrateStore, Listed, NewCrate, OpenCrate, Removal, StagedCrate, StoreBatch};
use crate::error::StoreError;

/// Releases in memory, for tests and embedders. Clones share them; they are gone with the last clone. A release that is
/// committed again replaces the old one.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    id: StoreId,
    held: Arc<Mutex<BTreeMap<ReleaseId, MemoryCrate>>>,
}

#[derive(Debug, Clone)]
struct MemoryCrate {
    bytes: Arc<Vec<u8>>,
    sha256: Sha256,
    modified: SystemTime,
}

impl MemoryStore {
    /// Makes an empty store of this number.
    #[must_use]
    pub fn new(id: StoreId) -> Self {
        Self { id, held: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ReleaseId, MemoryCrate>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, id: &ReleaseId, at: &Location) -> Result<(), StoreError> {
        if *at == self.location() { Ok(()) } else { Err(StoreError::OtherStore { id: id.clone() }) }
    }

    fn location(&self) -> Location {
        Location::Object { store: self.id, key: None }
    }
}

impl CrateStore for MemoryStore {
    fn id(&self) -> StoreId {
        self.id
    }

    fn stage(&self, new: NewCrate<'_>) -> Result<StagedCrate, StoreError> {
        let (id, size, sha256) = (new.id, new.size, new.sha256);
        let bytes = Arc::new(new.read()?);
        let staged = MemoryCrate { bytes, sha256, modified: SystemTime::now() };
        Ok(StagedCrate::new(self.id, id, size, staged).keeping(size))
    }

    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError> {
        Ok(Box::new(MemoryBatch { store: (*self).clone(), added: Vec::new() }))
    }

    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError> {
        self.check(id, at)?;
        Ok(self.held().get(id).map(|held| OpenCrate::new(Arc::clone(&held.bytes), held.modified)))
    }

    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError> {
        held.iter().try_for_each(|(id, at)| self.check(id, at))?;
        let mut all = self.held();
        for (id, _) in held {
            all.remove(id);
        }
        Ok(Removal::Gone)
    }

    /// Drops the bytes: there is no place in which a person could look at them.
    fn set_aside(&self, id: &ReleaseId, at: &Location, _: Aside, _: &str) -> Result<Removal, StoreError> {
        self.check(id, at)?;
        self.held().remove(id);
        Ok(Removal::Gone)
    }

    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError> {
        // `visit` may use the store.
        let all = self.held().clone();
        for (id, held) in all {
            let (location, size, sha256) = (self.location(), ReadAt::len(&*held.bytes), Some(held.sha256));
            if visit(Listed { id, location, size, sha256 }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryBatch {
    store: MemoryStore,
    added: Vec<(ReleaseId, MemoryCrate)>,
}

impl StoreBatch for MemoryBatch {
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError> {
        let id = staged.id().clone();
        self.added.push((id, staged.into_body()?));
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<Vec<Location>, StoreError> {
        let locations = vec![self.store.location(); self.added.len()];
        self.store.held().extend(self.added);
        Ok(locations)
    }
}
