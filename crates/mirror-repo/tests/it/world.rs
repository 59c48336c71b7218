//! A working directory with mirrors in it.

use std::fs;
use std::path::{Path, PathBuf};

use mirror_manifest::ManifestRecord;
use mirror_repo::{LockedMirror, OpenOptions, OpenReport, RepoError};
use mirror_types::{Layout, MirrorId, ReleaseId};

pub(crate) struct World {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().canonicalize().expect("real");
        Self { _dir: dir, root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns the options with which the mirror `name` is opened by default from this working directory.
    pub(crate) fn options(&self, name: &str) -> OpenOptions {
        let mut options = OpenOptions::default();
        options.root = self.path(name);
        options.working_dir = Some(self.root.clone());
        options
    }

    pub(crate) fn open(&self, name: &str) -> Result<(LockedMirror, OpenReport), RepoError> {
        LockedMirror::open(&self.options(name))
    }

    /// Makes a mirror with a record for each of the crates; returns its id.
    pub(crate) fn write_records(&self, name: &str, manifest: Option<&str>, crates: &[&str]) -> MirrorId {
        let mut options = self.options(name);
        options.manifest = manifest.map(PathBuf::from);
        let (mut mirror, _) = LockedMirror::open(&options).expect("open");
        let records: Vec<_> = crates.iter().map(|krate| record(&self.path(name), krate)).collect();
        mirror.manifest.append(&records).expect("append");
        mirror.manifest.sync().expect("sync");
        mirror.id
    }

    /// Makes the remains of the previous version: a record with only the layout.
    pub(crate) fn earlier(&self, name: &str) {
        fs::create_dir_all(self.path(name).join(".mirror")).expect("dir");
        fs::write(
            self.path(name).join(".mirror/mirror.json"),
            "{\"format_version\":1,\"layout\":\"shard\"}\n",
        )
        .expect("write");
    }

    pub(crate) fn copy(&self, from: &str, to: &str) {
        copy(&self.path(from), &self.path(to));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("dir");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copy");
        }
    }
}

/// Makes a record of release 1.0.0 of a crate, held below `root`.
pub(crate) fn record(root: &Path, krate: &str) -> ManifestRecord {
    let id = ReleaseId { name: krate.parse().expect("name"), version: "1.0.0".parse().expect("version") };
    ManifestRecord {
        schema_version: 2,
        url: format!("http://h/{krate}"),
        path: format!("{}/{}", root.display(), Layout::Shard.path(&id)),
        storage: "filesystem".to_owned(),
        size: 7,
        sha256: Some("ab".repeat(32)),
        ok: true,
        status: "downloaded".to_owned(),
        crate_name: Some(krate.to_owned()),
        version: Some("1.0.0".to_owned()),
        ..ManifestRecord::default()
    }
}

/// Makes the same as a line of the previous version, which had no ids.
pub(crate) fn earlier_line(root: &str, krate: &str) -> String {
    let record = record(Path::new(root), krate);
    format!("{}\n", serde_json::to_string(&record).expect("json"))
}
