use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mirror_snapshot::{MAX_SNAPSHOT_BYTES, Snapshot, snapshot_file_name};

use crate::error::RepoError;

/// The directory of the snapshots, below the root of a mirror.
pub const SNAPSHOTS: &str = "snapshots";
/// The highest serial that a document may have, as for every number in it.
const MAX_SERIAL: u64 = (1 << 53) - 1;
/// The suffix of the file whose presence keeps a snapshot.
const PIN: &str = "pin";
/// The name under which a file is written before it gets its own.
const UNFINISHED: &str = "unfinished";

/// The directory of the snapshots of a mirror. It need not exist.
#[derive(Debug, Clone)]
pub struct SnapshotDir(PathBuf);

/// A snapshot in the directory, by the name of its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its number.
    pub serial: u64,
    /// True if a file `snapshot-SERIAL.json.pin` keeps it.
    pub is_pinned: bool,
}

impl SnapshotDir {
    /// Returns the directory of the mirror at `root`.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        Self(root.join(SNAPSHOTS))
    }

    /// Returns the path of a snapshot.
    #[must_use]
    pub fn path(&self, serial: u64) -> PathBuf {
        self.0.join(snapshot_file_name(serial))
    }

    /// Lists the snapshots, by serial. Other files are passed over. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn list(&self) -> Result<Vec<SnapshotFile>, RepoError> {
        let mut names = self.names()?;
        names.sort_unstable();
        let mut files: Vec<_> = names
            .iter()
            .filter_map(|name| serial_of(name))
            .map(|serial| {
                let pin = format!("{}.{PIN}", snapshot_file_name(serial));
                SnapshotFile { serial, is_pinned: names.binary_search(&pin).is_ok() }
            })
            .collect();
        files.sort_by_key(|file| file.serial);
        Ok(files)
    }

    /// Reads a snapshot; `None` when there is none with this serial. Blocks.
    ///
    /// # Errors
    /// When the disk refuses, the document is damaged, or has another serial than its name.
    pub fn read(&self, serial: u64) -> Result<Option<Snapshot>, RepoError> {
        let path = self.path(serial);
        let read = || {
            let mut bytes = Vec::new();
            let most = MAX_SNAPSHOT_BYTES as u64 + 1;
            mirror_fs::open_to_read(&path)?.take(most).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RepoError::Io { doing: "read the snapshot", path, source }),
        };
        match Snapshot::parse(&bytes) {
            Ok(snapshot) if snapshot.serial() == serial => Ok(Some(snapshot)),
            Ok(snapshot) => Err(RepoError::MisnamedSnapshot { path, serial: snapshot.serial() }),
            Err(source) => Err(RepoError::BadSnapshot { path, source }),
        }
    }

    /// Reads the snapshot with a serial. Blocks.
    ///
    /// # Errors
    /// When there is none, and as [`SnapshotDir::read`].
    pub fn find(&self, serial: u64) -> Result<Snapshot, RepoError> {
        self.read(serial)?.ok_or_else(|| RepoError::NoSnapshot { serial, dir: self.0.clone() })
    }

    /// Reads the newest snapshot; `None` when there is none. Blocks.
    ///
    /// # Errors
    /// As [`SnapshotDir::read`].
    pub fn newest(&self) -> Result<Option<Snapshot>, RepoError> {
        match self.list()?.last() {
            Some(file) => self.read(file.serial),
            None => Ok(None),
        }
    }

    /// Returns the number of files with signatures beside a snapshot, which are not checked.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn signatures(&self, serial: u64) -> Result<usize, RepoError> {
        let names = self.names()?;
        let document = snapshot_file_name(serial);
        let is_signature = |name: &str| {
            let suffix = name.strip_prefix(&document);
            suffix.is_some_and(|suffix| suffix.starts_with(".sig") || suffix.starts_with(".asc"))
        };
        Ok(names.iter().filter(|name| is_signature(name)).count())
    }

    /// Writes signatures, each with the name of its file, durable on return. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add_signatures(&self, signatures: &[(String, Vec<u8>)]) -> Result<(), RepoError> {
        let fail = |source| RepoError::Io { doing: "write a signature into", path: self.0.clone(), source };
        mirror_fs::make_dir(&self.0).map_err(fail)?;
        for (name, bytes) in signatures {
            mirror_fs::replace(&self.0.join(name), &self.0.join(UNFINISHED), bytes).map_err(fail)?;
        }
        mirror_fs::sync_dir(&self.0).map_err(fail)
    }

    /// Writes a snapshot, after its signatures: whoever sees it sees them. Durable on return.
    pub(super) fn publish(
        &self,
        snapshot: &Snapshot,
        signatures: &[(String, Vec<u8>)],
    ) -> Result<(), RepoError> {
        let path = self.path(snapshot.serial());
        let fail = |source| RepoError::Io { doing: "write the snapshot", path: path.clone(), source };
        mirror_fs::make_dir(&self.0).map_err(fail)?;
        // Left by a run that was killed, for bytes that nobody has.
        for name in self.names()? {
            if name.starts_with(&snapshot.file_name()) && !name.ends_with(PIN) {
                if name == snapshot.file_name() {
                    return Err(fail(io::Error::from(io::ErrorKind::AlreadyExists)));
                }
                mirror_fs::remove(&self.0.join(name)).map_err(fail)?;
            }
        }
        self.add_signatures(signatures)?;
        mirror_fs::replace(&path, &self.0.join(UNFINISHED), snapshot.as_bytes()).map_err(fail)?;
        mirror_fs::sync_dir(&self.0).map_err(fail)?;
        if let Some(root) = self.0.parent() {
            mirror_fs::sync_dir(root).map_err(fail)?;
        }
        Ok(())
    }

    /// Removes a snapshot, before its signatures.
    pub(super) fn remove(&self, serial: u64) -> Result<(), RepoError> {
        let document = snapshot_file_name(serial);
        let mut names = self.names()?;
        names.retain(|name| {
            name.strip_prefix(&document).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        names.sort_unstable();
        for name in names {
            let path = self.0.join(name);
            mirror_fs::remove(&path).map_err(|source| RepoError::Io {
                doing: "remove the snapshot",
                path,
                source,
            })?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, RepoError> {
        let list = || {
            let names = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
            names.filter_map(Result::transpose).collect::<io::Result<Vec<_>>>()
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|source| RepoError::Io {
                doing: "list the snapshots in",
                path: self.0.clone(),
                source,
            }),
        }
    }
}

/// Returns the serial of a document with this name; `None` for other files.
fn serial_of(name: &str) -> Option<u64> {
    let serial = name.strip_prefix("snapshot-")?.strip_suffix(".json")?.parse().ok()?;
    (snapshot_file_name(serial) == name && (1..=MAX_SERIAL).contains(&serial)).then_some(serial)
}
