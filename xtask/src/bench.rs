//! `cargo xtask bench`: measures the programs beside the tools that a person would use instead, in one session.
//!
//! Ratios between programs that were run in turn count, and CPU seconds per unit of work; single wall
//! times do not. Everything is written to a folder on tmpfs, if there is one.

mod archive;
mod bundles;
mod download;
mod fresh;
mod index;
mod measure;
mod nginx;
mod policy;
mod report;
mod serve;
mod sidecars;
mod sitting;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use report::Report;
use sitting::Bench;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The benchmarks to run: p1 to p9, archive, policy (P4 and P10 under a policy), serve; all but p9 when none is
    /// named.
    only: Vec<String>,
    /// Rounds; each runs every program once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Releases of 20 kB on average.
    #[arg(long, default_value_t = 20_000)]
    releases: usize,
    /// Records of the index of P3, and of the JSONL of P5.
    #[arg(long, default_value_t = 2_500_000)]
    index_releases: usize,
    /// Releases that the mirrors of P4 and of `policy` hold, and files of P5.
    #[arg(long, default_value_t = 300_000)]
    held_releases: usize,
    /// MiB of the bundle of P7.
    #[arg(long, default_value_t = 1024)]
    bundle_mib: u64,
    /// MiB that archive-hasher reads.
    #[arg(long, default_value_t = 1024)]
    archive_mib: u64,
    /// Folder to work in. Default: below /dev/shm if it exists.
    #[arg(long)]
    work: Option<PathBuf>,
    /// The folder with the release programs of another version, which run in turn with these.
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// Write the tables to docs/benchmarks.md; those of benchmarks that were not run stay.
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        return again_in_release(root);
    }
    let built = crate::cargo()
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "download-crates",
            "--package",
            "generate-sidecars",
            "--package",
            "extract-bundles",
            "--package",
            "serve-mirror",
        ])
        .args(["--package", "archive-hasher", "--package", "mirror-archive", "--package", "mirror-serve"])
        .args(["--package", "mirror-store"])
        .args(["--bins", "--examples"])
        .status()
        .context("running cargo build")?;
    if !built.success() {
        bail!("the release build failed");
    }
    let base = match &options.work {
        Some(dir) => dir.clone(),
        None if Path::new("/dev/shm").is_dir() => PathBuf::from("/dev/shm"),
        None => std::env::temp_dir(),
    };
    let folder = tempfile::Builder::new()
        .prefix("mirror-bench-")
        .tempdir_in(&base)
        .with_context(|| format!("making a folder below {}", base.display()))?;
    let bench = Bench {
        work: folder.path(),
        in_memory: options.work.is_none() && base.starts_with("/dev/shm"),
        program: program(root, "download-crates")?,
        before: options
            .before
            .as_deref()
            .map(Path::canonicalize)
            .transpose()
            .context("looking for --before")?,
        server: program(root, "serve-mirror")?,
        many_crates: program(root, "examples/many_crates")?,
        floor: program(root, "examples/floor")?,
        archiver: program(root, "archive-hasher")?,
        digest: program(root, "examples/digest")?,
        archive_mib: options.archive_mib,
        bundle_mib: options.bundle_mib,
        rounds: options.rounds,
        releases: options.releases,
        index_releases: options.index_releases,
        held_releases: options.held_releases,
    };
    let mut report = Report::begin(root)?;
    // What was measured before a fault counts.
    let measured = measure(root, &options.only, &bench, &mut report);
    println!("\n{}", report.text());
    if options.write {
        let path = root.join("docs/benchmarks.md");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, report.merged(&old)).with_context(|| format!("writing {}", path.display()))?;
    }
    measured
}

/// Runs the benchmarks that are named, all but P9 when none is.
fn measure(root: &Path, only: &[String], bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    if wanted("p1") {
        download::loopback(bench, report)?;
    }
    if wanted("p2") {
        download::far(bench, report)?;
    }
    if wanted("p3") {
        index::plan(bench, report)?;
    }
    if wanted("p4") {
        index::incremental_runs(bench, report)?;
    }
    if wanted("p5") {
        sidecars::jsonl(bench, report)?;
        sidecars::files(bench, report)?;
    }
    if wanted("p6") {
        verify::run(bench, report)?;
    }
    if wanted("p7") {
        bundles::run(bench, report)?;
    }
    if wanted("p8") {
        download::memory(bench, report)?;
    }
    // P9 builds everything again in every round.
    if only.iter().any(|only| only == "p9") {
        fresh::clone(root, bench, report)?;
    }
    if wanted("archive") {
        archive::run(bench, report)?;
    }
    if wanted("policy") {
        policy::run(bench, report)?;
    }
    if wanted("serve") {
        serve::run(bench, report)?;
    }
    Ok(())
}

/// Returns the path of the release build of a program.
fn program(root: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join("release").join(name);
    program.canonicalize().with_context(|| format!("looking for {}", program.display()))
}

/// Runs this command again as a release build: an origin or a baseline without optimisation would distort the figures.
fn again_in_release(root: &Path) -> anyhow::Result<()> {
    let status = crate::cargo()
        .current_dir(root)
        .args(["run", "--release", "--locked", "--quiet", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .status()
        .context("running the release build of xtask")?;
    if !status.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}

pub(crate) use index::{WalkTwo, walk_two};
pub(crate) use sidecars::{WriteTwo, write_two};
pub(crate) use verify::{HashTwo, hash_two};
