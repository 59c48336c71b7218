//! Detects that another process changed a mirror.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirror_manifest::{Catalogue, ManifestError, index_cache_in};

/// Detects changes of a catalogue, and its replacement by another one.
#[derive(Debug)]
pub(crate) struct ChangeDetector {
    database: PathBuf,
    catalogue: Catalogue,
    seen: i64,
    file: Option<Mark>,
    now: MirrorState,
    /// True if the open catalogue was replaced, and the replacement was not reported yet.
    replaced: bool,
}

impl ChangeDetector {
    /// Opens a catalogue to watch; `None` when there is none.
    pub(crate) fn open(database: &Path) -> Result<Option<Self>, ManifestError> {
        let (plain, frozen) = (Mark::of(database, false), Mark::of(database, true));
        let Some(catalogue) = Catalogue::open_read_only(database)? else { return Ok(None) };
        Ok(Some(Self {
            database: database.to_owned(),
            seen: catalogue.changes()?,
            file: if catalogue.is_frozen() { frozen } else { plain },
            catalogue,
            now: MirrorState { generation: 1, since: last_write(database) },
            replaced: false,
        }))
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Returns the current state of the mirror, as the open catalogue shows it.
    pub(crate) fn state(&mut self) -> Result<MirrorState, ManifestError> {
        let seen = self.catalogue.changes()?;
        if seen != self.seen {
            self.seen = seen;
            self.now = self.now.next();
        }
        Ok(self.now)
    }

    /// Opens the catalogue that is at the path now, if it is another one. Returns whether it did.
    pub(crate) fn look(&mut self) -> Result<bool, ManifestError> {
        let (plain, frozen) = (Mark::of(&self.database, false), Mark::of(&self.database, true));
        let now = if self.catalogue.is_frozen() { frozen } else { plain };
        if now.is_none() || now == self.file {
            return Ok(false);
        }
        let Some(catalogue) = Catalogue::open_read_only(&self.database)? else { return Ok(false) };
        self.replaced |= plain.map(|mark| mark.number) != self.file.map(|mark| mark.number);
        self.file = if catalogue.is_frozen() { frozen } else { plain };
        self.seen = catalogue.changes()?;
        self.catalogue = catalogue;
        self.now = self.now.next();
        Ok(true)
    }

    /// Returns whether the catalogue was replaced since the last call.
    pub(crate) fn take_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    /// Returns the marks of a catalogue that does not show changes itself, and of the index cache beside it; `None` for
    /// a catalogue that does.
    pub(crate) fn frozen_marks(&self) -> Option<[Option<Mark>; 2]> {
        let cache = index_cache_in(self.database.parent().unwrap_or(Path::new("")));
        self.catalogue.is_frozen().then(|| [Mark::of(&self.database, true), Mark::of(&cache, true)])
    }
}

/// A state of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorState {
    /// A counter of the states seen so far.
    pub generation: u64,
    /// The moment of the last change.
    pub since: SystemTime,
}

/// A mark that distinguishes a file from its replacement and, for a catalogue that does not show changes itself, from
/// its earlier content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    number: u64,
    changed: Option<SystemTime>,
    /// Length and modification time of the file and of its log, for a catalogue that does not show changes itself.
    content: Option<[Option<(u64, SystemTime)>; 2]>,
}

impl Mark {
    fn of(path: &Path, frozen: bool) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let number = 0;
        let stamp = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.len(), meta.modified().ok()?))
        };
        let content = frozen.then(|| [stamp(path), stamp(&log_of(path))]);
        Some(Self { number, changed: meta.created().ok(), content })
    }
}

impl MirrorState {
    fn next(self) -> Self {
        Self { generation: self.generation + 1, since: SystemTime::now() }
    }
}

fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Returns the time of the last write to a catalogue.
fn last_write(database: &Path) -> SystemTime {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    modified(database).max(modified(&log_of(database))).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_a_frozen_catalogue_change_with_its_file_and_its_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("catalogue.sqlite");
        #[expect(clippy::disallowed_methods, reason = "a test's own files")]
        let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).expect("written");
        write(&path, b"first");
        let (plain, first) = (Mark::of(&path, false), Mark::of(&path, true));
        assert_eq!(first, Mark::of(&path, true));
        write(&log_of(&path), b"log");
        let logged = Mark::of(&path, true);
        assert_ne!(first, logged, "a log appeared");
        write(&path, b"second");
        assert_ne!(logged, Mark::of(&path, true), "the file grew");
        assert_eq!(plain, Mark::of(&path, false), "the same file, which tells of changes itself");
    }
}
