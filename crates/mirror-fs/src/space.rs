use std::io;
use std::path::Path;

/// The room on the file system of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSpace {
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes that this process may still write.
    pub free: u64,
    /// Files that still fit; `None` where the file system sets no limit.
    pub inodes_free: Option<u64>,
}

/// Returns the room on the file system of `path`, or of its nearest parent that exists; `None` where the system is not
/// asked. Blocks.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn disk_space(path: &Path) -> io::Result<Option<DiskSpace>> {
    let path = std::path::absolute(path)?;
    for there in path.ancestors() {
        let found = match rustix::fs::statvfs(there) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => continue,
            found => found?,
        };
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        // Some file systems make inodes as they need them, and report none.
        let inodes_free = (found.f_files > 0).then_some(found.f_favail);
        return Ok(Some(DiskSpace {
            total: bytes(found.f_blocks),
            free: bytes(found.f_bavail),
            inodes_free,
        }));
    }
    Ok(None)
}

/// Returns `None`: this system is not asked.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn disk_space(_: &Path) -> io::Result<Option<DiskSpace>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_yet_has_the_room_of_its_parent() {
        let dir = tempfile::tempdir().expect("dir");
        let here = disk_space(dir.path()).expect("asked").expect("known");
        assert!(here.total > 0 && here.free <= here.total, "{here:?}");
        let below = disk_space(&dir.path().join("a/b/c")).expect("asked").expect("known");
        assert_eq!(below.total, here.total);
    }
}
