//! A registry, its index in several forms, and its expected sidecars.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(crate) use mirror_testkit::{Ended, run as ended, tree};
use mirror_testkit::{TestRegistry, TestRelease};
use mirror_types::Layout;
use serde_json::Value;

pub(crate) const BASE: &str = "http://h/crates";

pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) dir: tempfile::TempDir,
}

/// Sidecars by the path of their file.
pub(crate) type Sidecars = BTreeMap<String, Value>;

impl World {
    pub(crate) fn new(seed: u64, releases: usize) -> Self {
        let mut registry = TestRegistry::generate(seed, releases, 10);
        for (n, release) in registry.crates.values_mut().flatten().enumerate() {
            release.yanked = n % 9 == 0;
        }
        Self { registry, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Commits the registry as it is to a checkout at `index`.
    pub(crate) fn commit(&self) {
        self.registry.commit_git(&self.path("index"));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.with_base(arguments, BASE)
    }

    pub(crate) fn with_base(&self, arguments: &[&str], base: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_generate-sidecars"));
        command.current_dir(self.dir.path()).args(arguments).args(["--crates-base-url", base]);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Makes the expected sidecar of a release with serde.
    pub(crate) fn sidecar(release: &TestRelease) -> (String, Value) {
        let id = &release.id;
        let file = Layout::Shard.path(id);
        let mut value: Value = serde_json::from_str(&release.line()).unwrap();
        value["crate_file"] = id.file_name().into();
        value["crate_path"] = file.clone().into();
        value["crate_url"] = format!("{BASE}/{0}/{0}-{1}.crate", id.name, id.version).into();
        let lower = id.name.as_str().to_lowercase();
        let index_path = match lower.len() {
            n @ 1..=2 => format!("{n}/{lower}"),
            3 => format!("3/{}/{lower}", &lower[..1]),
            _ => format!("{}/{}/{lower}", &lower[..2], &lower[2..4]),
        };
        value["index_path"] = index_path.into();
        (format!("{file}.json"), value)
    }

    /// Returns the expected sidecars of the registry as it is now.
    pub(crate) fn expected(&self, yanked: bool) -> Sidecars {
        self.registry.releases().filter(|release| yanked || !release.yanked).map(Self::sidecar).collect()
    }

    /// Returns the same in the order of the index: bytewise by path, lines in order.
    pub(crate) fn in_order(&self, yanked: bool) -> Vec<Value> {
        let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for release in self.registry.releases().filter(|release| yanked || !release.yanked) {
            let (_, value) = Self::sidecar(release);
            files.entry(value["index_path"].as_str().unwrap().to_owned()).or_default().push(value);
        }
        files.into_values().flatten().collect()
    }

    pub(crate) fn files(&self, out: &str) -> Sidecars {
        tree(&self.path(out))
            .into_iter()
            .map(|(path, bytes)| {
                let value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
                (path, value)
            })
            .collect()
    }

    pub(crate) fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Asserts that two maps are equal; reports only the differences, since maps may be large.
#[track_caller]
pub(crate) fn assert_same(found: &Sidecars, expected: &Sidecars) {
    let missing: Vec<_> = expected.keys().filter(|path| !found.contains_key(*path)).take(5).collect();
    let extra: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).take(5).collect();
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(path, value)| found.get(*path).is_some_and(|f| f != *value))
        .take(2)
        .collect();
    assert!(
        missing.is_empty() && extra.is_empty() && wrong.is_empty(),
        "{} of {}; missing {missing:?}, extra {extra:?}, wrong {wrong:?}",
        found.len(),
        expected.len()
    );
}
