//! `cargo xtask browser`: real runs against an origin on this machine, and their console in headless Chromium.

mod situations;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cargo;

/// The folder of the script that drives the browser.
const SCRIPTS: &str = "tests/browser";

/// What to look at.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only these situations. Without any: all.
    situations: Vec<String>,
    /// Take pictures of everything that is looked at, into this directory.
    #[arg(long, value_name = "DIR", alias = "out")]
    shots: Option<PathBuf>,
    /// Directory of the programs. Without it they are built in the profile `dev`.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// The tools and the places of the test.
struct Bench {
    programs: PathBuf,
    scripts: PathBuf,
    chromium: PathBuf,
    shots: Option<PathBuf>,
    dir: tempfile::TempDir,
}

/// Looks at the console in each situation; fails when one of them does not look as it should.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let Some(chromium) = tools(root)? else { return Ok(()) };
    let programs = match &options.programs {
        Some(dir) => dir.canonicalize().with_context(|| format!("could not find {}", dir.display()))?,
        None => built(root)?,
    };
    let dir = tempfile::tempdir().context("making a temporary directory")?;
    let shots = options.shots.as_deref().map(made).transpose()?;
    let bench = Bench { programs, scripts: root.join(SCRIPTS), chromium, shots, dir };
    let mut failed = Vec::new();
    let mut looked_at = 0;
    for (name, situation) in situations::ALL {
        if !options.situations.is_empty() && !options.situations.iter().any(|wanted| wanted == name) {
            continue;
        }
        let began = Instant::now();
        let result = situation(&bench);
        looked_at += 1;
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        let looks = result.as_deref().unwrap_or_default();
        println!("{name:<14}{verdict:<8}{:>5.1} s  {looks}", began.elapsed().as_secs_f64());
        if let Err(error) = result {
            println!("{error:#}");
            failed.push(*name);
        }
    }
    println!("{} passed, {} failed", looked_at - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("the console does not look as it should in {} of {looked_at} situations", failed.len());
    }
    if looked_at == 0 {
        let names: Vec<_> = situations::ALL.iter().map(|(name, _)| *name).collect();
        bail!("there is no such situation; there are {}", names.join(", "));
    }
    Ok(())
}

/// Makes a directory if need be, and returns its whole path.
fn made(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("finding {}", dir.display()))
}

/// Finds the browser and the packages of the script; `None` when something is missing and may be.
fn tools(root: &Path) -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |names: &[&str]| {
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        names.iter().find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()))
    };
    let chromium = find(&["chromium", "chromium-browser", "google-chrome"]);
    let missing = if chromium.is_none() {
        Some("chromium (Debian: chromium)")
    } else if find(&["node"]).is_none() {
        Some("node (Debian: nodejs)")
    } else if !root.join(SCRIPTS).join("node_modules/playwright-core").is_dir() {
        Some("the packages of the test: run `npm ci --ignore-scripts` in tests/browser")
    } else {
        None
    };
    match missing {
        None => Ok(chromium),
        Some(what) if std::env::var_os("MIRROR_REQUIRE_TOOLS").is_some() => bail!("this step needs {what}"),
        Some(what) => {
            println!("skipped: this step needs {what}");
            Ok(None)
        }
    }
}

/// Builds the programs and returns their directory.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--bins", "--locked", "--quiet", "-p", "download-crates", "-p", "serve-mirror"]);
    let status = command.current_dir(root).status().context("cargo could not be started")?;
    if !status.success() {
        bail!("the programs could not be built");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug"))
}

impl Bench {
    /// Has the browser look at a page, and returns what it says of that. `when_open` is called when the script says that
    /// its last page is open.
    fn look(
        &self,
        mut task: Value,
        when_open: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<String> {
        use std::io::BufRead as _;

        task["chromium"] = self.chromium.display().to_string().into();
        task["shots"] = self.shots.as_ref().map(|dir| dir.display().to_string()).into();
        let mut child = Command::new("node")
            .arg("console.mjs")
            .arg(task.to_string())
            .current_dir(&self.scripts)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting node")?;
        let out = child.stdout.take().context("the output of node")?;
        let mut when_open = Some(when_open);
        let mut said = String::new();
        for line in std::io::BufReader::new(out).lines() {
            let line = line.context("reading from node")?;
            if line == "open"
                && let Some(when_open) = when_open.take()
            {
                when_open()?;
            }
            said = line;
        }
        let output = child.wait_with_output().context("waiting for node")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(said)
    }
}
