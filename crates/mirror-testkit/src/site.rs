//! A test registry as a site, as files, and as git repositories.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;

use crate::origin::Site;
use crate::registry::TestRegistry;
use crate::serve::Served;

impl TestRegistry {
    /// Returns the paths and their bytes: the sparse index below `/index/`, releases below `/crates/`. `dl` is the
    /// value in `config.json`.
    #[must_use]
    pub fn site(&self, dl: &str) -> Site {
        let mut files: HashMap<String, Served> = HashMap::new();
        for (path, bytes) in self.index_files() {
            files.insert(format!("/index/{path}"), Served::new(bytes.into()));
        }
        let config = serde_json::json!({"dl": dl, "api": null}).to_string();
        files.insert("/index/config.json".to_owned(), Served::new(Bytes::from(config)));
        for release in self.releases() {
            files.insert(release.url_path(), Served::new(release.body.clone()));
        }
        Arc::new(move |path| files.get(path).cloned())
    }

    /// Writes the index as a plain directory.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write_index(&self, dir: &Path) {
        for (path, bytes) in self.index_files() {
            put(&dir.join(path), &bytes);
        }
        put(&dir.join("config.json"), br#"{"dl":"https://localhost/"}"#);
    }

    /// Writes the releases as a web server's document root: `crates/{name}/{name}-{version}.crate`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write_crates(&self, root: &Path) {
        for release in self.releases() {
            put(&root.join(release.url_path().replace("%2B", "+").trim_start_matches('/')), &release.body);
        }
    }

    /// Commits the index with the real `git`, as a checkout at `dir`; an existing repository gets another commit.
    ///
    /// # Panics
    /// When git fails.
    pub fn commit_git(&self, dir: &Path) {
        if !dir.join(".git").exists() {
            std::fs::create_dir_all(dir).expect("directory");
            git(dir, &["init", "--quiet", "--initial-branch=master"]);
        }
        for entry in std::fs::read_dir(dir).expect("list").flatten() {
            if entry.file_name() != ".git" {
                let path = entry.path();
                let gone =
                    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
                gone.expect("remove the old index");
            }
        }
        self.write_index(dir);
        git(dir, &["add", "--all"]);
        git(dir, &["commit", "--quiet", "--allow-empty", "--message", "index"]);
    }
}

/// Runs the real `git` in `dir`, without the settings of this machine.
///
/// # Panics
/// When it fails.
pub fn git(dir: &Path, arguments: &[&str]) {
    git_says(dir, arguments);
}

/// Runs the real `git` in `dir`, and returns its output, without the newline at the end.
///
/// # Panics
/// When it fails.
pub fn git_says(dir: &Path, arguments: &[&str]) -> String {
    let output = plain_git(dir).args(arguments).output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Prepares a command of the real `git` in `dir`, without the settings of this machine.
pub(crate) fn plain_git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "test").env(format!("GIT_{role}_EMAIL"), "test@localhost");
    }
    command
}

pub(crate) fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
    std::fs::write(path, bytes).expect("write");
}
