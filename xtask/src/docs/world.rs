//! The place where commands of the documents run: a registry on this machine, mirrors of it, programs on the PATH.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mirror_testkit::{Fault, Origin, OriginOptions, Protocol, TestRegistry};
use tempfile::TempDir;

use super::Verdict;
use crate::serving::Serving;

/// Most seconds that a command may take.
const LIMIT_S: &str = "180";

/// The longest wait for an answer.
const MOST_WAIT: Duration = Duration::from_secs(30);

/// Names that the documents use for crates.
const NAMES: &[&str] = &["serde", "tokio", "ripgrep", "just", "left-pad", "some-crate", "cfg-if"];

pub(super) struct World {
    dir: TempDir,
    origin: Origin,
    /// Scripts that prepare, of testdata/docs.
    scripts: PathBuf,
    root: PathBuf,
    programs: PathBuf,
}

impl World {
    /// Starts the registry, and prepares a directory that each document gets a copy of.
    pub(super) fn new(root: &Path, programs: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("docs-").tempdir().context("could not make a directory")?;
        let registry = registry()?;
        let plain = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
        let origin = Origin::start(plain, registry.site(""));
        let base = origin.base();
        origin.replace_site(registry.site(&format!("{base}/crates")));
        registry.commit_git(&dir.path().join("upstream"));
        let template = dir.path().join("template");
        for name in ["Cargo.lock", "a/Cargo.lock", "b/Cargo.lock"] {
            let path = template.join(name);
            std::fs::create_dir_all(path.parent().context("a directory")?)
                .context("could not make a directory")?;
            std::fs::write(&path, registry.lockfile(&format!("sparse+{base}/index/")))
                .with_context(|| format!("could not write {}", path.display()))?;
        }
        let world = Self {
            dir,
            origin,
            scripts: root.join("testdata/docs"),
            root: root.to_owned(),
            programs: programs.to_owned(),
        };
        let output = world.bash("README.md", "", &template, &world.scripts.join("prepare.sh"))?;
        if !output.status.success() {
            bail!("testdata/docs/prepare.sh failed:\n{}", tail(&output));
        }
        Ok(world)
    }

    /// Returns a fresh directory for the commands of a document.
    pub(super) fn place(&self, page: &str) -> anyhow::Result<TempDir> {
        let place = tempfile::tempdir_in(self.dir.path()).context("could not make a directory")?;
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.dir.path().join("template/."))
            .arg(place.path())
            .status()
            .context("cp could not be started")?;
        if !copied.success() {
            bail!("could not copy the prepared directory for {page}");
        }
        Ok(place)
    }

    /// Runs a command as a person would who works in `place`. A server is started, asked and stopped.
    pub(super) fn run(&self, page: &str, text: &str, place: &Path) -> anyhow::Result<Verdict> {
        let text = text.replace("/media/carry", "media/carry");
        if text.starts_with("serve-mirror --") {
            return self.serve(&text, place);
        }
        let output = self.bash(page, &text, place, &self.scripts.join("run.sh"))?;
        if output.status.success() { Ok(Verdict::Ran) } else { Ok(Verdict::Failed(tail(&output))) }
    }

    fn serve(&self, text: &str, place: &Path) -> anyhow::Result<Verdict> {
        let (flags, _) = text.split_once(" #").unwrap_or((text, ""));
        let words: Vec<&str> = flags.split_whitespace().skip(1).collect();
        // Any free port, on this machine alone.
        let listen = words.iter().position(|word| *word == "--listen").map(|at| at + 1);
        let words =
            words.iter().enumerate().map(|(at, word)| if Some(at) == listen { "127.0.0.1:0" } else { word });
        let mut command = Command::new(self.programs.join("serve-mirror"));
        command.args(words).current_dir(place);
        if listen.is_none() {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let serving = Serving::spawn(command)?;
        match ask(&format!("{}/index/config.json", serving.base)) {
            Ok(_) => Ok(Verdict::Ran),
            Err(error) => Ok(Verdict::Failed(format!("{error:#}"))),
        }
    }

    /// Returns the directory of everything.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns what a server and a run expose at /metrics.
    pub(super) fn metrics(&self) -> anyhow::Result<String> {
        let place = self.place("/metrics")?;
        let mut command = Command::new(self.programs.join("serve-mirror"));
        command.args(["--mirror", "mirror", "--listen", "127.0.0.1:0"]).current_dir(place.path());
        let serving = Serving::spawn(command)?;
        let began = Instant::now();
        let served = loop {
            let served = ask(&format!("{}/metrics", serving.base))?;
            if served.contains("crates_serve_held_bytes ") {
                break served;
            }
            if began.elapsed() > MOST_WAIT {
                bail!("serve-mirror does not expose what it holds");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        Ok(served + &self.metrics_of_a_run(place.path())?)
    }

    fn metrics_of_a_run(&self, place: &Path) -> anyhow::Result<String> {
        // The run must not be over before it is asked.
        self.origin.script(|ask| {
            if ask.path.starts_with("/crates/") { Fault::Late(Duration::from_secs(1)) } else { Fault::None }
        });
        let free = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr());
        let address = free.context("no free port")?.to_string();
        let base = self.origin.base();
        let mut child = Command::new(self.programs.join("download-crates"))
            .args([
                "--index-dir",
                "crates.io-index",
                "--out",
                "other",
                "--concurrency",
                "1",
                "--listen",
                &address,
            ])
            .args(["--crates-base-url", &format!("{base}/crates")])
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("download-crates could not be started")?;
        let began = Instant::now();
        let answer = loop {
            match ask(&format!("http://{address}/metrics")) {
                Ok(text) if text.contains("crates_download_duration_seconds_count 1") => break Ok(text),
                answer if began.elapsed() > MOST_WAIT => break answer,
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        self.origin.heal();
        answer.context("download-crates did not expose its metrics")
    }

    /// Runs one of the scripts in testdata/docs.
    fn bash(&self, page: &str, text: &str, place: &Path, script: &Path) -> anyhow::Result<Output> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let ahead = [self.scripts.join("bin"), self.programs.clone()];
        let path = std::env::join_paths(ahead.into_iter().chain(std::env::split_paths(&path)))
            .context("the directory of the programs cannot be in PATH")?;
        let mut command = Command::new("timeout");
        command.args(["-k", "5", LIMIT_S, "bash"]).arg(script).current_dir(place).stdin(Stdio::null());
        command.env("PATH", path).env("HOME", place).env("GNUPGHOME", place.join(".gnupg"));
        command.env("DOC", self.root.join(page)).env("COMMAND", text).env("PROGRAMS", &self.programs);
        command.env("CARGO_HOME", place.join(".cargo")).env("RUSTUP_HOME", rustup_home());
        command.env("ORIGIN", self.origin.base()).env("UPSTREAM", self.dir.path().join("upstream"));
        command.output().context("timeout could not be started")
    }
}

/// Returns where rustup has its toolchains, which the home of a test has not.
fn rustup_home() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default().join(".rustup");
    std::env::var_os("RUSTUP_HOME").map_or_else(home, PathBuf::from)
}

/// Gets a page of this machine.
fn ask(url: &str) -> anyhow::Result<String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20", url])
        .output()
        .context("curl could not be started")?;
    if !output.status.success() {
        bail!("{}", tail(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes the registry: the crates that documents name, and some more.
fn registry() -> anyhow::Result<TestRegistry> {
    let mut registry = TestRegistry::default();
    for name in NAMES {
        for version in ["1.0.0", "1.0.1"] {
            let body = packed(name, version)?;
            registry.add(name, version, &body).pubtime = Some("2026-01-02T03:04:05Z".to_owned());
        }
    }
    Ok(registry)
}

/// Packs a crate that Cargo can build.
fn packed(name: &str, version: &str) -> anyhow::Result<Vec<u8>> {
    let dir = tempfile::tempdir().context("could not make a directory")?;
    let root = format!("{name}-{version}");
    let source = dir.path().join(&root).join("src");
    std::fs::create_dir_all(&source).context("could not make a directory")?;
    let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n");
    std::fs::write(source.with_file_name("Cargo.toml"), manifest).context("could not write a manifest")?;
    std::fs::write(source.join("lib.rs"), "").context("could not write a source")?;
    let output = Command::new("tar").arg("-cz").arg(&root).current_dir(dir.path()).output();
    let output = output.context("tar could not be started")?;
    if !output.status.success() {
        bail!("tar failed:\n{}", tail(&output));
    }
    Ok(output.stdout)
}

/// Returns the end of what a command wrote.
fn tail(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(15)..].join("\n");
    format!("{last}\nended with {}", output.status)
}
