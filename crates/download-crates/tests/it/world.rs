//! A registry, an origin that serves it, and a folder to mirror into.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use mirror_testkit::{Ended, has, run};
use mirror_testkit::{Origin, OriginOptions, TestRegistry};
use sha2::Digest as _;

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_download-crates");

pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) origin: Origin,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(registry: TestRegistry) -> Self {
        Self::with(registry, OriginOptions::default())
    }

    pub(crate) fn with(registry: TestRegistry, options: OriginOptions) -> Self {
        let origin = Origin::start(options, std::sync::Arc::new(|_| None));
        let world = Self { registry, origin, dir: tempfile::tempdir().unwrap() };
        world.publish();
        world
    }

    /// Serves the registry as it is now.
    pub(crate) fn publish(&self) {
        let dl = format!("{}/crates/{{crate}}/{{crate}}-{{version}}.crate", self.origin.base());
        self.origin.replace_site(self.registry.site(&dl));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the registry's current index as a plain directory, and returns its path.
    pub(crate) fn index(&self) -> PathBuf {
        let dir = self.path("index");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
        self.registry.write_index(&dir);
        dir
    }

    /// Returns the command of the program with the flags for every run here.
    pub(crate) fn command(&self, out: &str) -> Command {
        let mut command = Command::new(BIN);
        command
            .current_dir(self.dir.path())
            .args(["--out", out, "--manifest", &format!("{out}.jsonl"), "--listen", ""])
            .args(["--retry-base", "5ms", "--retry-max", "40ms", "--log-level", "info"]);
        if self.origin.base().starts_with("https") {
            command.arg("--cacert").arg(self.origin.ca());
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Returns the same, reading a plain directory of index files.
    pub(crate) fn mirroring(&self, out: &str) -> Command {
        let mut command = self.command(out);
        command.arg("--index-dir").arg(self.index());
        command.arg("--crates-base-url").arg(format!("{}/crates", self.origin.base()));
        command
    }

    /// Returns the tree of a complete mirror: path and checksum.
    pub(crate) fn expected(&self) -> BTreeMap<String, String> {
        self.registry
            .releases()
            .filter(|release| !release.yanked)
            .map(|release| (mirror_sync::Layout::Shard.path(&release.id), release.cksum.to_hex()))
            .collect()
    }

    #[track_caller]
    pub(crate) fn assert_whole(&self, out: &str) {
        assert_same(&self.tree(out), &self.expected());
    }

    pub(crate) fn tree(&self, out: &str) -> BTreeMap<String, String> {
        tree(&self.path(out))
    }

    /// Returns the releases that the failure ledger names.
    pub(crate) fn ledger(&self, out: &str) -> BTreeSet<String> {
        let path = self.path(out).join(".mirror/catalogue.sqlite");
        let catalogue = rusqlite::Connection::open(path).unwrap();
        let mut query = catalogue.prepare("SELECT crate || ' ' || version FROM failures").unwrap();
        let names = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    /// Returns the records of the manifest; asserts that every line is one.
    pub(crate) fn manifest(&self, out: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path(&format!("{out}.jsonl"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Asserts that two trees are equal; reports only the differences, since trees may be large.
#[track_caller]
pub(crate) fn assert_same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let missing: Vec<_> = expected.keys().filter(|path| !found.contains_key(*path)).take(5).collect();
    let extra: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).take(5).collect();
    let wrong: Vec<_> =
        expected.iter().filter(|(path, sum)| found.get(*path).is_some_and(|f| f != *sum)).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty() && wrong.is_empty(),
        "{} of {} files; missing {missing:?}, extra {extra:?}, wrong {wrong:?}",
        found.len(),
        expected.len()
    );
}

/// Returns the files below a root, with their checksums.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    mirror_testkit::tree(root).into_iter().map(|(name, bytes)| (name, hex(&bytes))).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
