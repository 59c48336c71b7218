//! `cargo xtask proof real-index`: the programs on a registry's own index. Each ends clean, and what it says and
//! writes is what Python, git and Cargo make of the same index.

mod closure;
mod update;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum as _;
use mirror_testkit::{
    EmbodiedIndex, Ended, IndexFacts, Origin, OriginOptions, Protocol, check_sidecars, count_index, git,
};

/// Which index, by which programs.
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

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Dry runs count what is there.
    DryRun,
    /// Every sidecar is compared.
    Sidecars,
    /// The index is cloned and updated from a copy that git serves.
    Update,
    /// Cargo resolves over closures of well-known crates.
    Closure,
    /// All of it is mirrored.
    Whole,
}

/// Where sidecars say that crates are; nobody asks there.
const CRATES_BASE: &str = "http://crates.example/crates";

/// What the steps work with.
struct World {
    programs: PathBuf,
    dir: tempfile::TempDir,
    /// What Python counted.
    facts: IndexFacts,
    /// The index with bodies, and an origin that serves both.
    index: Arc<EmbodiedIndex>,
    origin: Origin,
}

/// The two forms of the index in the folder.
const BARE: &str = "bare.git";
const CHECKOUT: &str = "checkout";
/// The index with bodies, as a directory.
const MADE: &str = "made";

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let programs = options.programs.clone().unwrap_or_else(|| root.join("target/release"));
    let world = World::new(&std::path::absolute(programs)?, &options.bundle)?;
    for step in Step::value_variants() {
        if options.steps.is_empty() || options.steps.contains(step) {
            match step {
                Step::DryRun => world.dry_runs()?,
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
    fn new(programs: &Path, bundle: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("a folder to work in")?;
        let began = Instant::now();
        let bundle = std::path::absolute(bundle)?;
        ensure!(bundle.is_file(), "{} is not there", bundle.display());
        let bundle = bundle.to_str().context("the name of the bundle is no UTF-8")?;
        git(dir.path(), &["clone", "--quiet", "--bare", bundle, BARE]);
        git(dir.path(), &["clone", "--quiet", BARE, CHECKOUT]);
        let counted = [BARE, CHECKOUT].map(|form| count_index(&dir.path().join(form)));
        let [facts, files] = counted.map(|counted| counted.map_err(anyhow::Error::msg));
        let (facts, files) = (facts?, files?);
        ensure!(facts == files, "git's objects have {facts:?}, its checkout has {files:?}");
        let index = Arc::new(EmbodiedIndex::read(&dir.path().join(CHECKOUT)));
        index.write(&dir.path().join(MADE));
        let how = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
        let origin = Origin::start(how, index.site(None));
        let IndexFacts { files, lines, releases, yanked, duplicates, crates, .. } = &facts;
        told(
            "index",
            &format!(
                "{files} files, {crates} crates, {lines} lines, {duplicates} of them replaced by later ones, {releases} \
                 releases, {yanked} yanked"
            ),
            began,
        );
        Ok(Self { programs: programs.to_owned(), dir, facts, index, origin })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.programs.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Runs a program; any other end than 0 is a fault.
    fn clean(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Ended> {
        let path = self.program(program);
        ensure!(path.is_file(), "{} is not there; build it, or name --programs", path.display());
        let mut command = Command::new(path);
        command.current_dir(self.dir.path()).args(arguments);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        let ended = mirror_testkit::run(&mut command);
        if ended.code != 0 {
            let log: Vec<&str> = ended.stderr.lines().rev().take(20).collect();
            bail!(
                "{program} {} ended with {}:\n{}{}",
                arguments.join(" "),
                ended.code,
                ended.stdout,
                log.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(ended)
    }

    /// Runs the downloader against the origin.
    fn download(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let base = format!("{}/crates", self.origin.base());
        let common = ["--listen", "", "--crates-base-url", &base, "--progress-interval", "1h"];
        self.clean("download-crates", &[&common, arguments].concat())
    }

    /// Counts an index by a dry run, without and with yanked releases.
    fn dry_run(&self, index: &str) -> anyhow::Result<()> {
        let IndexFacts { releases, yanked, .. } = self.facts;
        let dry = ["--dry-run", "--out", "none", "--index-dir", index];
        let ended = self.download(&dry)?;
        same(index, "selected", ended.count("selected"), releases - yanked)?;
        same(index, "yanked, skipped", ended.count("yanked, skipped"), yanked)?;
        let ended = self.download(&[&dry[..], &["--include-yanked"]].concat())?;
        same(index, "selected with yanked ones", ended.count("selected"), releases)?;
        same(index, "would fetch", ended.count("would fetch"), releases)
    }

    fn dry_runs(&self) -> anyhow::Result<()> {
        for index in [BARE, CHECKOUT] {
            let began = Instant::now();
            self.dry_run(index)?;
            let IndexFacts { releases, yanked, .. } = self.facts;
            told(
                &format!("dry run, {index}"),
                &format!("{} and {releases} releases", releases - yanked),
                began,
            );
        }
        ensure!(!self.path("none").exists(), "a dry run made its mirror");
        Ok(())
    }

    /// Writes sidecars and has each compared.
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
                told(&format!("sidecars, {index}"), &format!("JSONL, {what}: {expected} equal"), began);
                // Each form once: a quarter of a million small files takes its time.
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
                told(&format!("sidecars, {index}"), &format!("files, {what}: {expected} equal"), began);
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

    /// Mirrors all of it twice, with bodies, out of git into bundles: an alarm means something only when a full mirror
    /// ends with 0.
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
        told(
            "a full mirror",
            &format!("{releases} releases in bundles, nothing more to do for the next run"),
            began,
        );
        Ok(())
    }
}

/// Holds a figure against the one that was counted.
fn same(of: &str, what: &str, found: u64, expected: u64) -> anyhow::Result<()> {
    ensure!(found == expected, "{of}: {what}: {found}, and not {expected}");
    Ok(())
}

/// Prints a line of the table.
fn told(step: &str, what: &str, began: Instant) {
    println!("{step:<24} {what} ({:.0} s)", began.elapsed().as_secs_f64());
}
