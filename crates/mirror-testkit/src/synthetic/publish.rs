//! A synthetic index as files, as a site, and as git repositories.

use std::collections::HashMap;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;

use mirror_types::index_path;

use super::index::{DayChanges, Synthetic};
use crate::origin::Site;
use crate::serve::Served;
use crate::site::{git, git_says, plain_git, put};

/// The form of a git repository of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitForm {
    /// Without a work tree.
    Bare,
    /// With one.
    Checkout,
}

impl Synthetic {
    /// Writes the index as a plain directory with a `config.json`: the common part of a checkout and a sparse
    /// registry's document root.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write_tree(&self, dir: &Path) {
        for (path, bytes) in self.numbers().filter_map(|at| self.file(at)) {
            put(&dir.join(path), &bytes);
        }
        put(&dir.join("config.json"), CONFIG);
    }

    /// Writes the bodies as a web server's document root: `crates/{name}/{name}-{version}.crate`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write_crates(&self, root: &Path) {
        for at in self.numbers() {
            let name = self.name(at);
            for release in self.releases_of(at) {
                let path = format!("crates/{name}/{name}-{}.crate", release.version);
                put(&root.join(path), &self.body(&release));
            }
        }
    }

    /// Serves the sparse index below `/index/` and the downloads below `/crates/`, made on demand. `dl` is the value in
    /// `config.json`.
    #[must_use]
    pub fn site(self: &Arc<Self>, dl: &str) -> Site {
        let index = self.clone();
        let config = serde_json::json!({"dl": dl, "api": null}).to_string();
        let by_name: HashMap<String, usize> =
            self.numbers().map(|at| (self.name(at).to_string(), at)).collect();
        let by_path: HashMap<String, usize> =
            self.numbers().map(|at| (index_path(self.name(at)), at)).collect();
        Arc::new(move |path| {
            if let Some(path) = path.strip_prefix("/index/") {
                let bytes = match by_path.get(path) {
                    Some(at) => index.file(*at)?.1,
                    None if path == "config.json" => config.clone().into_bytes(),
                    None => return None,
                };
                return Some(Served::new(bytes.into()));
            }
            let (name, file) = path.strip_prefix("/crates/")?.split_once('/')?;
            let version =
                file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".crate")?.replace("%2B", "+");
            let releases = index.releases_of(*by_name.get(name)?);
            let release = releases.iter().find(|release| release.version == version)?;
            Some(Served::new(index.body(release).into()))
        })
    }

    /// Makes a git repository with one commit of the whole index, through `git fast-import`.
    ///
    /// # Panics
    /// When git fails.
    pub fn create_git(&self, dir: &Path, form: GitForm) {
        std::fs::create_dir_all(dir).expect("directory");
        let bare: &[&str] = if form == GitForm::Bare { &["--bare"] } else { &[] };
        git(dir, &[&["init", "--quiet", "--initial-branch=master"], bare].concat());
        let mut import = Import::start(dir);
        import.commit("index", &Parent::None);
        import.put("config.json", CONFIG);
        for (path, bytes) in self.numbers().filter_map(|at| self.file(at)) {
            import.put(&path, &bytes);
        }
        import.finish();
        checkout(dir);
    }

    /// Applies one day's changes, commits them, and returns the crates that changed.
    ///
    /// # Panics
    /// When git fails.
    pub fn commit_day(&mut self, dir: &Path, changes: &DayChanges) -> Vec<usize> {
        let changed = self.pass(changes);
        let mut import = Import::start(dir);
        import.commit("news", &Parent::Tip);
        for at in &changed {
            match self.file(*at) {
                Some((path, bytes)) => import.put(&path, &bytes),
                None => import.remove(&index_path(self.name(*at))),
            }
        }
        import.finish();
        checkout(dir);
        changed
    }

    /// Moves the branch to a commit without parents and with the same tree, as the registry does to drop its history.
    ///
    /// # Panics
    /// When git fails.
    pub fn squash(dir: &Path) {
        let tree = git_says(dir, &["rev-parse", "HEAD^{tree}"]);
        let commit = git_says(dir, &["commit-tree", "-m", "squashed", tree.trim()]);
        git(dir, &["update-ref", "refs/heads/master", commit.trim()]);
    }
}

const CONFIG: &[u8] = br#"{"dl":"https://localhost/crates","api":null}"#;

fn checkout(dir: &Path) {
    if dir.join(".git").exists() {
        git(dir, &["reset", "--quiet", "--hard"]);
    }
}

#[derive(PartialEq, Eq)]
enum Parent {
    None,
    Tip,
}

struct Import {
    child: Child,
    to: BufWriter<ChildStdin>,
}

impl Import {
    fn start(dir: &Path) -> Self {
        // Neither level nor deltas matter: callers that need a small repository repack it.
        let mut child = plain_git(dir)
            .args(["-c", "core.compression=1", "fast-import", "--quiet", "--depth=1"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("git runs");
        let to = BufWriter::with_capacity(1 << 20, child.stdin.take().expect("a pipe"));
        Self { child, to }
    }

    fn commit(&mut self, message: &str, parent: &Parent) {
        let from = if *parent == Parent::Tip { "from refs/heads/master^0\n" } else { "" };
        write!(
            self.to,
            "commit refs/heads/master\ncommitter test <test@localhost> 1700000000 +0000\ndata {}\n{message}\n{from}",
            message.len()
        )
        .expect("git reads");
    }

    fn put(&mut self, path: &str, bytes: &[u8]) {
        write!(self.to, "M 100644 inline {path}\ndata {}\n", bytes.len()).expect("git reads");
        self.to.write_all(bytes).expect("git reads");
        self.to.write_all(b"\n").expect("git reads");
    }

    fn remove(&mut self, path: &str) {
        writeln!(self.to, "D {path}").expect("git reads");
    }

    fn finish(self) {
        let Self { mut child, to } = self;
        drop(to.into_inner().expect("git reads"));
        assert!(child.wait().expect("git ends").success(), "git fast-import failed");
    }
}
