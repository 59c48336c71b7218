use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mirror_fs::{FileLock, Fs, LocalFs, LockFault, SyncMode};
use mirror_types::Layout;

use crate::error::{StoreError, at};
use crate::path::below;
use crate::record::MirrorRecord;
use crate::stage::{Staged, StagedWriter};
use crate::times::nanos;
use crate::tree_form::TreeForm;
use crate::tree_scan::{layout_of_tree, tree_form};

/// An open mirror root. Clones share it. Only one process at a time may hold it for writing.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    layout: Layout,
    fs: Arc<dyn Fs>,
    next: AtomicU64,
    /// Directories that exist and are no links, each with whether this store made it.
    dirs: Mutex<HashMap<String, bool>>,
    /// Held for as long as the store lives; `None` when it was opened for reading.
    _lock: Option<FileLock>,
}

impl Store {
    /// Opens a mirror for writing, or creates it. Takes the lock, checks the layout, removes what an interrupted run
    /// left in the stage. A tree without a record has the layout of the releases in it; `layout` is that of a new one,
    /// and `asked` says whether the caller's user requested it.
    ///
    /// # Errors
    /// When another run holds it, the layout differs, the releases are in the layout of another tool, or the disk
    /// refuses.
    pub fn open(root: &Path, layout: Layout, asked: bool) -> Result<Self, StoreError> {
        let layout = match has_record(root)? {
            true => layout,
            false => layout_of_tree(root, layout, asked)?,
        };
        check_moved(root)?;
        Self::open_as(None, root, layout, asked, false)
    }

    /// Opens a mirror for writing as [`Store::open`] does, and changes it through `fs`: for tests that simulate faults.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(fs: Arc<dyn Fs>, root: &Path, layout: Layout, asked: bool) -> Result<Self, StoreError> {
        Self::check_tree(root, layout, asked)?;
        Self::open_as(Some(fs), root, layout, asked, false)
    }

    /// Opens a mirror whose releases may be in the layout of another tool, to move them to their places. Until
    /// [`Store::moved`] was called, [`Store::open`] refuses such a tree.
    ///
    /// # Errors
    /// As [`Store::open`], but for trees of other tools.
    pub fn open_to_move(root: &Path, layout: Layout, asked: bool) -> Result<Self, StoreError> {
        let is_other = match tree_form(root, layout)? {
            _ if has_record(root)? => false,
            Some((TreeForm::Layout(_), _)) | None => false,
            Some(_) => true,
        };
        if is_other || check_moved(root).is_err() {
            return Self::open_as(None, root, layout, asked, is_other);
        }
        Self::open(root, layout, asked)
    }

    /// Records that every release is in its place.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn moved(&self) -> Result<(), StoreError> {
        let path = self.state_dir().join(MOVING);
        absent_is_fine(self.fs().remove(&path)).map_err(at("remove", &path))
    }

    /// Opens the store. `moving`: releases are to be moved before anything else.
    fn open_as(
        fs: Option<Arc<dyn Fs>>,
        root: &Path,
        layout: Layout,
        asked: bool,
        moving: bool,
    ) -> Result<Self, StoreError> {
        let state = root.join(".mirror");
        let dirs = fs.clone().unwrap_or_else(|| Arc::new(LocalFs::new(SyncMode::EachFile)));
        mirror_fs::make_root(root).map_err(at("create", root))?;
        if plain_dir(&*dirs, &state)? {
            dirs.sync_dirs(root, &[root]).map_err(at("make durable", root))?;
        }
        let lock = lock(root, &state.join("lock"))?;
        let record = MirrorRecord::read(root)?;
        let layout = match &record {
            Some(MirrorRecord { layout: found, .. }) if asked && *found != layout => {
                return Err(StoreError::LayoutMismatch {
                    root: root.to_owned(),
                    found: *found,
                    asked: layout,
                });
            }
            Some(found) => found.layout,
            None => layout,
        };
        let stage = state.join("stage");
        if !plain_dir(&*dirs, &stage)? {
            mirror_fs::remove_tree(&stage).map_err(at("empty", &stage))?;
            dirs.create_dir(&stage).map_err(at("create", &stage))?;
        }
        let fs = fs.unwrap_or_else(|| Arc::new(LocalFs::new(SyncMode::of(root))));
        let store = Self::on(fs, root, layout, Some(lock));
        if moving {
            store.write_state(MOVING, b"")?;
            store.commit(Vec::new())?;
        }
        if record.is_none() {
            store.set_record(&MirrorRecord::of_layout(layout))?;
        }
        Ok(store)
    }

    /// Replaces the record of the mirror; durable on return. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; the record is then the old one or the new one.
    pub fn set_record(&self, record: &MirrorRecord) -> Result<(), StoreError> {
        let staged = self.stage(".mirror/mirror.json", record.to_text().as_bytes())?;
        self.commit(vec![staged])
    }

    /// Refuses what [`Store::open`] would refuse in a tree without a record. Writes nothing; blocks.
    ///
    /// # Errors
    /// When the releases are in another layout than the requested one, or in the layout of another tool.
    pub fn check_tree(root: &Path, layout: Layout, asked: bool) -> Result<(), StoreError> {
        check_moved(root)?;
        if has_record(root)? {
            return Ok(());
        }
        layout_of_tree(root, layout, asked).map(drop)
    }

    /// Opens a mirror for reading; takes no lock, writes nothing. `None` when there is none.
    ///
    /// # Errors
    /// When its record cannot be understood.
    pub fn open_read_only(root: &Path, layout: Layout) -> Result<Option<Self>, StoreError> {
        let found = MirrorRecord::read(root)?;
        Ok(match found {
            Some(found) => Some(Self::to_read(root, found.layout)),
            None if root.is_dir() => {
                let found = match tree_form(root, layout)? {
                    Some((TreeForm::Layout(found), _)) => found,
                    _ => layout,
                };
                Some(Self::to_read(root, found))
            }
            None => None,
        })
    }

    fn to_read(root: &Path, layout: Layout) -> Self {
        Self::on(Arc::new(LocalFs::new(SyncMode::EachFile)), root, layout, None)
    }

    fn on(fs: Arc<dyn Fs>, root: &Path, layout: Layout, lock: Option<FileLock>) -> Self {
        Self(Arc::new(Inner {
            root: root.to_owned(),
            layout,
            fs,
            next: AtomicU64::new(0),
            dirs: Mutex::default(),
            _lock: lock,
        }))
    }

    pub(crate) fn fs(&self) -> &Arc<dyn Fs> {
        &self.0.fs
    }

    /// Returns the layout of this mirror.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.0.layout
    }

    /// Returns the mirror root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Returns the path of `.mirror` below the root.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.0.root.join(".mirror")
    }

    fn temp(&self) -> PathBuf {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.root.join(format!(".mirror/stage/{number}"))
    }

    /// Writes `data` into the stage, to be published as `rel`. Not durable yet. Blocks.
    ///
    /// # Errors
    /// When `rel` is not a plain relative path or the disk refuses.
    pub fn stage(&self, rel: &str, data: &[u8]) -> Result<Staged, StoreError> {
        below(&self.0.root, rel)?;
        let temp = self.temp();
        self.0.fs.write_new(&temp, data).map_err(at("write", &temp))?;
        Ok(Staged { temp, rel: rel.to_owned(), size: data.len() as u64, published: false })
    }

    /// Stages a file of another store, to be published as `rel`: as a hard link when `link` is true and the file
    /// systems allow it, else as a copy. Returns whether it is a link. Blocks.
    ///
    /// # Errors
    /// When a path is not plain, the file is missing, or the disk refuses.
    pub fn stage_from(
        &self,
        other: &Self,
        path: &str,
        rel: &str,
        link: bool,
    ) -> Result<(Staged, bool), StoreError> {
        below(&self.0.root, rel)?;
        let from = below(&other.0.root, path)?;
        mirror_fs::is_file(&from).map_err(at("look at", &from))?;
        let temp = self.temp();
        let linked = link && mirror_fs::hard_link(&from, &temp).is_ok();
        if !linked {
            let mut source =
                mirror_fs::patient(|| mirror_fs::open_to_read(&from)).map_err(at("open", &from))?;
            let mut file = self.0.fs.create_new(&temp).map_err(at("create", &temp))?;
            io::copy(&mut source, &mut file).map_err(at("copy to", &temp))?;
        }
        let size = fs::symlink_metadata(&temp).map_err(at("look at", &temp))?.len();
        Ok((Staged { temp, rel: rel.to_owned(), size, published: false }, linked))
    }

    /// Opens a file in the stage for a large body.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn stage_file(&self) -> Result<StagedWriter, StoreError> {
        let temp = self.temp();
        let file = self.0.fs.create_new(&temp).map_err(at("create", &temp))?;
        Ok(StagedWriter { fs: Arc::clone(&self.0.fs), file, temp, finished: false })
    }

    /// Makes a batch durable under its final names: syncs the data, renames the files, then syncs the directories. On
    /// return, all of it survives a power cut. Blocks.
    ///
    /// # Errors
    /// The first fault; files renamed before it are whole, the rest is dropped.
    pub fn commit(&self, mut batch: Vec<Staged>) -> Result<(), StoreError> {
        let root = &self.0.root;
        let temps: Vec<&Path> = batch.iter().map(|staged| staged.temp.as_path()).collect();
        self.0.fs.sync_files(root, &temps).map_err(at("make durable what is staged below", root))?;
        let mut touched = HashSet::new();
        for staged in &mut batch {
            let path = below(root, &staged.rel)?;
            // `""` is the root.
            let dir = staged.rel.rsplit_once('/').map_or("", |(dir, _)| dir);
            if !dir.is_empty() {
                self.make_dirs(dir, &mut touched)?;
            }
            if !touched.contains(dir) {
                touched.insert(dir.to_owned());
            }
            self.0.fs.rename(&staged.temp, &path).map_err(|error| match path.is_dir() {
                true => StoreError::Strange { path: path.clone(), expected: "a regular file" },
                false => at("publish", &path)(error),
            })?;
            staged.published = true;
        }
        self.sync_dirs(touched)
    }

    /// Makes the entries of directories below the root durable.
    pub(crate) fn sync_dirs(&self, dirs: HashSet<String>) -> Result<(), StoreError> {
        let root = &self.0.root;
        let dirs: Vec<PathBuf> =
            dirs.into_iter().map(|dir| root.join(dir)).filter(|dir| dir.is_dir()).collect();
        let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
        self.0.fs.sync_dirs(root, &dirs).map_err(at("make durable the directories below", root))
    }

    /// Makes the directory `rel` part by part; refuses links among the parts.
    pub(crate) fn make_dirs(&self, rel: &str, touched: &mut HashSet<String>) -> Result<(), StoreError> {
        let mut known = self.0.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(rel) {
            return Ok(());
        }
        let ends = rel.match_indices('/').map(|(at, _)| at).chain([rel.len()]);
        for end in ends {
            let part = &rel[..end];
            if !known.contains_key(part) {
                let path = below(&self.0.root, part)?;
                let made = plain_dir(&*self.0.fs, &path)?;
                if made {
                    // The entry of a new directory is in its parent; `""` is the root.
                    touched.insert(part.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned());
                }
                known.insert(part.to_owned(), made);
            }
        }
        Ok(())
    }

    /// Returns whether a file that was not committed here may be at `rel`. There is none when its directory does not
    /// exist yet, or was made by this store: that is cheaper to know than to look for each file.
    ///
    /// # Errors
    /// When `rel` is not a plain relative path.
    pub fn may_hold(&self, rel: &str) -> Result<bool, StoreError> {
        let Some((dir, _)) = rel.rsplit_once('/') else { return Ok(true) };
        if let Some(made) = self.0.dirs.lock().unwrap_or_else(PoisonError::into_inner).get(dir) {
            return Ok(!made);
        }
        let path = below(&self.0.root, dir)?;
        Ok(!fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
    }

    /// Returns whether a file is held.
    ///
    /// # Errors
    /// When something other than a regular file is there, or the disk refuses.
    pub fn has(&self, rel: &str) -> Result<bool, StoreError> {
        let path = below(&self.0.root, rel)?;
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(true),
            Ok(_) => Err(StoreError::Strange { path, expected: "a regular file" }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at("look at", &path)(error)),
        }
    }

    /// Reads a small held file. Blocks.
    ///
    /// # Errors
    /// When it is missing, not a regular file, or cannot be read.
    pub fn read(&self, rel: &str) -> Result<Vec<u8>, StoreError> {
        let path = below(&self.0.root, rel)?;
        let mut bytes = Vec::new();
        let read = mirror_fs::patient(|| mirror_fs::open_to_read(&path))
            .and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(at("read", &path))?;
        Ok(bytes)
    }

    /// Opens a held file, to be read from its beginning. Blocks.
    ///
    /// # Errors
    /// When it is missing, not a regular file, or cannot be read.
    pub fn open_file(&self, rel: &str) -> Result<File, StoreError> {
        let path = below(&self.0.root, rel)?;
        mirror_fs::patient(|| mirror_fs::open_to_read(&path)).map_err(at("open", &path))
    }

    /// Returns whether the mirror holds nothing but its own state.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let root = &self.0.root;
        for entry in mirror_fs::patient(|| fs::read_dir(root)).map_err(at("list", root))? {
            if entry.map_err(at("list", root))?.file_name() != ".mirror" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the size of a held file in bytes; `None` when there is none, or something that is no regular file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn size(&self, rel: &str) -> Result<Option<u64>, StoreError> {
        let path = below(&self.0.root, rel)?;
        match fs::symlink_metadata(&path) {
            Ok(meta) => Ok(meta.is_file().then_some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("look at", &path)(error)),
        }
    }

    /// Returns a text that distinguishes this mirror from a copy of it, whose directories may have the times of the
    /// original and lack some of its files.
    #[must_use]
    pub fn identity(&self) -> String {
        let Ok(meta) = fs::metadata(self.state_dir()) else { return "unknown".to_owned() };
        let born = meta.created().map_or(0, nanos);
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let number = 0;
        format!("{number}, {born}")
    }

    /// Moves a held file to `.mirror/{into}/{rel}.{suffix}`, which keeps its bytes. A missing file is no error.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_aside(&self, rel: &str, into: &str, suffix: &str) -> Result<(), StoreError> {
        let from = below(&self.0.root, rel)?;
        let aside = format!("{into}/{rel}.{suffix}");
        let to = below(&self.state_dir(), &aside)?;
        if !self.check_dirs(rel)? {
            return Ok(());
        }
        self.make_state_dirs(&aside)?;
        absent_is_fine(self.0.fs.rename(&from, &to)).map_err(at("set aside", &from))
    }

    /// Removes held files; on return, the removal survives a power cut. A missing file is no error. Blocks.
    ///
    /// # Errors
    /// When a path is not plain or the disk refuses; some files may be gone then.
    pub fn remove(&self, rels: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        let root = &self.0.root;
        let mut touched = HashSet::new();
        for rel in rels {
            let path = below(root, &rel)?;
            if !self.check_dirs(&rel)? {
                continue;
            }
            absent_is_fine(self.0.fs.remove(&path)).map_err(at("remove", &path))?;
            if let Some(dir) = path.parent().filter(|dir| dir.is_dir()) {
                touched.insert(dir.to_owned());
            }
        }
        let touched: Vec<&Path> = touched.iter().map(PathBuf::as_path).collect();
        self.0.fs.sync_dirs(root, &touched).map_err(at("make durable the directories below", root))
    }

    /// Replaces a small file below `.mirror` atomically; not durable at once.
    ///
    /// # Errors
    /// When the path is not plain or the disk refuses.
    pub fn write_state(&self, rel: &str, data: &[u8]) -> Result<(), StoreError> {
        let path = below(&self.state_dir(), rel)?;
        self.make_state_dirs(rel)?;
        mirror_fs::is_file(&path).map_err(at("look at", &path))?;
        let mut staged = self.stage(rel, data)?;
        self.0.fs.rename(&staged.temp, &path).map_err(at("replace", &path))?;
        staged.published = true;
        Ok(())
    }

    /// Reads a small file below `.mirror`; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_state(&self, rel: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = below(&self.state_dir(), rel)?;
        self.check_dirs(&format!(".mirror/{rel}"))?;
        let mut bytes = Vec::new();
        let read = mirror_fs::patient(|| mirror_fs::open_to_read(&path))
            .and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// Makes the directories of a file below `.mirror`; refuses links among them.
    fn make_state_dirs(&self, rel: &str) -> Result<(), StoreError> {
        let rel = format!(".mirror/{rel}");
        match rel.rsplit_once('/') {
            Some((dir, _)) => self.make_dirs(dir, &mut HashSet::new()),
            None => Ok(()),
        }
    }

    /// Refuses obstacles to writing a release: a link, or anything else that is no directory, among its directories, or
    /// anything but a regular file at its place. Looks at each directory once. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Strange`] with the path of the obstacle; also when the disk refuses.
    pub fn check_way(&self, rel: &str) -> Result<(), StoreError> {
        let path = below(&self.0.root, rel)?;
        if self.check_dirs(rel)? {
            mirror_fs::is_file(&path).map_err(at("look at", &path))?;
        }
        Ok(())
    }

    /// Refuses a link, or anything else that is no directory, among the directories of a release: a change there would
    /// not be one of the mirror. Returns whether all of them exist. Looks at each directory once.
    pub(crate) fn check_dirs(&self, rel: &str) -> Result<bool, StoreError> {
        let Some((dir, _)) = rel.rsplit_once('/') else { return Ok(true) };
        let mut known = self.0.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(dir) {
            return Ok(true);
        }
        for (end, _) in rel.match_indices('/') {
            let part = &rel[..end];
            let path = below(&self.0.root, part)?;
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => known.entry(part.to_owned()).or_insert(false),
                Ok(_) => return Err(StoreError::Strange { path, expected: "a directory" }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(at("look at", &path)(error)),
            };
        }
        Ok(true)
    }
}

/// A file in the state that exists while releases are being moved to their places.
const MOVING: &str = "moving";

/// Refuses a mirror of which some releases are still in the layout of another tool.
fn check_moved(root: &Path) -> Result<(), StoreError> {
    match has_state(root, MOVING)? {
        true => Err(StoreError::HalfMoved { root: root.to_owned() }),
        false => Ok(()),
    }
}

/// Returns whether there is a mirror at `root`.
fn has_record(root: &Path) -> Result<bool, StoreError> {
    has_state(root, "mirror.json")
}

/// Returns whether a file is in the state of the mirror at `root`, if there is a mirror.
fn has_state(root: &Path, name: &str) -> Result<bool, StoreError> {
    let path = root.join(".mirror").join(name);
    match mirror_fs::is_file(&path) {
        // Making the mirror will report what is in its place.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        there => there.map_err(at("look at", &path)),
    }
}

/// Makes a directory unless it exists; returns whether it was made. Refuses links.
fn plain_dir(fs: &dyn Fs, path: &Path) -> Result<bool, StoreError> {
    match fs.create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(path).map_err(at("look at", path))?;
            if meta.is_dir() {
                Ok(false)
            } else {
                Err(StoreError::Strange { path: path.to_owned(), expected: "a directory" })
            }
        }
        Err(error) => Err(at("create", path)(error)),
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Takes the lock. It belongs to the open file, so it ends with the process in every case.
fn lock(root: &Path, path: &Path) -> Result<FileLock, StoreError> {
    FileLock::take(path).map_err(|fault| match fault {
        LockFault::Held { holder } => StoreError::Locked { root: root.to_owned(), holder },
        LockFault::Open(error) => at("open the lock", path)(error),
        LockFault::Lock(error) => at("lock", path)(error),
        other => at("lock", path)(io::Error::other(other)),
    })
}
