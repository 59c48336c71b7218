use std::ops::ControlFlow;
use std::sync::Arc;

use mirror_fs::ReadAt;
use mirror_types::{Layout, Location, ReleaseId, StoreId};

use super::crate_store::{
    Aside, CrateBody, CrateStore, Hashed, Listed, NewCrate, OpenCrate, Removal, StagedCrate, StoreBatch,
    pieces,
};
use crate::error::{StoreError, at};
use crate::stage::{Staged, StagedWriter};
use crate::store::Store;
use crate::tree_form::TreeForm;

/// The loose tree of a mirror: one file for each release, at its place in the layout. A release that is committed again
/// replaces the old one.
#[derive(Debug, Clone)]
pub struct LooseStore {
    store: Store,
}

impl LooseStore {
    /// Makes the store of an open mirror.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    fn path(&self, id: &ReleaseId) -> String {
        self.store.layout().path(id)
    }

    /// Returns the path of a release, when `at` is a place in this tree.
    fn path_at(&self, id: &ReleaseId, at: &Location) -> Result<String, StoreError> {
        let path = self.path(id);
        match at {
            Location::Object { store: StoreId::LOOSE, key }
                if key.as_deref().is_none_or(|key| key == path) =>
            {
                Ok(path)
            }
            _ => Err(StoreError::OtherStore { id: id.clone() }),
        }
    }

    fn copy(&self, rel: &str, source: &dyn ReadAt) -> Result<Staged, StoreError> {
        let mut writer = self.store.stage_file()?;
        let mut written = Ok(());
        let read = pieces(source, &mut |piece| {
            written = writer.write(piece);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        read.map_err(at("read what is copied to", &writer.temp))?;
        written?;
        writer.finish(rel)
    }

    fn take(&self, rel: &str, spooled: StagedWriter) -> Result<Staged, StoreError> {
        if spooled.temp.starts_with(self.store.state_dir()) {
            return spooled.finish(rel);
        }
        self.copy(rel, &spooled.reader()?)
    }

    fn list_dir(
        &self,
        dir: &str,
        visit: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        for name in self.store.list_files(dir)? {
            let rel = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let Some(id) = release_at(&rel, self.store.layout()) else { continue };
            let Some(size) = self.store.size(&rel)? else { continue };
            if visit(Listed { id, location: Location::LOOSE, size, sha256: None }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn release_at(rel: &str, layout: Layout) -> Option<ReleaseId> {
    let (id, form) = TreeForm::of_path(rel, layout)?;
    (form == TreeForm::Layout(layout)).then_some(id)
}

impl CrateStore for LooseStore {
    fn id(&self) -> StoreId {
        StoreId::LOOSE
    }

    fn stage(&self, new: NewCrate<'_>) -> Result<StagedCrate, StoreError> {
        let rel = self.path(new.id);
        let staged = match new.body {
            CrateBody::Memory(bytes) => self.store.stage(&rel, (*bytes).as_ref())?,
            CrateBody::Spooled(spooled) => self.take(&rel, spooled)?,
            CrateBody::Reader(source) => self.copy(&rel, &*source)?,
        };
        if staged.size() != new.size {
            return Err(StoreError::BodySize { id: new.id.clone(), found: staged.size(), said: new.size });
        }
        Ok(StagedCrate::new(StoreId::LOOSE, new.id, new.size, staged))
    }

    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError> {
        Ok(Box::new(LooseBatch { store: self.store.clone(), staged: Vec::new() }))
    }

    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError> {
        Ok(self.store.open_held(&self.path_at(id, at)?)?.map(OpenCrate::from))
    }

    fn size(&self, id: &ReleaseId, at: &Location) -> Result<Option<u64>, StoreError> {
        self.store.size(&self.path_at(id, at)?)
    }

    /// Hashes several small files at once; see [`Store::hash_each`].
    fn hash_each(&self, held: &[(&ReleaseId, &Location)]) -> Vec<Result<Hashed, StoreError>> {
        let paths: Vec<_> = held.iter().map(|(id, at)| self.path_at(id, at)).collect();
        let ours: Vec<&str> = paths.iter().filter_map(|path| path.as_deref().ok()).collect();
        let mut found = self.store.hash_each(&ours).into_iter();
        let hashed = |path: Result<String, StoreError>| match path.map(|_| found.next())? {
            Some(found) => {
                Ok(found?.map_or(Hashed::Missing, |(sha256, size)| Hashed::Bytes { sha256, size }))
            }
            None => Ok(Hashed::Missing),
        };
        paths.into_iter().map(hashed).collect()
    }

    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError> {
        let paths = held.iter().map(|(id, at)| self.path_at(id, at)).collect::<Result<Vec<_>, _>>()?;
        self.store.remove(paths)?;
        Ok(Removal::Gone)
    }

    fn set_aside(&self, id: &ReleaseId, at: &Location, why: Aside, run: &str) -> Result<Removal, StoreError> {
        self.store.set_aside(&self.path_at(id, at)?, why.dir(), run)?;
        Ok(Removal::Gone)
    }

    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError> {
        let mut dirs = vec![String::new()];
        while let Some(dir) = dirs.pop() {
            if self.list_dir(&dir, visit)?.is_break() {
                break;
            }
            dirs.extend(self.store.list_dirs(&dir)?);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct LooseBatch {
    store: Store,
    staged: Vec<Staged>,
}

impl StoreBatch for LooseBatch {
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError> {
        self.staged.push(staged.into_body()?);
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<Vec<Location>, StoreError> {
        let locations = vec![Location::LOOSE; self.staged.len()];
        self.store.commit(self.staged)?;
        Ok(locations)
    }
}
