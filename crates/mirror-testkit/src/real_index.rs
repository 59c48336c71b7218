//! A registry's own index: counted, and compared with sidecars, by Python and git, which share no code with the
//! programs; with bodies, so that it can be mirrored; resolved by the real Cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use mirror_types::{Sha256, index_path};
use serde::Deserialize;
use sha2::Digest as _;

use crate::origin::Site;
use crate::serve::Served;
use crate::site::put;

mod policy;

pub use policy::{POLICY_CASES, PolicyCase, PolicyCounts, check_policy, date_index};

const CHECK: &str = include_str!("real_index/check.py");

/// Crates that were widely used in 2019; testdata has the part of the index that they need.
pub const WELL_KNOWN: [&str; 20] = [
    "serde",
    "rand",
    "regex",
    "clap",
    "log",
    "syn",
    "libc",
    "itoa",
    "nom",
    "time",
    "tokio",
    "hyper",
    "futures",
    "reqwest",
    "chrono",
    "rayon",
    "image",
    "crossbeam",
    "diesel",
    "actix-web",
];

/// The counts of an index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IndexFacts {
    /// Index files.
    pub files: u64,
    /// Lines that are not blank.
    pub lines: u64,
    /// Releases; several lines of one release count once.
    pub releases: u64,
    /// Releases that are yanked.
    pub yanked: u64,
    /// Lines that a later one replaces.
    pub duplicates: u64,
    /// Crates, by their names.
    pub crates: u64,
    /// A crate all of whose releases are yanked, if there is one.
    pub all_yanked: Option<String>,
}

/// Counts an index with Python: a bare repository by its objects, a directory by its files.
///
/// # Errors
/// The output of Python when it failed.
pub fn count_index(index: &Path) -> Result<IndexFacts, String> {
    let said = python(CHECK, &["count".as_ref(), index.as_os_str()])?;
    serde_json::from_str(&said).map_err(|error| format!("{error} in {said}"))
}

/// Computes every sidecar of an index with Python, and compares it byte for byte with the line of the JSONL, or the
/// file of the mirror, at `sidecars`. Returns the number of sidecars.
///
/// # Errors
/// The sidecars that are missing, different or superfluous.
pub fn check_sidecars(
    index: &Path,
    crates_base: &str,
    include_yanked: bool,
    sidecars: &Path,
) -> Result<u64, String> {
    let yanked = if include_yanked { "yanked" } else { "unyanked" };
    let said = python(
        CHECK,
        &[
            "sidecars".as_ref(),
            index.as_os_str(),
            crates_base.as_ref(),
            yanked.as_ref(),
            sidecars.as_os_str(),
        ],
    )?;
    said.trim().parse().map_err(|error| format!("{error} in {said}"))
}

fn python(script: &str, arguments: &[&std::ffi::OsStr]) -> Result<String, String> {
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("python3 could not be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// An index whose releases have bodies that consist of name and version. The rest of its lines is unchanged, so that
/// mirroring and resolving meet the registry's own data.
#[derive(Debug, Clone)]
pub struct EmbodiedIndex {
    /// Index files by their paths.
    files: BTreeMap<String, Vec<u8>>,
}

impl EmbodiedIndex {
    /// Reads the index files of a directory.
    ///
    /// # Panics
    /// When it cannot be read, or has a line that does not belong in an index.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(at) = dirs.pop() {
            for entry in std::fs::read_dir(&at).expect("a directory of the index") {
                let path = entry.expect("an entry").path();
                let rel = path.strip_prefix(dir).expect("below").to_str().expect("UTF-8").replace('\\', "/");
                if path.is_dir() {
                    if rel != ".git" {
                        dirs.push(path);
                    }
                } else if is_index_file(&rel) {
                    files.insert(rel, with_bodies(&std::fs::read(&path).expect("an index file")));
                }
            }
        }
        Self { files }
    }

    /// Writes it as a plain directory.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write(&self, dir: &Path) {
        for (path, text) in &self.files {
            put(&dir.join(path), text);
        }
    }

    /// Returns a site with the sparse form of the index below `/index/` and the bodies below `/crates/`; with `only`,
    /// it has only the releases with these file names.
    #[must_use]
    pub fn site(self: &Arc<Self>, only: Option<BTreeSet<String>>) -> Site {
        let index = Arc::clone(self);
        Arc::new(move |path| {
            if path == "/index/config.json" {
                return Some(Served::new(Bytes::from_static(br#"{"dl":"http://127.0.0.1:1/"}"#)));
            }
            if let Some(path) = path.strip_prefix("/index/") {
                let text = index.files.get(path)?;
                let kept = only.as_ref().map_or_else(|| text.clone(), |only| kept(text, only));
                return (!kept.is_empty()).then(|| Served::new(kept.into()));
            }
            let (name, file) = path.strip_prefix("/crates/")?.split_once('/')?;
            let version = file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".crate")?;
            Some(Served::new(body(name, &version.replace("%2B", "+")).into()))
        })
    }

    /// Returns the features of the newest release of a crate that is neither yanked nor a pre-release, including
    /// optional dependencies.
    #[must_use]
    pub fn features(&self, name: &str) -> Vec<String> {
        let Some(text) =
            mirror_types::CrateName::new(name).ok().and_then(|name| self.files.get(&index_path(&name)))
        else {
            return Vec::new();
        };
        let releases =
            lines(text).map(|(line, _)| line).filter(|line| !line.yanked && !line.vers.contains('-'));
        let Some(newest) = releases.max_by_key(|line| numbers(&line.vers)) else { return Vec::new() };
        let optional = newest.deps.iter().filter(|dep| dep.optional).map(|dep| dep.name.clone());
        newest.features.into_keys().chain(optional).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[derive(Deserialize)]
struct Line {
    name: String,
    vers: String,
    cksum: String,
    yanked: bool,
    deps: Vec<Dep>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dep {
    name: String,
    #[serde(default)]
    optional: bool,
}

fn lines(text: &[u8]) -> impl Iterator<Item = (Line, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| (serde_json::from_slice(line).expect("a line of an index"), line))
}

fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split('+').next().unwrap_or_default();
    plain.split('.').filter_map(|part| part.parse().ok()).collect()
}

fn is_index_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    mirror_types::CrateName::new(name).is_ok_and(|name| index_path(&name) == path)
}

fn body(name: &str, version: &str) -> Vec<u8> {
    format!("{name} {version}\n").into_bytes()
}

/// Replaces the registry's checksums with those of the bodies.
fn with_bodies(text: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    for (line, bytes) in lines(text) {
        let sum = Sha256::from_bytes(sha2::Sha256::digest(body(&line.name, &line.vers)).into()).to_hex();
        let bytes = std::str::from_utf8(bytes).expect("UTF-8").replace(&line.cksum, &sum);
        made.extend_from_slice(bytes.as_bytes());
        made.push(b'\n');
    }
    made
}

fn kept(text: &[u8], only: &BTreeSet<String>) -> Vec<u8> {
    let mut kept = Vec::new();
    for (line, bytes) in lines(text) {
        if only.contains(&format!("{}-{}.crate", line.name, line.vers)) {
            kept.extend_from_slice(bytes);
            kept.push(b'\n');
        }
    }
    kept
}

/// Has the real Cargo lock a project with these lines in its `[dependencies]`, all of whose crates come from the sparse
/// registry at `index`; returns the file names of the locked releases.
///
/// # Errors
/// The output of Cargo when it failed.
///
/// # Panics
/// When it cannot be started: this is test code.
pub fn cargo_lock(index: &str, dependencies: &str) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[source.crates-io]\nreplace-with = \"made\"\n[source.made]\nregistry = \"sparse+{index}\"\n"
    );
    put(&dir.path().join(".cargo/config.toml"), config.as_bytes());
    let manifest = format!(
        "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n{dependencies}"
    );
    put(&dir.path().join("Cargo.toml"), manifest.as_bytes());
    put(&dir.path().join("src/lib.rs"), b"");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(dir.path()).args(["generate-lockfile"]).env("CARGO_HOME", dir.path().join("home"));
    for name in [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        cargo.env_remove(name);
    }
    let output = cargo.stdin(Stdio::null()).output().expect("cargo");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(locked(&std::fs::read_to_string(dir.path().join("Cargo.lock")).expect("a lockfile")))
}

fn locked(lock: &str) -> Vec<String> {
    let mut locked = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(_)) = (value("name"), value("version"), value("source")) {
            locked.push(format!("{name}-{version}.crate"));
        }
    }
    locked
}

/// Returns the file names of the releases below `root`.
///
/// # Panics
/// When a folder cannot be read.
#[must_use]
pub fn held_files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder of the mirror") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                if name != ".mirror" {
                    dirs.push(path);
                }
            } else if name.ends_with(".crate") {
                found.insert(name);
            }
        }
    }
    found
}
