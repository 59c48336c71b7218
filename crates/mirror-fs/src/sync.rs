//! Makes bytes and names survive a power cut. A failed sync is never repeated: the bytes that the kernel dropped are
//! gone.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

use crate::patient;

/// The way of making many files durable at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// With one `syncfs` for the whole file system.
    #[cfg(target_os = "linux")]
    FileSystem,
    /// With one `fsync` for each, on several threads.
    EachFile,
}

impl SyncMode {
    /// Returns the fastest way that the file system of `root` offers. Blocks.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        #[cfg(target_os = "linux")]
        if File::open(root).is_ok_and(|dir| rustix::fs::syncfs(&dir).is_ok()) {
            return Self::FileSystem;
        }
        let _ = root;
        Self::EachFile
    }

    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only one sync takes the root"))]
    pub(crate) fn files(self, root: &Path, files: &[&Path]) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::FileSystem => file_system(root),
            Self::EachFile => {
                each(files, |path| patient(|| File::options().write(true).open(path))?.sync_all())
            }
        }
    }

    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only one sync takes the root"))]
    pub(crate) fn dirs(self, root: &Path, dirs: &[&Path]) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::FileSystem => file_system(root),
            Self::EachFile => each(dirs, sync_dir),
        }
    }
}

#[cfg(target_os = "linux")]
fn file_system(root: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(patient(|| File::open(root))?)?)
}

fn each(paths: &[&Path], sync: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    const THREADS: usize = 8;
    if let [path] = paths {
        return sync(path);
    }
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

/// Makes the names in a directory durable. Blocks.
///
/// # Errors
/// When the disk refuses; then what was to be durable may be lost.
#[cfg(unix)]
pub fn sync_dir(path: &Path) -> io::Result<()> {
    patient(|| File::open(path))?.sync_all()
}

/// Does nothing: directories cannot be synced on this system; the file system journals their entries.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes the bytes of a file durable, or the names in a directory. Blocks.
///
/// # Errors
/// When nothing is there, or the disk refuses.
pub fn sync(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) && path.is_dir() {
        return Ok(());
    }
    patient(|| File::open(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_syncs_files_and_directories() {
        let dir = tempfile::tempdir().expect("dir");
        let path = |n: usize| dir.path().join(n.to_string());
        let paths: Vec<_> = (0..20).map(path).collect();
        paths.iter().for_each(|path| std::fs::write(path, "x").expect("write"));
        let paths: Vec<&Path> = paths.iter().map(std::path::PathBuf::as_path).collect();
        for mode in [SyncMode::EachFile, SyncMode::of(dir.path())] {
            for some in [&paths[..0], &paths[..1], &paths] {
                mode.files(dir.path(), some).expect("files");
            }
            mode.dirs(dir.path(), &[dir.path()]).expect("directory");
        }
        sync(dir.path()).expect("directory");
        sync(paths[0]).expect("file");
        let none = path(99);
        let error = SyncMode::EachFile.files(dir.path(), &[paths[0], &none]).expect_err("no file");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(sync(&none).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    }
}
