//! A store from outside this library: a directory for each crate, with a plain ZIP for each release.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};

use mirror_fs::{FileReader, Fs, ReadPart};
use mirror_store::{
    Aside, CrateStore, Listed, NewCrate, OpenCrate, Removal, StagedCrate, StoreBatch, StoreError,
};
use mirror_types::{Location, ReleaseId, StoreId};

const STORE: StoreId = StoreId(4);
const PLACE: Location = Location::Object { store: STORE, key: None };

#[derive(Debug)]
pub(crate) struct ZipStore {
    root: PathBuf,
    fs: Arc<dyn Fs>,
    next: AtomicU64,
}

fn io_at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { doing, path: path.to_owned(), source }
}

fn unless(kind: io::ErrorKind, done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == kind { Ok(()) } else { Err(error) })
}

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

/// Makes a ZIP with one uncompressed entry.
fn zip(name: &str, data: &[u8]) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).expect("small").to_le_bytes();
    let [crc, len, name_len] = [crc32(data).to_le_bytes(), number(data.len()), number(name.len())];
    let common =
        [&[10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0], &crc[..], &len, &len, &name_len[..2], &[0, 0]].concat();
    let entry = [b"PK\x03\x04", &common[..], name.as_bytes(), data].concat();
    let listed = [b"PK\x01\x02\x0a\x00", &common[..], &[0; 14], name.as_bytes()].concat();
    let (start, size) = (number(entry.len()), number(listed.len()));
    let end = [b"PK\x05\x06\0\0\0\0\x01\x00\x01\x00", &size[..], &start, &[0, 0]].concat();
    [entry, listed, end].concat()
}

impl ZipStore {
    pub(crate) fn open(root: &Path, fs: Arc<dyn Fs>) -> Result<Self, StoreError> {
        let temp = root.join(".new");
        mirror_fs::make_dir_all(root).map_err(io_at("create", root))?;
        mirror_fs::remove_tree(&temp).map_err(io_at("empty", &temp))?;
        fs.create_dir(&temp).map_err(io_at("create", &temp))?;
        Ok(Self { root: root.to_owned(), fs, next: AtomicU64::new(0) })
    }

    fn path(&self, id: &ReleaseId, at: &Location) -> Result<PathBuf, StoreError> {
        let path = self.root.join(id.name.as_str()).join(format!("{}-{}.zip", id.name, id.version));
        if *at == PLACE { Ok(path) } else { Err(StoreError::OtherStore { id: id.clone() }) }
    }
}

impl CrateStore for ZipStore {
    fn id(&self) -> StoreId {
        STORE
    }

    fn stage(&self, new: NewCrate<'_>) -> Result<StagedCrate, StoreError> {
        let path = self.root.join(format!(".new/{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let (id, size) = (new.id, new.size);
        self.fs.write_new(&path, &zip(&id.file_name(), &new.read()?)).map_err(io_at("write", &path))?;
        Ok(StagedCrate::new(STORE, id, size, path))
    }

    fn begin(self: Arc<Self>) -> Result<Box<dyn StoreBatch>, StoreError> {
        Ok(Box::new(ZipBatch(self, Vec::new())))
    }

    fn open(&self, id: &ReleaseId, at: &Location) -> Result<Option<OpenCrate>, StoreError> {
        let path = self.path(id, at)?;
        let file = match mirror_fs::open_to_read(&path).and_then(FileReader::of) {
            Ok(Some(file)) => file,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at("open", &path)(error)),
            _ => return Ok(None),
        };
        let mut head = [0; 4];
        file.read_exact_at(&mut head, 22).map_err(io_at("read", &path))?;
        let start = 30 + id.file_name().len() as u64;
        let (modified, len) = (file.modified(), u32::from_le_bytes(head).into());
        Ok(ReadPart::new(file, start, len).map(|entry| OpenCrate::new(entry, modified)))
    }

    fn remove(&self, held: &[(ReleaseId, Location)]) -> Result<Removal, StoreError> {
        for (id, at) in held {
            let path = self.path(id, at)?;
            let dir = path.parent().unwrap_or(&self.root);
            let removed = self.fs.remove(&path).and_then(|()| self.fs.sync_dirs(&self.root, &[dir]));
            unless(io::ErrorKind::NotFound, removed).map_err(io_at("remove", &path))?;
        }
        Ok(Removal::Gone)
    }

    fn set_aside(&self, id: &ReleaseId, at: &Location, _: Aside, _: &str) -> Result<Removal, StoreError> {
        self.remove(&[(id.clone(), at.clone())])
    }

    fn list(&self, visit: &mut dyn FnMut(Listed) -> ControlFlow<()>) -> Result<(), StoreError> {
        let entries = |dir: &Path| std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for dir in entries(&self.root).map_err(io_at("list", &self.root))? {
            for file in entries(&dir.path()).map_err(io_at("list", &dir.path()))? {
                let name = file.file_name().into_string().unwrap_or_default().replace(".zip", ".crate");
                let Some(id) = ReleaseId::of_file(&name) else { continue };
                let Some(size) = self.size(&id, &PLACE)? else { continue };
                if visit(Listed { id, location: PLACE, size, sha256: None }).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct ZipBatch(Arc<ZipStore>, Vec<(ReleaseId, PathBuf)>);

impl StoreBatch for ZipBatch {
    fn add(&mut self, staged: StagedCrate) -> Result<(), StoreError> {
        self.1.push((staged.id().clone(), staged.into_body()?));
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<Vec<Location>, StoreError> {
        let (ZipStore { root, fs, .. }, added) = (&*self.0, &self.1);
        let temps: Vec<&Path> = added.iter().map(|(_, temp)| temp.as_path()).collect();
        fs.sync_files(root, &temps).map_err(io_at("sync", root))?;
        let mut dirs = vec![root.clone()];
        for (id, temp) in added {
            let (to, dir) = (self.0.path(id, &PLACE)?, root.join(id.name.as_str()));
            unless(io::ErrorKind::AlreadyExists, fs.create_dir(&dir)).map_err(io_at("create", &dir))?;
            dirs.push(dir);
            fs.rename(temp, &to).map_err(io_at("publish", &to))?;
        }
        let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
        fs.sync_dirs(root, &dirs).map_err(io_at("sync", root))?;
        Ok(vec![PLACE; added.len()])
    }
}
