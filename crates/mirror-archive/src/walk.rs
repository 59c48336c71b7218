//! Walks a directory depth first, the entries of each directory sorted by the bytes of their names.

use std::fs::FileType;
use std::path::{Path, PathBuf};

use crate::disk::{self, Stamp};
use crate::entry::{Digests, Entry, EntryKind};
use crate::error::ArchiveError;
use crate::names::{below, is_transient, join};

/// A walk. Holds the names of one directory for each level; the caller opens the files.
pub(crate) struct Walk {
    root: PathBuf,
    levels: Vec<Level>,
}

struct Level {
    path: Vec<u8>,
    stamp: Stamp,
    entries: std::vec::IntoIter<(Vec<u8>, FileType)>,
}

/// An entry that the walk found.
pub(crate) enum Found {
    /// A regular file, not yet opened.
    File(Vec<u8>),
    /// A directory or a symbolic link, complete.
    Other(Entry),
}

impl Walk {
    pub(crate) fn new(root: &Path) -> Result<Self, ArchiveError> {
        let mut walk = Self { root: root.to_owned(), levels: Vec::new() };
        walk.enter(Vec::new())?;
        Ok(walk)
    }

    /// Lists the directory to walk next.
    fn enter(&mut self, path: Vec<u8>) -> Result<(), ArchiveError> {
        let at = below(&self.root, &path);
        let named = self.in_messages(&path);
        let stamp = Stamp::of(&std::fs::symlink_metadata(&at).map_err(vanished("looking at", &named))?);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&at).map_err(vanished("listing", &named))? {
            let entry = entry.map_err(ArchiveError::io("listing", &named))?;
            let name = entry.file_name().into_encoded_bytes();
            if is_transient(&join(&path, &name)) {
                continue;
            }
            let kind = entry.file_type().map_err(vanished("looking at", &join(&path, &name)))?;
            entries.push((name, kind));
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.levels.push(Level { path, stamp, entries: entries.into_iter() });
        Ok(())
    }

    /// Returns the next entry. Leaves out the root itself and the transient files of a mirror.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, ArchiveError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some((name, kind)) = level.entries.next() else {
                let Level { path, stamp, .. } =
                    self.levels.pop().ok_or(ArchiveError::Internal("no level"))?;
                self.leave(&path, stamp)?;
                continue;
            };
            let path = join(&level.path, &name);
            if kind.is_file() {
                return Ok(Some(Found::File(path)));
            }
            if !kind.is_dir() && !kind.is_symlink() {
                return Err(ArchiveError::Special { path, kind: disk::special(kind) });
            }
            let at = below(&self.root, &path);
            let metadata = std::fs::symlink_metadata(&at).map_err(vanished("looking at", &path))?;
            if metadata.file_type() != kind {
                return Err(ArchiveError::changed(&path, "became something else"));
            }
            let target = if kind.is_symlink() { Some(self.target(&path)?) } else { None };
            if target.is_none() {
                self.enter(path.clone())?;
            }
            return Ok(Some(Found::Other(Entry {
                path,
                kind: target.map_or(EntryKind::Directory, EntryKind::Symlink),
                size_bytes: 0,
                modified_s: disk::modified_s(&metadata),
                mode: disk::mode(&metadata),
                is_metadata: false,
                digests: Digests::default(),
            })));
        }
    }

    /// Returns the path for messages. The root, whose relative path is empty, is named in full.
    fn in_messages(&self, path: &[u8]) -> Vec<u8> {
        match path {
            [] => self.root.as_os_str().as_encoded_bytes().to_vec(),
            below => below.to_vec(),
        }
    }

    fn target(&self, path: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let target =
            std::fs::read_link(below(&self.root, path)).map_err(vanished("reading the link", path))?;
        Ok(target.into_os_string().into_encoded_bytes())
    }

    /// Checks that a directory neither gained nor lost entries since it was listed.
    fn leave(&self, path: &[u8], stamp: Stamp) -> Result<(), ArchiveError> {
        let at = below(&self.root, path);
        let now = std::fs::symlink_metadata(at).map_err(vanished("looking at", &self.in_messages(path)))?;
        if Stamp::of(&now) != stamp {
            let name = if path.is_empty() { b"the directory itself".as_slice() } else { path };
            return Err(ArchiveError::changed(name, "had entries added or removed"));
        }
        Ok(())
    }
}

/// Maps an I/O error: a listed entry that is gone has vanished; any other error is a fault of the disk.
pub(crate) fn vanished(
    what: &'static str,
    path: &[u8],
) -> impl FnOnce(std::io::Error) -> ArchiveError + use<> {
    let path = path.to_vec();
    move |source| match source.kind() {
        std::io::ErrorKind::NotFound => ArchiveError::Changed { path, how: "vanished" },
        _ => ArchiveError::Io { what, path, source },
    }
}

/// Counts the files below a directory and their bytes, and refuses special files, so that a run fails
/// before it reads gigabytes.
pub(crate) fn survey(
    root: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
) -> Result<(u64, u64), ArchiveError> {
    let mut walk = Walk::new(root)?;
    let (mut files, mut bytes) = (0, 0);
    while let Some(found) = walk.next()? {
        match found {
            Found::File(path) => {
                let metadata =
                    std::fs::symlink_metadata(below(root, &path)).map_err(vanished("looking at", &path))?;
                files += 1;
                bytes += metadata.len();
                each(&path)?;
            }
            Found::Other(entry) => each(&entry.path)?,
        }
    }
    Ok((files, bytes))
}

// Some file systems refuse names that are not UTF-8, or treat names that differ only in case alike.
#[cfg(all(test, target_os = "linux"))]
mod tests;
