//! `cargo xtask proof real-index`: runs the programs on a registry's own index. Each must end with 0, and its reports
//! and files must equal those that Python, git and Cargo derive from the same index.

mod closure;
mod policy;
mod update;
mod world;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use mirror_testkit::{IndexFacts, check_sidecars, git};

use world::{BARE, CHECKOUT, MADE, World, print_row, same};

/// The index and the programs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A git bundle of the index.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The folder with the programs. Default: the release build of this workspace.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Only these steps.
    #[arg(long, value_delimiter = ',')]
    steps: Vec<Step>,
}

/// One step of the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Dry runs count the index.
    DryRun,
    /// Dry runs under policies count what the policies keep from being fetched.
    Policy,
    /// Every sidecar is compared.
    Sidecars,
    /// The index is cloned and updated from a copy that git serves.
    Update,
    /// Cargo resolves over closures of well-known crates.
    Closure,
    /// The whole index is mirrored.
    Whole,
}

/// The address of the crates in sidecars; no step requests anything there.
const CRATES_BASE: &str = "http://crates.example/crates";

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let programs = options.programs.clone().unwrap_or_else(|| root.join("target/release"));
    let world = World::new(&std::path::absolute(programs)?, &options.bundle)?;
    for step in Step::value_variants() {
        if options.steps.is_empty() || options.steps.contains(step) {
            match step {
                Step::DryRun => world.dry_runs()?,
                Step::Policy => policy::run(&world)?,
                Step::Sidecars => world.sidecars()?,
                Step::Update => update::run(&world)?,
                Step::Closure => closure::run(&world)?,
                Step::Whole => world.whole()?,
            }
        }
    }
    Ok(())
}

impl World {
    fn dry_runs(&self) -> anyhow::Result<()> {
        for index in [BARE, CHECKOUT] {
            let began = Instant::now();
            self.dry_run(index)?;
            let IndexFacts { releases, yanked, .. } = self.facts;
            print_row(
                &format!("dry run, {index}"),
                &format!("{} and {releases} releases", releases - yanked),
                began,
            );
        }
        ensure!(!self.path("none").exists(), "a dry run made its mirror");
        Ok(())
    }

    /// Writes sidecars and compares each.
    fn sidecars(&self) -> anyhow::Result<()> {
        let IndexFacts { releases, yanked, .. } = self.facts;
        for index in [BARE, CHECKOUT] {
            for (with_yanked, expected) in [(true, releases), (false, releases - yanked)] {
                let flag = format!("--include-yanked={with_yanked}");
                let what = if with_yanked { "yanked ones too" } else { "without yanked ones" };
                let (lines, files) = (format!("{index}.jsonl"), format!("{index}-files-{with_yanked}"));
                let common = ["--index-dir", index, "--crates-base-url", CRATES_BASE, &flag];
                let jsonl = [&common[..], &["--output-mode", "jsonl", "--jsonl-out", &lines]].concat();
                let began = Instant::now();
                let ended = self.clean("generate-sidecars", &jsonl)?;
                same(index, "written", ended.count("written"), expected)?;
                self.compared(index, with_yanked, &lines, expected)?;
                print_row(&format!("sidecars, {index}"), &format!("JSONL, {what}: {expected} equal"), began);
                // Each form only once: writing a quarter of a million small files takes long.
                if (index == BARE) != with_yanked {
                    continue;
                }
                let began = Instant::now();
                let ended = self.clean("generate-sidecars", &[&common[..], &["--out", &files]].concat())?;
                same(index, "written", ended.count("written"), expected)?;
                self.compared(index, with_yanked, &files, expected)?;
                let again = self.clean("generate-sidecars", &[&common[..], &["--out", &files]].concat())?;
                same(index, "existing", again.count("existing"), expected)?;
                same(index, "written again", again.count("written"), 0)?;
                print_row(&format!("sidecars, {index}"), &format!("files, {what}: {expected} equal"), began);
                std::fs::remove_dir_all(self.path(&files)).context("removing the sidecars")?;
            }
        }
        Ok(())
    }

    fn compared(&self, index: &str, with_yanked: bool, found: &str, expected: u64) -> anyhow::Result<()> {
        let (index, found) = (self.path(index), self.path(found));
        let equal = check_sidecars(&index, CRATES_BASE, with_yanked, &found)
            .map_err(|faults| anyhow::anyhow!("the sidecars at {}:\n{faults}", found.display()))?;
        same(&found.display().to_string(), "sidecars compared", equal, expected)
    }

    /// Mirrors the whole index twice, with bodies, from git into bundles. Exit codes alert an operator only if a full
    /// mirror ends with 0.
    fn whole(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let made = self.path(MADE);
        git(&made, &["init", "--quiet", "--initial-branch=master"]);
        git(&made, &["add", "--all"]);
        git(&made, &["commit", "--quiet", "--message", "index"]);
        let whole = ["--index-dir", MADE, "--include-yanked", "--bundle", "--bundle-seal", "--out", "whole"];
        let ended = self.download(&whole)?;
        let releases = self.facts.releases;
        same("the whole", "downloaded", ended.count("downloaded"), releases)?;
        let again = self.download(&whole)?;
        same("the whole, again", "existing", again.count("existing"), releases)?;
        same("the whole, again", "downloaded", again.count("downloaded"), 0)?;
        print_row(
            "a full mirror",
            &format!("{releases} releases in bundles, nothing more to do for the next run"),
            began,
        );
        Ok(())
    }
}
