use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;

use mirror_types::{Layout, Location, ReleaseId, StoreId};

use super::crate_store::{
    Aside, CrateBody, CrateStore, Listed, NewCrate, OpenCrate, Removal, StagedCrate, StoreBatch,
};
use crate::error::{StoreError, at};
use crate::stage::{Staged, StagedWriter};
use crate::store::Store;
use crate::tree_form::TreeForm;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 128 << 10;

/// The loose tree of a mirror: one file for each release, where the layout puts it. A release that is committed again
/// replaces what was there.
#[derive(Debug, Clone)]
pub struct LooseStore {
    store: Store,
}

impl LooseStore {
    /// Takes the tree of an open mirror.
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

    fn copy(&self, rel: &str, file: &File, size: u64) -> Result<Staged, StoreError> {
        let mut writer = self.store.stage_file()?;
        let mut file = file.take(size);
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match file.read(&mut buffer).map_err(at("copy to", &writer.temp))? {
                0 => return writer.finish(rel),
                n => writer.write(&buffer[..n])?,
            }
        }
    }

    fn take(&self, rel: &str, mut spooled: StagedWriter, size: u64) -> Result<Staged, StoreError> {
        if spooled.temp.starts_with(self.store.state_dir()) {
            return spooled.finish(rel);
        }
        let (file, _) = spooled.reader()?;
        self.copy(rel, &file, size)
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

    fn stage(&self, new: NewCrate) -> Result<StagedCrate, StoreError> {
        let rel = self.path(&new.id);
        let staged = match new.body {
            CrateBody::Memory(bytes) => self.store.stage(&rel, (*bytes).as_ref())?,
            CrateBody::Spooled(spooled) => self.take(&rel, spooled, new.size)?,
            CrateBody::File(file) => self.copy(&rel, &file, new.size)?,
        };
        if staged.size() != new.size {
            return Err(StoreError::BodySize { id: new.id, found: staged.size(), said: new.size });
        }
        Ok(StagedCrate::new(new.id, new.size, staged))
    }

    fn begin(&self) -> Result<Box<dyn StoreBatch + '_>, StoreError> {
        Ok(Box::new(LooseBatch { store: &self.store, staged: Vec::new() }))
    }

    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError> {
        Ok(self.store.open_held(&self.path_at(id, at)?)?.map(OpenCrate::from))
    }

    fn size(&self, id: &ReleaseId, at: &Location) -> Result<Option<u64>, StoreError> {
        self.store.size(&self.path_at(id, at)?)
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
struct LooseBatch<'a> {
    store: &'a Store,
    staged: Vec<Staged>,
}

impl StoreBatch for LooseBatch<'_> {
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
