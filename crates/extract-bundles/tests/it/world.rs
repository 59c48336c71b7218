//! Bundles, and the program that reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mirror_bundle::{BundleMember, BundleOptions, BundleWriter, MemberBody, NewMember};
pub(crate) use mirror_testkit::{Ended, run, tree};
use mirror_testkit::{TestRegistry, TestRelease};
use mirror_types::Layout;

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_extract-bundles");

/// Returns a shell script that fails when any part of a pipe fails.
pub(crate) fn shell(script: &str, dir: &Path) -> Ended {
    run(Command::new("bash").args(["-o", "pipefail", "-ec", script]).current_dir(dir))
}

pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn small() -> BundleOptions {
    let mut options = BundleOptions::default();
    options.threads = 2;
    options
}

/// Returns options for bundles that are sealed at `bundle_bytes`.
pub(crate) fn sealed_at(bundle_bytes: u64) -> BundleOptions {
    let mut options = small();
    options.bundle_bytes = bundle_bytes;
    options
}

pub(crate) fn new_member(release: &TestRelease, layout: Layout) -> NewMember {
    NewMember {
        id: release.id.clone(),
        path: layout.path(&release.id),
        url: release.id.readable_url("http://h/crates"),
        sha256: release.cksum,
        body: MemberBody::Memory(Box::new(release.body.clone())),
    }
}

impl World {
    pub(crate) fn new(releases: usize, mean_bytes: usize) -> Self {
        let mut registry = TestRegistry::generate(11, releases, mean_bytes);
        registry.add("a-foo", "0.1.0+build.1", b"plus");
        registry.add("empty", "1.0.0", b"");
        registry.add(
            &"x".repeat(64),
            &format!("1.0.0-{}", "y".repeat(160)),
            b"a path that is too long for a header",
        );
        Self { registry, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn bundles(&self) -> PathBuf {
        self.path("bundles")
    }

    /// Bundles everything in one run.
    pub(crate) fn bundle(&self, options: BundleOptions, seal: bool) -> Vec<BundleMember> {
        self.bundle_in(options, seal, Layout::Shard)
    }

    pub(crate) fn bundle_in(&self, options: BundleOptions, seal: bool, layout: Layout) -> Vec<BundleMember> {
        let (mut writer, _) = BundleWriter::open(&self.bundles(), options).unwrap();
        for release in self.registry.releases() {
            writer.append(new_member(release, layout)).unwrap();
        }
        if seal { writer.seal().unwrap() } else { writer.commit().unwrap() }
    }

    /// Returns the files of a loose mirror of the registry.
    pub(crate) fn expected(&self, layout: Layout) -> BTreeMap<String, Vec<u8>> {
        self.registry.releases().map(|release| (layout.path(&release.id), release.body.to_vec())).collect()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command.arg("--bundles-dir").arg(self.bundles()).args(args).current_dir(self.dir.path());
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        run(&mut self.command(args))
    }
}
