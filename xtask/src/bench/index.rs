//! P3: planning the whole index. P4: the cost of incremental runs when little or nothing changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use mirror_testkit::{DayChanges, GitForm, Origin, OriginOptions, Scale, Synthetic, SyntheticRelease, git};
use serde::Deserialize;

use super::measure::{Series, words};
use super::report::Report;
use super::sitting::Bench;

/// The baseline of P3: walks a checked-out index with two threads and reads every line with serde.
#[derive(Debug, clap::Args)]
pub(crate) struct WalkTwo {
    dir: PathBuf,
}

/// Measures P3: planning into an empty mirror from a bare, repacked repository.
pub(crate) fn plan(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let releases = bench.index_releases;
    println!("P3: making an index of {releases} releases, as a repository and as a work tree");
    let dir = bench.work.join("p3");
    let bare = dir.join("index.git");
    let mut index = Synthetic::new(Scale { seed: 3, releases, crates: releases.div_ceil(10), mean_bytes: 0 });
    index.create_git(&bare, GitForm::Bare);
    for _ in 0..3 {
        index.commit_day(
            &bare,
            &DayChanges {
                published: 300,
                yanked: 50,
                deleted: 50,
                created: 50,
                removed: 50,
                ..DayChanges::default()
            },
        );
    }
    git(&bare, &["repack", "-a", "-d", "-f", "--quiet", "--window=10", "--depth=50"]);
    let tree = dir.join("tree");
    index.write_tree(&tree);
    let (program, own) = (bench.program.display().to_string(), own()?);
    let (shown, tree) = (bare.display().to_string(), tree.display().to_string());
    let none = dir.join("none").display().to_string();
    let ours = words(&[
        "--index-dir",
        &shown,
        "--out",
        &none,
        "--dry-run",
        "--offline",
        "--include-yanked",
        "--listen",
        "",
    ]);
    let cat = format!(
        "git -C {shown} ls-tree -r --format='%(objectname)' HEAD | git -C {shown} cat-file --batch --buffer > /dev/null"
    );
    let lines = format!(
        "git -C {shown} ls-tree -r --format='%(objectname)' HEAD | git -C {shown} cat-file --batch --buffer | \
         grep '^{{\"name\"' | wc -l"
    );
    Series::new("count").run(bench.work, "sh", &words(&["-c", &lines]))?;
    let counted = std::fs::read_to_string(bench.work.join("log")).context("reading what wc counted")?;
    ensure!(
        counted.trim() == index.releases().to_string(),
        "git and wc count {counted} records, {} were made",
        index.releases()
    );
    let mut us = Series::new("download-crates --dry-run");
    let mut before = Series::new("download-crates --dry-run of the version before");
    let policies = write_policies(&dir)?;
    let mut naive = Series::new("two plain threads over the work tree, serde (no planning)");
    let mut by_git = Series::new("git ls-tree, git cat-file --batch (no parsing)");
    let mut under =
        policies.map(|(what, path)| (path, Series::new(&format!("download-crates --dry-run, {what}"))));
    for round in 0..bench.rounds {
        println!("P3, round {} of {}", round + 1, bench.rounds);
        us.run(bench.work, &program, &ours)?;
        ensure!(
            count(bench.work, "would fetch")? == index.releases() as u64,
            "the dry run did not plan {} releases",
            index.releases()
        );
        if let Some(program) = bench.before("download-crates") {
            before.run(bench.work, &program.display().to_string(), &ours)?;
        }
        for (policy, series) in &mut under {
            let more = words(&["--policy", policy]);
            series.run(bench.work, &program, &[&ours[..], &more].concat())?;
        }
        naive.run(bench.work, &own, &words(&["walk-two", &tree]))?;
        by_git.run(bench.work, "sh", &words(&["-c", &cat]))?;
    }
    let pack_mib = pack_mib(&bare)?;
    report.downloads(
        "P3: plan the whole index",
        &format!(
            "{} records of {} crates; bare, repacked, warm; the pack has {pack_mib:.0} MiB, which count as memory when \
             they are mapped",
            index.releases(),
            index.crates()
        ),
        index.releases(),
        &us,
        &under
            .iter()
            .map(|(_, series)| series)
            .chain([&naive, &by_git, &before])
            .filter(|s| !s.costs.is_empty())
            .collect::<Vec<_>>(),
    );
    report.before("P3", &us, &before);
    for (_, series) in &under {
        let name = series.name.rsplit(", ").next().unwrap_or_default();
        report.target(&format!("P3 CPU, {name}, over no policy"), series.cpu_over(&us), "at most 1.1", |x| {
            x <= 1.1
        });
    }
    let scale = releases as f64 / 2_500_000.0;
    report.target(
        "P3 seconds for 2.5 million records",
        us.median(|cost| cost.wall_s) / scale,
        "at most 2.5",
        |x| x <= 2.5,
    );
    report.target("P3 peak MiB beyond the pack", us.peak_mib() - pack_mib, "at most 256", |x| x <= 256.0);
    std::fs::remove_dir_all(&dir).context("removing the index of P3")
}

/// Writes policies, and returns what each has, and its path.
fn write_policies(dir: &Path) -> anyhow::Result<[(&'static str, String); 3]> {
    let deny = "deny = [\"evil-crate\", \"left-pad@<2\"]\n";
    let policies = [
        ("deny", deny.to_owned()),
        ("min-publish-age and deny", format!("min-publish-age = \"7 days\"\n{deny}")),
        ("allow", "allow = [\"serde\"]\n".to_owned()),
    ];
    let mut written = Vec::new();
    for (what, text) in policies {
        let path = dir.join(format!("{}.toml", what.replace(' ', "-")));
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        written.push((what, path.display().to_string()));
    }
    written.try_into().map_err(|_| anyhow::anyhow!("three policies"))
}

pub(super) fn own() -> anyhow::Result<String> {
    Ok(std::env::current_exe().context("finding this program")?.display().to_string())
}

pub(super) fn pack_mib(repository: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(repository.join("objects/pack")).context("listing the packs")? {
        let entry = entry.context("listing the packs")?;
        bytes += entry.metadata().context("looking at a pack")?.len();
    }
    Ok(bytes as f64 / f64::from(1 << 20))
}

/// Names of figures in the summary, and their names in earlier versions.
const RENAMED: [(&str, &str); 1] = [("removed upstream", "withdrawn upstream")];

/// Returns a figure from the summary of the last run, which may be of an earlier version.
pub(super) fn count(work: &Path, name: &str) -> anyhow::Result<u64> {
    let log = std::fs::read_to_string(work.join("log")).context("reading the log")?;
    let before = RENAMED.iter().find(|(now, _)| *now == name).map(|(_, before)| *before);
    let found = log.lines().rev().find_map(|line| {
        let rest = line.strip_prefix(name).or_else(|| line.strip_prefix(before?))?;
        rest.starts_with(' ').then(|| rest.split_whitespace().next()?.parse().ok())?
    });
    found.with_context(|| format!("no {name:?} in the summary"))
}

const BEFORE: &str = " (the version before)";

/// A mirror, and the program that maintains it.
struct Held {
    program: PathBuf,
    out: PathBuf,
    /// The suffix of the names of its rows.
    suffix: &'static str,
}

/// Mirrors over several incremental runs.
struct IncrementalRuns<'a> {
    bench: &'a Bench<'a>,
    index: Synthetic,
    origin: Origin,
    bare: PathBuf,
    mirrors: Vec<Held>,
    rows: Vec<(Series, String)>,
}

/// Measures P4: incremental runs of a whole mirror when little or nothing changed. Checks every figure that the program
/// reports and, at the end, every file.
pub(crate) fn incremental_runs(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let releases = bench.held_releases;
    println!("P4: making a mirror of {releases} small crates");
    let scale = Scale { seed: 4, releases, crates: releases.div_ceil(10), mean_bytes: 200 };
    let mut runs = IncrementalRuns {
        bench,
        index: Synthetic::new(scale),
        origin: Origin::start(OriginOptions { workers: 2, ..OriginOptions::default() }, Arc::new(|_| None)),
        bare: bench.work.join("p4.git"),
        mirrors: vec![Held { program: bench.program.clone(), out: bench.work.join("out-p4"), suffix: "" }],
        rows: Vec::new(),
    };
    runs.mirrors.extend(bench.before("download-crates").map(|program| Held {
        program,
        out: bench.work.join("out-p4-before"),
        suffix: BEFORE,
    }));
    runs.index.create_git(&runs.bare, GitForm::Bare);
    runs.serve();
    let held = releases as u64;
    runs.run("everything is downloaded", &[("downloaded", held), ("selected", held)])?;
    runs.run("the run after that: new directories are listed", &[("existing", held)])?;
    for _ in 0..bench.rounds {
        runs.run("nothing new", &[("downloaded", 0), ("existing", held)])?;
    }
    let published = runs.publish_day(&DayChanges { published: 500, ..DayChanges::default() });
    runs.run("500 crates published a version", &[("downloaded", published), ("selected", held + 500)])?;
    let again = runs.publish_day(&DayChanges { republished: 100, ..DayChanges::default() });
    runs.run("100 releases got another checksum", &[("downloaded", again), ("replaced upstream", 100)])?;
    runs.publish_day(&DayChanges { deleted: 50, ..DayChanges::default() });
    runs.run(
        "50 releases were deleted upstream",
        &[("downloaded", 0), ("selected", held + 450), ("removed upstream", 50)],
    )?;
    runs.remove(20)?;
    runs.run("20 files were removed by hand", &[("downloaded", 20), ("selected", held + 450)])?;
    Synthetic::squash(&runs.bare);
    runs.run("the index was squashed", &[("downloaded", 0), ("selected", held + 450)])?;
    runs.check(held + 500)?;
    report.incremental_runs(
        "P4: incremental runs of a mirror",
        &format!("{releases} releases of 200 bytes on average, from the test origin on the same two cores"),
        &runs.rows.iter().map(|(series, noticed)| (series, noticed.as_str())).collect::<Vec<_>>(),
    );
    let wall = |name: &str| runs.series(name).map_or(f64::NAN, |series| series.median(|cost| cost.wall_s));
    let quiet = runs.series("nothing new").map_or(f64::NAN, Series::peak_mib);
    report.target(
        &format!("P4 seconds, nothing new, {releases} held"),
        wall("nothing new"),
        "at most 1",
        |x| x <= 1.0,
    );
    report.target(&format!("P4 peak MiB, nothing new, {releases} held"), quiet, "at most 64", |x| x <= 64.0);
    report.target(
        &format!("P4 seconds, 500 crates changed, {releases} held, downloads counted"),
        wall("500 crates published a version"),
        "at most 2",
        |x| x <= 2.0,
    );
    let own = runs.rows.iter().map(|(series, _)| series).filter(|series| !series.name.ends_with(BEFORE));
    let most = own.map(Series::own_mib).fold(0.0, f64::max);
    report.target(
        &format!("P4 peak MiB of any incremental run beside mapped files (P8), {releases} held"),
        most,
        "at most 256",
        |x| x > 0.0 && x <= 256.0,
    );
    for name in ["nothing new", "500 crates published a version", "everything is downloaded"] {
        if let (Some(us), Some(before)) = (runs.series(name), runs.series(&format!("{name}{BEFORE}"))) {
            report.before(&format!("P4 {name}"), us, before);
        }
    }
    for path in runs.mirrors.iter().map(|mirror| &mirror.out).chain([&runs.bare]) {
        std::fs::remove_dir_all(path).context("removing the mirrors of P4")?;
    }
    Ok(())
}

impl IncrementalRuns<'_> {
    fn serve(&self) {
        self.origin.replace_site(Arc::new(self.index.clone()).site("https://localhost/"));
    }

    /// Publishes changes between two runs; returns the number of crates.
    fn publish_day(&mut self, changes: &DayChanges) -> u64 {
        let changed = self.index.commit_day(&self.bare, changes);
        self.serve();
        changed.len() as u64
    }

    fn series(&self, name: &str) -> Option<&Series> {
        self.rows.iter().map(|(series, _)| series).find(|series| series.name == name)
    }

    /// Runs the program and compares its report with what is expected.
    fn run(&mut self, name: &str, expected: &[(&str, u64)]) -> anyhow::Result<()> {
        println!("P4: {name}");
        for at in 0..self.mirrors.len() {
            self.run_one(at, name, expected)?;
        }
        Ok(())
    }

    fn run_one(&mut self, mirror: usize, name: &str, expected: &[(&str, u64)]) -> anyhow::Result<()> {
        let Held { program, out, suffix } = &self.mirrors[mirror];
        let name = format!("{name}{suffix}");
        let (index, out) = (self.bare.display().to_string(), out.display().to_string());
        let mut line = words(&["--index-dir", &index, "--out", &out, "--listen", "", "--include-yanked"]);
        line.extend(words(&["--manifest", &format!("{out}/manifest.jsonl")]));
        line.extend(words(&["--crates-base-url", &format!("{}/crates", self.origin.base())]));
        line.extend(words(&["--cacert", &self.origin.ca().display().to_string()]));
        let at = self.rows.iter().position(|(series, _)| series.name == name).unwrap_or_else(|| {
            self.rows.push((Series::new(&name), String::new()));
            self.rows.len() - 1
        });
        let (series, noticed) = &mut self.rows[at];
        series.run(self.bench.work, &program.display().to_string(), &line)?;
        let mut said = Vec::new();
        for (what, wanted) in expected {
            let found = count(self.bench.work, what)?;
            ensure!(found == *wanted, "{name}: {what} is {found}, but {wanted} was expected");
            said.push(format!("{what} {found}"));
        }
        *noticed = said.join(", ");
        Ok(())
    }

    fn remove(&self, files: usize) -> anyhow::Result<()> {
        let all = self.index.numbers().step_by(self.index.crates() / files / 2);
        let mut left = files;
        for at in all {
            let Some(release) = self.index.releases_of(at).into_iter().next() else { continue };
            for mirror in &self.mirrors {
                let path = mirror.out.join(self.path(&release));
                std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        bail!("too few crates to remove {files} files of")
    }

    /// Returns a path by the rules of the shard layout in the source documents.
    fn path(&self, release: &SyntheticRelease) -> PathBuf {
        let id = self.index.id(release);
        let name = id.name.as_str();
        let dir = match name.as_bytes() {
            [_] | [_, _] | [_, _, _] => name.to_owned(),
            [b'1'..=b'3', ..] => format!("{}/{}", &name[..1], &name[1..3]),
            [_, b'-', ..] => format!("{}/{}", &name[..2], &name[2..name.len().min(4)]),
            _ => format!("{}/{}", &name[..1], &name[1..3]),
        };
        Path::new(&dir).join(id.file_name())
    }

    /// Compares every file with the published bytes, with code that the program does not share.
    fn check(&self, held: u64) -> anyhow::Result<()> {
        let mut found = 0;
        for at in self.index.numbers() {
            for release in self.index.releases_of(at) {
                let path = self.mirrors[0].out.join(self.path(&release));
                let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                ensure!(bytes == self.index.body(&release), "{} has other bytes", path.display());
                found += 1;
            }
        }
        let files = files_below(&self.mirrors[0].out)?;
        ensure!(
            files as u64 == held,
            "{files} files are held, but {held} were expected; {found} are in the index"
        );
        Ok(())
    }
}

/// Counts the releases of a loose tree.
fn files_below(root: &Path) -> anyhow::Result<usize> {
    let mut dirs = vec![root.to_owned()];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let entry = entry.context("listing")?;
            if entry.file_name() == ".mirror" {
                continue;
            }
            if entry.file_type().context("listing")?.is_dir() {
                dirs.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "crate") {
                files += 1;
            }
        }
    }
    Ok(files)
}

#[derive(Deserialize)]
struct Line {
    name: String,
    vers: String,
    cksum: String,
    #[serde(default)]
    yanked: bool,
}

pub(crate) fn walk_two(options: &WalkTwo) -> anyhow::Result<()> {
    let mut files = Vec::new();
    let mut dirs = vec![options.dir.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let entry = entry.context("listing")?;
            if entry.file_type().context("listing")?.is_dir() {
                dirs.push(entry.path());
            } else if entry.file_name() != "config.json" {
                files.push(entry.path());
            }
        }
    }
    let (files, next) = (Arc::new(files), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (files, next) = (files.clone(), next.clone());
            std::thread::spawn(move || -> anyhow::Result<usize> {
                let mut records = 0;
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                        let line: Line = serde_json::from_slice(line).context("reading a line")?;
                        records += usize::from(
                            !line.name.is_empty() && !line.vers.is_empty() && line.cksum.len() == 64,
                        );
                        std::hint::black_box(line.yanked);
                    }
                }
                Ok(records)
            })
        })
        .collect();
    let mut records = 0;
    for thread in threads {
        records += thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    println!("{records} records");
    Ok(())
}
