//! Files of the git repository, which is no part of the mirror.
#![expect(clippy::disallowed_methods, reason = "the git index is a repository of its own, not a mirror file")]

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::error::UpdateError;

/// Makes a file's bytes, or a directory's entries, survive a power cut. Directories only where that
/// is possible.
pub(crate) fn sync(path: &Path) -> Result<(), UpdateError> {
    let synced = match File::open(path) {
        Ok(_) if cfg!(not(unix)) && path.is_dir() => Ok(()),
        Ok(file) => file.sync_all(),
        Err(error) => Err(error),
    };
    synced.map_err(UpdateError::storage("sync", path))
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
    fs::rename(from, to).map_err(UpdateError::storage("move into place", to))
}

pub(crate) fn make_dir(path: &Path) -> Result<(), UpdateError> {
    fs::create_dir_all(path).map_err(UpdateError::storage("make the directory", path))
}

/// Absent is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), UpdateError> {
    absent_is_fine(fs::remove_file(path)).map_err(UpdateError::storage("remove", path))
}

/// Absent is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), UpdateError> {
    absent_is_fine(fs::remove_dir_all(path)).map_err(UpdateError::storage("remove", path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Replaces `path` by `bytes`, whole or not at all; `beside` is where it grows.
pub(crate) fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> Result<(), UpdateError> {
    let write = || {
        let mut file = create(beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(beside, path)
    };
    write().map_err(UpdateError::storage("write", path))
}

/// Opens for locking; makes it when it is not there.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    mirror_fs::open(path, File::options().read(true).write(true).create(true).truncate(false))
}

pub(crate) fn remove_empty_dir(path: &Path) -> Result<(), UpdateError> {
    fs::remove_dir(path).map_err(UpdateError::storage("replace the directory", path))
}

/// Makes a file anew; what was there under the name, be it a link, is gone and was not written to.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    absent_is_fine(fs::remove_file(path))?;
    File::create_new(path)
}

/// What never changes is for everybody to read and nobody to write, as git has it.
pub(crate) fn seal(path: &Path) -> Result<(), UpdateError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))
            .map_err(UpdateError::storage("set the permissions of", path))?;
    }
    sync(path)
}

/// Fails when it exists. It has its bytes from the beginning, where the file system knows hard links;
/// `beside` is where they are written.
pub(crate) fn create_whole(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    create(beside)?.write_all(bytes)?;
    let made = match fs::hard_link(beside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            File::create_new(path).and_then(|mut file| file.write_all(bytes))
        }
        made => made,
    };
    fs::remove_file(beside)?;
    made
}

/// Like [`replace`], for what can be had again: not durable by itself.
pub(crate) fn replace_unsynced(
    path: &Path,
    beside: &Path,
    bytes: &mut dyn io::Read,
) -> Result<(), UpdateError> {
    create(beside)
        .and_then(|mut file| io::copy(bytes, &mut file))
        .and_then(|_| fs::rename(beside, path))
        .map_err(UpdateError::storage("write", path))
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

/// Returns the names of the directories in which git has objects as files of their own: two hex digits.
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
