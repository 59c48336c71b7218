//! `cargo xtask cases`: runs the scripts of `testdata/cases` with the programs of this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::cargo;

/// Cases that run at a time. Most of them wait for clocks and peers.
const AT_A_TIME: usize = 2;

/// The cases to run.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only cases whose file name begins with one of these, as in `cargo xtask cases 30 41`. Without any: all.
    beginnings: Vec<String>,
    /// Directory of the programs. Without it they are built in the profile `dev`.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Runs the cases; fails when one of them does.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let programs = match &options.programs {
        Some(dir) => dir.canonicalize().with_context(|| format!("could not find {}", dir.display()))?,
        None => built(root)?,
    };
    let cases = chosen(&root.join("testdata/cases"), &options.beginnings)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path)))
        .context("the directory of the programs cannot be in PATH")?;
    let queue = Mutex::new(cases.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = next(&queue) {
                    if let Err(what) = run_one(case, &path) {
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{} passed, {} failed", cases.len() - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("{} of {} cases fail: {}", failed.len(), cases.len(), failed.join(", "));
    }
    Ok(())
}

fn next<'a>(queue: &Mutex<std::slice::Iter<'a, PathBuf>>) -> Option<&'a PathBuf> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
}

/// Builds the programs and returns their directory.
pub(crate) fn built(root: &Path) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--workspace", "--bins", "--locked", "--quiet"]).current_dir(root);
    let status = command.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("the programs could not be built");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug"))
}

/// Returns the scripts, sorted; those that begin with a digit are cases.
fn chosen(dir: &Path, beginnings: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("could not list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("could not list {}", dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_case = name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".sh");
        let wanted = beginnings.is_empty() || beginnings.iter().any(|beginning| name.starts_with(beginning));
        if is_case && wanted {
            cases.push(entry.path());
        }
    }
    if cases.is_empty() {
        bail!("no case has such a name; {} has them all", dir.display());
    }
    cases.sort();
    Ok(cases)
}

/// Runs one case and prints its verdict. Returns its name if it fails.
fn run_one(case: &Path, path: &std::ffi::OsStr) -> Result<(), String> {
    let name = case.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let began = Instant::now();
    // A case ends itself within a minute.
    let output = Command::new("timeout").args(["-k", "5", "90", "bash"]).arg(case).env("PATH", path).output();
    let (passed, verdict) = match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let verdict = text.trim_end().lines().last().unwrap_or_default().to_owned();
            (output.status.success() && verdict.starts_with("ok: "), verdict)
        }
        Err(error) => (false, format!("could not be started: {error}")),
    };
    println!("{name:<40} {:>3} s  {verdict}", began.elapsed().as_secs());
    if passed { Ok(()) } else { Err(name) }
}
