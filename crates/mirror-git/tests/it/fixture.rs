//! A repository to clone from, and assertions about the clone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mirror_git::{QuietObserver, UpdateError, UpdateOptions, Updated, update_index};
use mirror_testkit::{TestRegistry, git, git_says};

/// An upstream at `{dir}/remote`, served from `{dir}`.
pub(crate) struct Upstream {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) registry: TestRegistry,
    serial: usize,
}

impl Upstream {
    pub(crate) fn new(releases: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let upstream = Self { registry: TestRegistry::generate(9, releases, 10), dir, serial: 0 };
        upstream.registry.commit_git(&upstream.remote());
        upstream
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.dir.path().join("remote")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Commits a new release.
    pub(crate) fn publish(&mut self) -> String {
        self.serial += 1;
        self.registry.add("fresh-crate", &format!("0.{}.0", self.serial), b"new");
        self.registry.commit_git(&self.remote());
        self.tip()
    }

    /// Replaces history by one commit without parents that has the same tree.
    pub(crate) fn squash(&self) -> String {
        let commit = git_says(&self.remote(), &["commit-tree", "HEAD^{tree}", "-m", "squashed"]);
        git(&self.remote(), &["reset", "--quiet", "--hard", &commit]);
        commit
    }

    pub(crate) fn tip(&self) -> String {
        git_says(&self.remote(), &["rev-parse", "HEAD"])
    }
}

pub(crate) fn options(url: &str) -> UpdateOptions {
    let mut options = UpdateOptions::default();
    options.default_url = url.to_owned();
    options.user_agent = "test".to_owned();
    options.idle_timeout = Duration::from_secs(60);
    options.retries = 0;
    options.retry_base = Duration::from_millis(5);
    options.retry_max = Duration::from_millis(20);
    options
}

pub(crate) fn update(dir: &Path, options: &UpdateOptions) -> Result<Updated, UpdateError> {
    update_index(dir, options, &QuietObserver)
}

/// Asserts that the clone is at `tip`, undamaged, and without leftovers.
#[track_caller]
pub(crate) fn assert_at(dir: &Path, tip: &str) {
    assert_eq!(git_says(dir, &["rev-parse", "HEAD"]), tip);
    assert_sound(dir);
}

#[track_caller]
pub(crate) fn assert_sound(dir: &Path) {
    git(dir, &["fsck", "--full", "--no-progress"]);
    let git_dir = if dir.join(".git").exists() { dir.join(".git") } else { dir.to_owned() };
    for (place, bad) in [(git_dir.clone(), "mirror-incoming"), (git_dir.join("objects/pack"), "tmp_")] {
        let names = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains(bad)).collect();
        assert!(left.is_empty(), "left in {}: {left:?}", place.display());
    }
    let parent = dir.parent().unwrap();
    let beside = parent.join(format!(".{}.incoming", dir.file_name().unwrap().to_string_lossy()));
    assert!(!beside.exists(), "{} is left", beside.display());
}

pub(crate) fn commits(dir: &Path) -> usize {
    git_says(dir, &["rev-list", "--count", "HEAD"]).parse().unwrap()
}
