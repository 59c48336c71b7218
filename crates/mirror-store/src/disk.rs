//! What a commit does to the disk, and how bytes are made durable. A failed sync is never tried
//! again: what the kernel dropped is gone.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Tries again for a while when all files that this process may open are open: connections are given
/// up meanwhile, and a run must not end for that.
pub(crate) fn patient<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..200 {
        match open() {
            Err(error) if cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => {
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
    open()
}

/// The changes that a commit consists of, so that tests can watch their order and make each of them
/// fail.
pub(crate) trait Disk: std::fmt::Debug + Send + Sync {
    /// Makes a file that is not there yet.
    fn write_new(&self, path: &Path, data: &[u8]) -> io::Result<()>;
    /// Makes `files` (already written and closed) below `root` durable.
    fn sync_files(&self, root: &Path, files: &[&Path]) -> io::Result<()>;
    /// Makes a directory that is not there yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file its final name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the entries of `dirs` below `root` durable.
    fn sync_dirs(&self, root: &Path, dirs: &[PathBuf]) -> io::Result<()>;
}

impl Disk for SyncMode {
    fn write_new(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let written = patient(|| File::create_new(path)).and_then(|mut file| file.write_all(data));
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written
    }
    fn sync_files(&self, root: &Path, files: &[&Path]) -> io::Result<()> {
        self.files(root, files)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
    fn sync_dirs(&self, root: &Path, dirs: &[PathBuf]) -> io::Result<()> {
        self.dirs(root, dirs)
    }
}

/// How a store makes a batch durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncMode {
    /// One `syncfs` for all.
    #[cfg(target_os = "linux")]
    FileSystem,
    /// One `fsync` each, on several threads.
    EachFile,
}

impl SyncMode {
    /// The quickest way that the file system of `root` offers.
    pub(crate) fn of(root: &Path) -> Self {
        #[cfg(target_os = "linux")]
        if File::open(root).is_ok_and(|dir| rustix::fs::syncfs(&dir).is_ok()) {
            return Self::FileSystem;
        }
        let _ = root;
        Self::EachFile
    }

    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only one sync takes the root"))]
    fn files(self, root: &Path, files: &[&Path]) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::FileSystem => whole(root),
            Self::EachFile => {
                each(files, |path| patient(|| File::options().write(true).open(path))?.sync_all())
            }
        }
    }

    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only one sync takes the root"))]
    fn dirs(self, root: &Path, dirs: &[PathBuf]) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::FileSystem => whole(root),
            Self::EachFile => {
                let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
                each(&dirs, one_dir)
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn whole(root: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(patient(|| File::open(root))?)?)
}

#[cfg(unix)]
pub(crate) fn one_dir(path: &Path) -> io::Result<()> {
    patient(|| File::open(path))?.sync_all()
}

/// Directories cannot be synced here; the file system journals their entries.
#[cfg(not(unix))]
pub(crate) fn one_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

fn each(paths: &[&Path], sync: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    const THREADS: usize = 8;
    thread::scope(|scope| {
        let workers: Vec<_> = paths
            .chunks(paths.len().div_ceil(THREADS).max(1))
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(|path| sync(path))))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a sync thread panicked")))
        })
    })
}
