//! A store of one's own, which keeps every release as a file in one directory, and the suite that checks whether it
//! fulfils [`CrateStore`].
//!
//! `cargo run -p mirror-store --example flat_store -- SCRATCH`, where SCRATCH is an empty directory.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirror_store::{
    Aside, CrateStore, FileReader, Listed, Location, NewCrate, OpenCrate, ReleaseId, Removal, StagedCrate,
    StoreBatch, StoreError, StoreId, contract,
};

const ID: StoreId = StoreId(2);
/// The name of a release determines its file.
const PLACE: Location = Location::Object { store: ID, key: None };

#[derive(Debug)]
struct FlatStore(PathBuf);

impl FlatStore {
    fn open(dir: &Path) -> Result<Self, StoreError> {
        mirror_fs::make_dir_all(dir).map_err(StoreError::at("create", dir))?;
        Ok(Self(dir.to_owned()))
    }

    fn path(&self, id: &ReleaseId, at: &Location) -> Result<PathBuf, StoreError> {
        let path = self.0.join(id.file_name());
        if *at == PLACE { Ok(path) } else { Err(StoreError::OtherStore { id: id.clone() }) }
    }

    fn sync(&self) -> Result<(), StoreError> {
        mirror_fs::sync_dir(&self.0).map_err(StoreError::at("sync", &self.0))
    }
}

impl CrateStore for FlatStore {
    fn id(&self) -> StoreId {
        ID
    }

    fn stage(&self, new: NewCrate<'_>) -> Result<StagedCrate, StoreError> {
        let (id, size) = (new.id, new.size);
        Ok(StagedCrate::new(ID, id, size, new.read()?).keeping(size))
    }

    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError> {
        Ok(Box::new(FlatBatch(self, Vec::new())))
    }

    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError> {
        let path = self.path(id, at)?;
        match mirror_fs::open_to_read(&path).and_then(FileReader::of) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Ok(file.map_err(StoreError::at("open", &path))?.map(OpenCrate::from)),
        }
    }

    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError> {
        for (id, at) in held {
            let path = self.path(id, at)?;
            mirror_fs::remove(&path).map_err(StoreError::at("remove", &path))?;
        }
        self.sync().map(|()| Removal::Gone)
    }

    fn set_aside(&self, id: &ReleaseId, at: &Location, _: Aside, _: &str) -> Result<Removal, StoreError> {
        self.remove(&[(id.clone(), at.clone())])
    }

    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError> {
        for entry in std::fs::read_dir(&self.0).map_err(StoreError::at("list", &self.0))? {
            let name = entry.map_err(StoreError::at("list", &self.0))?.file_name();
            // `.new`, which a crash may leave, is no release.
            let Some(id) = name.to_str().and_then(ReleaseId::of_file) else { continue };
            let Some(size) = self.size(&id, &PLACE)? else { continue };
            if visit(Listed { id, location: PLACE, size, sha256: None }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FlatBatch(Arc<FlatStore>, Vec<(ReleaseId, Vec<u8>)>);

impl StoreBatch for FlatBatch {
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError> {
        self.1.push((staged.id().clone(), staged.into_body()?));
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<Vec<Location>, StoreError> {
        let Self(store, added) = *self;
        for (id, bytes) in &added {
            // The bytes are durable before they have their name.
            let path = store.path(id, &PLACE)?;
            mirror_fs::replace(&path, &store.0.join(".new"), bytes)
                .map_err(StoreError::at("write", &path))?;
        }
        store.sync()?;
        Ok(vec![PLACE; added.len()])
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = std::env::args_os().nth(1).ok_or("usage: flat_store SCRATCH")?;
    check(Path::new(&scratch));
    Ok(())
}

/// Panics where the store breaks the contract.
pub(crate) fn check(scratch: &Path) {
    contract::run(scratch, &|dir| Arc::new(FlatStore::open(dir).expect("a directory for the store")));
}
