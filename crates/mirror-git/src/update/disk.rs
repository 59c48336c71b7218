//! File operations in the git repository, which is no part of the mirror.

use std::fs;
use std::io;
use std::path::Path;

pub(crate) use mirror_fs::{create_anew, create_whole};

use super::error::UpdateError;

/// Makes a file's bytes, or a directory's entries, durable; directories only where the system can do that.
pub(crate) fn sync(path: &Path) -> Result<(), UpdateError> {
    mirror_fs::sync(path).map_err(UpdateError::storage("sync", path))
}

/// Syncs everything below, files before the directories that name them.
pub(crate) fn sync_tree(dir: &Path) -> Result<(), UpdateError> {
    for entry in fs::read_dir(dir).map_err(UpdateError::storage("list", dir))? {
        let entry = entry.map_err(UpdateError::storage("list", dir))?;
        let kind = entry.file_type().map_err(UpdateError::storage("look at", &entry.path()))?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            sync(&entry.path())?;
        }
    }
    sync(dir)
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), UpdateError> {
    mirror_fs::rename(from, to).map_err(UpdateError::storage("move into place", to))
}

pub(crate) fn make_dir(path: &Path) -> Result<(), UpdateError> {
    mirror_fs::make_dir_all(path).map_err(UpdateError::storage("make the directory", path))
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<(), UpdateError> {
    mirror_fs::remove(path).map_err(UpdateError::storage("remove", path))
}

/// Removes a tree, if it is there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), UpdateError> {
    mirror_fs::remove_tree(path).map_err(UpdateError::storage("remove", path))
}

/// Replaces `path` with `bytes` atomically; they are written to `beside` first.
pub(crate) fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> Result<(), UpdateError> {
    mirror_fs::replace(path, beside, bytes).map_err(UpdateError::storage("write", path))
}

pub(crate) fn remove_empty_dir(path: &Path) -> Result<(), UpdateError> {
    fs::remove_dir(path).map_err(UpdateError::storage("replace the directory", path))
}

/// Makes a file that never changes readable for all and writable for none, as git does, and syncs it.
pub(crate) fn seal(path: &Path) -> Result<(), UpdateError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))
            .map_err(UpdateError::storage("set the permissions of", path))?;
    }
    sync(path)
}

/// Replaces a file like [`replace`], without a sync. For content that can be fetched again.
pub(crate) fn replace_unsynced(
    path: &Path,
    beside: &Path,
    bytes: &mut dyn io::Read,
) -> Result<(), UpdateError> {
    mirror_fs::replace_unsynced(path, beside, bytes).map_err(UpdateError::storage("write", path))
}

pub(crate) fn set_executable(path: &Path, executable: bool) -> Result<(), UpdateError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let fail = |error| UpdateError::storage("set the permissions of", path)(error);
        let mode = fs::metadata(path).map_err(fail)?.permissions().mode();
        let wanted = if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
        if wanted != mode {
            fs::set_permissions(path, fs::Permissions::from_mode(wanted)).map_err(fail)?;
        }
    }
    #[cfg(not(unix))]
    let _ = (path, executable);
    Ok(())
}

/// Returns the names of the directories in which git has loose objects: two hex digits.
pub(crate) fn loose_dirs(objects: &Path) -> Result<Vec<String>, UpdateError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(objects).map_err(UpdateError::storage("list", objects))? {
        let name = entry.map_err(UpdateError::storage("list", objects))?.file_name();
        if let Some(name) = name.to_str()
            && name.len() == 2
            && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
