//! Checks that the contract suite detects stores that break the contract.

use std::any::Any;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use mirror_fs::Fs;
use mirror_store::{
    Aside, CrateBody, CrateStore, Hashed, Listed, LooseStore, MemoryStore, NewCrate, OpenCrate, Removal,
    StagedCrate, Store, StoreBatch, StoreError, contract,
};
use mirror_types::{Layout, Location, ReleaseId, StoreId};

/// The fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    LosesTheLast,
    MixesUpTheOrder,
    TearsWhatIsLong,
    TakesAnyLength,
    OpensByTheWrongName,
    KeepsWhatItRemoves,
    ListsTwice,
    CommitsOnAdding,
    TakesForeignPlaces,
    HashesWrongly,
}

#[derive(Debug, Clone)]
struct Broken {
    inner: MemoryStore,
    wrong: Wrong,
}

#[derive(Debug)]
struct BrokenBatch {
    store: Arc<Broken>,
    added: Vec<StagedCrate>,
}

impl CrateStore for Broken {
    fn id(&self) -> StoreId {
        self.inner.id()
    }
    fn stage(&self, mut new: NewCrate<'_>) -> Result<StagedCrate, StoreError> {
        if let CrateBody::Memory(body) = &new.body {
            let bytes = (**body).as_ref();
            if self.wrong == Wrong::TearsWhatIsLong && bytes.len() > 100_000 {
                new.body = CrateBody::Memory(Box::new(
                    [&bytes[..100_000], &vec![0; bytes.len() - 100_000]].concat(),
                ));
            } else if self.wrong == Wrong::TakesAnyLength {
                new.size = bytes.len() as u64;
            }
        }
        self.inner.stage(new)
    }
    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError> {
        Ok(Box::new(BrokenBatch { store: self, added: Vec::new() }))
    }
    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError> {
        let at = if self.wrong == Wrong::TakesForeignPlaces {
            &Location::Object { store: self.id(), key: None }
        } else {
            at
        };
        let found = self.inner.open(id, at)?;
        if found.is_some() || self.wrong != Wrong::OpensByTheWrongName || id.name.as_str() != "other" {
            return Ok(found);
        }
        let mut any = None;
        self.inner.list(&mut |listed| {
            any = Some(listed);
            ControlFlow::Break(())
        })?;
        any.map_or(Ok(None), |listed| self.inner.open(&listed.id, &listed.location))
    }
    fn hash_each(&self, held: &[(&ReleaseId, &Location)]) -> Vec<Result<Hashed, StoreError>> {
        let mut found = self.inner.hash_each(held);
        if self.wrong == Wrong::HashesWrongly {
            found.reverse();
        }
        found
    }
    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError> {
        if self.wrong == Wrong::KeepsWhatItRemoves { Ok(Removal::Gone) } else { self.inner.remove(held) }
    }
    fn set_aside(&self, id: &ReleaseId, at: &Location, why: Aside, run: &str) -> Result<Removal, StoreError> {
        self.inner.set_aside(id, at, why, run)
    }
    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError> {
        if self.wrong == Wrong::ListsTwice {
            self.inner.list(visit)?;
        }
        self.inner.list(visit)
    }
}

impl StoreBatch for BrokenBatch {
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError> {
        if self.store.wrong == Wrong::CommitsOnAdding {
            // Under a name of its own.
            let id = ReleaseId { name: "nobody".parse().expect("name"), ..staged.id().clone() };
            let new = NewCrate {
                size: 1,
                body: CrateBody::Memory(Box::new(b"x")),
                id: &id,
                sha256: mirror_types::Sha256::from_bytes([0; 32]),
                url: "",
            };
            let mut batch = Arc::new(self.store.inner.clone()).begin()?;
            batch.add(self.store.inner.stage(new)?)?;
            batch.commit()?;
        }
        self.added.push(staged);
        Ok(())
    }
    fn commit(self: Box<Self>) -> Result<Vec<Location>, StoreError> {
        let mut added = self.added;
        let before = added.len();
        match self.store.wrong {
            Wrong::LosesTheLast => drop(added.pop()),
            Wrong::MixesUpTheOrder => added.reverse(),
            _ => {}
        }
        let mut batch = Arc::new(self.store.inner.clone()).begin()?;
        added.into_iter().try_for_each(|staged| batch.add(staged))?;
        batch.commit()?;
        Ok(vec![Location::Object { store: self.store.id(), key: None }; before])
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map_or("", String::as_str)
}

fn run(wrong: Wrong) -> Result<(), String> {
    let scratch = tempfile::tempdir().expect("dir");
    let stores = contract::Shared::default();
    let open = |place: &Path| -> Arc<dyn CrateStore> {
        Arc::new(stores.at(place, || Broken { inner: MemoryStore::new(StoreId(9)), wrong }))
    };
    let ran = catch_unwind(AssertUnwindSafe(|| contract::run(scratch.path(), &open)));
    ran.map_err(|panic| said(&*panic).to_owned())
}

#[test]
fn what_a_store_does_wrong_is_named() {
    assert_eq!(run(Wrong::Nothing), Ok(()));
    for (wrong, named) in [
        (Wrong::LosesTheLast, "is not at"),
        (Wrong::MixesUpTheOrder, "twice in one batch"),
        (Wrong::TearsWhatIsLong, "has other bytes"),
        (Wrong::TakesAnyLength, "was taken for one of"),
        (Wrong::OpensByTheWrongName, "other 1.0.0 at"),
        (Wrong::KeepsWhatItRemoves, "is still at"),
        (Wrong::ListsTwice, "listed twice"),
        (Wrong::CommitsOnAdding, "nobody committed"),
        (Wrong::TakesForeignPlaces, "../secret"),
        (Wrong::HashesWrongly, "is hashed to"),
    ] {
        let found = run(wrong).expect_err("a fault");
        assert!(found.contains(named), "{wrong:?}: {found}");
    }
}

/// A file system that omits one kind of sync.
#[derive(Debug)]
struct Careless {
    fs: Arc<dyn Fs>,
    syncs_files: bool,
}

impl Fs for Careless {
    fn write_new(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.fs.write_new(path, data)
    }
    fn create_new(&self, path: &Path) -> io::Result<File> {
        self.fs.create_new(path)
    }
    fn open_to_append(&self, path: &Path) -> io::Result<File> {
        self.fs.open_to_append(path)
    }
    fn append(&self, file: &File, path: &Path, data: &[u8]) -> io::Result<()> {
        self.fs.append(file, path, data)
    }
    fn cut(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.fs.cut(file, path, len)
    }
    fn sync_file(&self, _: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_files(&self, root: &Path, files: &[&Path]) -> io::Result<()> {
        if self.syncs_files { self.fs.sync_files(root, files) } else { Ok(()) }
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }
    fn sync_dirs(&self, root: &Path, dirs: &[&Path]) -> io::Result<()> {
        if self.syncs_files { Ok(()) } else { self.fs.sync_dirs(root, dirs) }
    }
}

#[test]
fn a_store_that_leaves_out_a_sync_does_not_survive_crashes() {
    for (syncs_files, named) in [(false, "Bytes after step"), (true, "Unsynced after step")] {
        let scratch = tempfile::tempdir().expect("dir");
        let open = |root: &Path, fs: Arc<dyn Fs>| -> Result<Arc<dyn CrateStore>, StoreError> {
            let store = Store::open_on(Arc::new(Careless { fs, syncs_files }), root, Layout::Shard, false)?;
            Ok(Arc::new(LooseStore::new(store)))
        };
        let ran = catch_unwind(AssertUnwindSafe(|| contract::run_crashes(scratch.path(), &open)));
        let panic = ran.expect_err("it is found out");
        assert!(said(&*panic).contains(named), "{}", said(&*panic));
    }
}
