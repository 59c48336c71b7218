//! Making bytes durable. A failed sync is never tried again: what the kernel dropped is gone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

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

    /// Makes `files` (already written and closed) durable.
    pub(crate) fn files(self, root: &Path, files: &[&Path]) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::FileSystem => whole(root),
            Self::EachFile => each(files, |path| File::options().write(true).open(path)?.sync_all()),
        }
    }

    /// Makes the entries of `dirs` durable.
    pub(crate) fn dirs(self, root: &Path, dirs: &[PathBuf]) -> io::Result<()> {
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
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

#[cfg(unix)]
fn one_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Directories cannot be synced here; the file system journals their entries.
#[cfg(not(unix))]
fn one_dir(_: &Path) -> io::Result<()> {
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
