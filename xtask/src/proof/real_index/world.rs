//! The environment of the steps: the index in all its forms, an origin, and the programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use mirror_testkit::{EmbodiedIndex, Ended, IndexFacts, Origin, OriginOptions, Protocol, count_index, git};

/// The two forms of the index in the folder.
pub(super) const BARE: &str = "bare.git";
pub(super) const CHECKOUT: &str = "checkout";
/// The index with bodies, as a directory.
pub(super) const MADE: &str = "made";

/// The environment of the steps.
pub(super) struct World {
    pub(super) programs: PathBuf,
    pub(super) dir: tempfile::TempDir,
    /// The counts of Python.
    pub(super) facts: IndexFacts,
    /// The index with bodies, and an origin that serves both.
    pub(super) index: Arc<EmbodiedIndex>,
    pub(super) origin: Origin,
}

impl World {
    pub(super) fn new(programs: &Path, bundle: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("a folder to work in")?;
        let began = Instant::now();
        let bundle = std::path::absolute(bundle)?;
        ensure!(bundle.is_file(), "{} does not exist", bundle.display());
        let bundle = bundle.to_str().context("the name of the bundle is not UTF-8")?;
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
        print_row(
            "index",
            &format!(
                "{files} files, {crates} crates, {lines} lines, {duplicates} of them replaced by later ones, {releases} \
                 releases, {yanked} yanked"
            ),
            began,
        );
        Ok(Self { programs: programs.to_owned(), dir, facts, index, origin })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Runs a program; any exit code but 0 is a fault.
    pub(super) fn clean(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Ended> {
        let path = self.program(program);
        ensure!(path.is_file(), "{} does not exist; build it, or give --programs", path.display());
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
    pub(super) fn download(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let base = format!("{}/crates", self.origin.base());
        let common = ["--listen", "", "--crates-base-url", &base, "--progress-interval", "1h"];
        self.clean("download-crates", &[&common, arguments].concat())
    }

    /// Counts an index by a dry run, without and with yanked releases.
    pub(super) fn dry_run(&self, index: &str) -> anyhow::Result<()> {
        let IndexFacts { releases, yanked, .. } = self.facts;
        let dry = ["--dry-run", "--out", "none", "--index-dir", index];
        let ended = self.download(&dry)?;
        same(index, "selected", ended.count("selected"), releases - yanked)?;
        same(index, "yanked, skipped", ended.count("yanked, skipped"), yanked)?;
        let ended = self.download(&[&dry[..], &["--include-yanked"]].concat())?;
        same(index, "selected with yanked ones", ended.count("selected"), releases)?;
        same(index, "would fetch", ended.count("would fetch"), releases)
    }
}

/// Compares a figure with the one that was counted.
pub(super) fn same(of: &str, what: &str, found: u64, expected: u64) -> anyhow::Result<()> {
    ensure!(found == expected, "{of}: {what}: {found} instead of {expected}");
    Ok(())
}

/// Prints a line of the table.
pub(super) fn print_row(step: &str, what: &str, began: Instant) {
    println!("{step:<24} {what} ({:.0} s)", began.elapsed().as_secs_f64());
}
