//! A simulated disk that fails on demand, and loses what was not made durable.
//!
//! ```
//! use std::sync::Arc;
//! use mirror_fs::{AppendLog, LocalFs};
//! use mirror_fs::sim::{Loss, Simulator};
//!
//! # let dir = tempfile::tempdir()?;
//! let sim = Simulator::new(dir.path(), Arc::new(LocalFs::unsynced()))?;
//! let mut log = AppendLog::open(Arc::new(sim.clone()), dir.path().join("log"))?;
//! log.append(b"promised")?;
//! log.sync()?;
//! // The name is not durable: the directory was never synced.
//! let mut disk = sim.start();
//! sim.steps().iter().for_each(|step| disk.apply(step));
//! let left = tempfile::tempdir()?;
//! disk.lay_down(Loss::Unsynced, left.path())?;
//! assert!(!left.path().join("log").exists());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod disk;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use disk::{Loss, SimulatedDisk};

use crate::Fs;

/// One requested change. Paths are relative to the root of the simulator.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A file was created with these bytes.
    WriteNew(PathBuf, Vec<u8>),
    /// An empty file was created.
    CreateNew(PathBuf),
    /// A file was opened to append to it, and created if it did not exist.
    Open(PathBuf),
    /// Bytes were appended.
    Append(PathBuf, Vec<u8>),
    /// The file was cut to this length in bytes.
    Cut(PathBuf, u64),
    /// Files were made durable.
    SyncFiles(Vec<PathBuf>),
    /// A directory was created.
    CreateDir(PathBuf),
    /// A file got another name.
    Rename(PathBuf, PathBuf),
    /// A file was removed.
    Remove(PathBuf),
    /// The names in directories were made durable.
    SyncDirs(Vec<PathBuf>),
}

/// Shows the number of written bytes, not the bytes.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteNew(path, bytes) => write!(f, "write {} bytes to {path:?}", bytes.len()),
            Self::CreateNew(path) => write!(f, "create {path:?}"),
            Self::Open(path) => write!(f, "open {path:?}"),
            Self::Append(path, bytes) => write!(f, "append {} bytes to {path:?}", bytes.len()),
            Self::Cut(path, len) => write!(f, "cut {path:?} to {len} bytes"),
            Self::SyncFiles(paths) => write!(f, "sync files {paths:?}"),
            Self::CreateDir(path) => write!(f, "create directory {path:?}"),
            Self::Rename(from, to) => write!(f, "rename {from:?} to {to:?}"),
            Self::Remove(path) => write!(f, "remove {path:?}"),
            Self::SyncDirs(paths) => write!(f, "sync directories {paths:?}"),
        }
    }
}

/// Makes every change on the real disk, below one root; records it first, and refuses the one that is to fail. Clones
/// share the record.
#[derive(Debug, Clone)]
pub struct Simulator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    start: SimulatedDisk,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    steps: Vec<Step>,
    fails: Option<(usize, i32)>,
}

impl Simulator {
    /// Simulates the disk below `root`, on top of `fs`. Everything there now counts as durable.
    ///
    /// # Errors
    /// When something below `root` cannot be read.
    pub fn new(root: &Path, fs: Arc<dyn Fs>) -> io::Result<Self> {
        let start = SimulatedDisk::of_tree(root)?;
        Ok(Self(Arc::new(Inner { fs, root: root.to_owned(), start, state: Mutex::default() })))
    }

    /// Makes the step with this number, counted from 0, fail with `errno`. It is recorded and not made; later steps are
    /// made.
    pub fn fail_at(&self, step: usize, errno: i32) {
        self.lock().fails = Some((step, errno));
    }

    /// Returns the number of steps so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().steps.len()
    }

    /// Returns the steps so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    /// Returns the disk as it was before the first step.
    #[must_use]
    pub fn start(&self) -> SimulatedDisk {
        self.0.start.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, step: Step) -> io::Result<()> {
        let mut state = self.lock();
        state.steps.push(step);
        match state.fails {
            Some((at, errno)) if at + 1 == state.steps.len() => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    /// Panics for a path outside the root: changes there are not simulated.
    fn below(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.0.root) {
            Ok(below) => below.to_owned(),
            Err(_) => panic!("{} is not below {}", path.display(), self.0.root.display()),
        }
    }

    fn all_below(&self, paths: &[&Path]) -> Vec<PathBuf> {
        paths.iter().map(|path| self.below(path)).collect()
    }
}

/// Checks that a path is free: a failed creation changes nothing, and is no step.
fn is_free(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => Ok(()),
    }
}

impl Fs for Simulator {
    fn write_new(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        is_free(path)?;
        self.step(Step::WriteNew(self.below(path), data.to_vec()))?;
        self.0.fs.write_new(path, data)
    }

    fn create_new(&self, path: &Path) -> io::Result<File> {
        is_free(path)?;
        self.step(Step::CreateNew(self.below(path)))?;
        self.0.fs.create_new(path)
    }

    fn open_to_append(&self, path: &Path) -> io::Result<File> {
        self.step(Step::Open(self.below(path)))?;
        self.0.fs.open_to_append(path)
    }

    fn append(&self, file: &File, path: &Path, data: &[u8]) -> io::Result<()> {
        self.step(Step::Append(self.below(path), data.to_vec()))?;
        self.0.fs.append(file, path, data)
    }

    fn cut(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.step(Step::Cut(self.below(path), len))?;
        self.0.fs.cut(file, path, len)
    }

    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step(Step::SyncFiles(vec![self.below(path)]))?;
        self.0.fs.sync_file(file, path)
    }

    fn sync_files(&self, root: &Path, files: &[&Path]) -> io::Result<()> {
        self.step(Step::SyncFiles(self.all_below(files)))?;
        self.0.fs.sync_files(root, files)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        is_free(path)?;
        self.step(Step::CreateDir(self.below(path)))?;
        self.0.fs.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename(self.below(from), self.below(to)))?;
        self.0.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        path.symlink_metadata()?;
        self.step(Step::Remove(self.below(path)))?;
        self.0.fs.remove(path)
    }

    fn sync_dirs(&self, root: &Path, dirs: &[&Path]) -> io::Result<()> {
        self.step(Step::SyncDirs(self.all_below(dirs)))?;
        self.0.fs.sync_dirs(root, dirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalFs;

    #[test]
    fn the_step_that_is_to_fail_is_recorded_and_not_made() {
        const EIO: i32 = 5;
        let dir = tempfile::tempdir().expect("dir");
        let sim = Simulator::new(dir.path(), Arc::new(LocalFs::unsynced())).expect("simulator");
        sim.fail_at(1, EIO);
        let at = |name: &str| dir.path().join(name);
        sim.create_dir(&at("d")).expect("made");
        let error = sim.write_new(&at("d/f"), b"x").expect_err("fails");
        assert_eq!(error.raw_os_error(), Some(EIO));
        assert!(!at("d/f").exists());
        sim.write_new(&at("d/g"), b"x").expect("made");
        // Neither of these changes anything.
        assert!(sim.write_new(&at("d/g"), b"x").is_err() && sim.create_dir(&at("d")).is_err());
        assert!(sim.remove(&at("none")).is_err());
        let expected = [
            Step::CreateDir("d".into()),
            Step::WriteNew("d/f".into(), b"x".to_vec()),
            Step::WriteNew("d/g".into(), b"x".to_vec()),
        ];
        assert_eq!((sim.steps().as_slice(), sim.count()), (&expected[..], 3));
    }

    #[test]
    #[should_panic(expected = "is not below")]
    fn what_lies_elsewhere_is_not_simulated() {
        let dir = tempfile::tempdir().expect("dir");
        let sim = Simulator::new(&dir.path().join("root"), Arc::new(LocalFs::unsynced())).expect("simulator");
        let _ = sim.write_new(&dir.path().join("f"), b"x");
    }
}
