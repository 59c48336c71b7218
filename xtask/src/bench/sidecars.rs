//! P5: sidecars as one JSONL, and as files beside two plain threads that write the same files.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use mirror_testkit::{GitForm, Scale, Synthetic, git};

use super::index::{count, own, pack_mib};
use super::measure::{Series, words};
use super::report::Report;
use super::sitting::Bench;

/// The baseline of P5's files: writes them straight to their final names, with two threads.
#[derive(Debug, clap::Args)]
pub(crate) struct WriteTwo {
    /// All files, one after another, as `gather` writes them.
    all: PathBuf,
    out: PathBuf,
}

/// Makes a bare, repacked index with this number of releases.
fn index(dir: &Path, releases: usize) -> PathBuf {
    let bare = dir.join("index.git");
    let index = Synthetic::new(Scale { seed: 5, releases, crates: releases.div_ceil(10), mean_bytes: 0 });
    index.create_git(&bare, GitForm::Bare);
    git(&bare, &["repack", "-a", "-d", "-f", "--quiet", "--window=10", "--depth=50"]);
    bare
}

fn program(bench: &Bench<'_>) -> String {
    bench.program.with_file_name("generate-sidecars").display().to_string()
}

/// Measures P5, one JSONL.
pub(crate) fn jsonl(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let releases = bench.index_releases;
    println!("P5: making an index of {releases} releases");
    let dir = bench.work.join("p5");
    let bare = index(&dir, releases);
    let (shown, out) = (bare.display().to_string(), dir.join("sidecars.jsonl").display().to_string());
    let ours =
        words(&["--index-dir", &shown, "--output-mode", "jsonl", "--jsonl-out", &out, "--include-yanked"]);
    let cat = format!(
        "git -C {shown} ls-tree -r --format='%(objectname)' HEAD | git -C {shown} cat-file --batch --buffer > {out}"
    );
    let mut us = Series::new("generate-sidecars --output-mode jsonl");
    let mut by_git = Series::new("git ls-tree, git cat-file --batch into a file (no parsing)");
    for round in 0..bench.rounds {
        println!("P5, JSONL, round {} of {}", round + 1, bench.rounds);
        us.run(bench.work, &program(bench), &ours)?;
        ensure!(count(bench.work, "written")? == releases as u64, "not {releases} sidecars");
        std::fs::remove_file(&out).context("removing the JSONL")?;
        by_git.run(bench.work, "sh", &words(&["-c", &cat]))?;
        std::fs::remove_file(&out).context("removing what git wrote")?;
    }
    let pack_mib = pack_mib(&bare)?;
    report.downloads(
        "P5: sidecars as one JSONL",
        &format!(
            "{releases} records; bare, repacked, warm; the pack has {pack_mib:.0} MiB, which count as memory"
        ),
        releases,
        &us,
        &[&by_git],
    );
    let scale = releases as f64 / 2_500_000.0;
    report.target(
        "P5 seconds for 2.5 million records as JSONL",
        us.median(|cost| cost.wall_s) / scale,
        "at most 5",
        |x| x <= 5.0,
    );
    std::fs::remove_dir_all(&dir).context("removing the index of P5")
}

/// Measures P5, files.
pub(crate) fn files(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let releases = bench.held_releases;
    println!("P5: making an index of {releases} releases");
    let dir = bench.work.join("p5");
    let bare = index(&dir, releases).display().to_string();
    let (out, plain, all) = (dir.join("out"), dir.join("plain"), dir.join("all"));
    let shown = |path: &Path| path.display().to_string();
    let ours = words(&["--index-dir", &bare, "--out", &shown(&out), "--include-yanked"]);
    let mut us = Series::new("generate-sidecars");
    let mut rival = Series::new("two plain threads writing the same files (no index, no JSON, no rename)");
    for round in 0..bench.rounds {
        println!("P5, files, round {} of {}", round + 1, bench.rounds);
        us.run(bench.work, &program(bench), &ours)?;
        ensure!(count(bench.work, "written")? == releases as u64, "not {releases} sidecars");
        if round == 0 {
            ensure!(gather(&out, &all)? == releases, "not {releases} files");
        }
        std::fs::remove_dir_all(&out).context("removing the sidecars")?;
        rival.run(bench.work, &own()?, &words(&["write-two", &shown(&all), &shown(&plain)]))?;
        std::fs::remove_dir_all(&plain).context("removing the baseline's files")?;
    }
    report.downloads(
        "P5: sidecars as files",
        &format!("{releases} files into a fresh folder"),
        releases,
        &us,
        &[&rival],
    );
    report.target(
        "P5 time of files mode over two plain threads",
        1.0 / us.speed_over(&rival),
        "at most 1.3",
        |x| x <= 1.3,
    );
    std::fs::remove_dir_all(&dir).context("removing the index of P5")
}

/// Writes all sidecars below `out` into one file: path, a line break, length, a line break, bytes.
fn gather(out: &Path, all: &Path) -> anyhow::Result<usize> {
    let file = File::create(all).with_context(|| format!("making {}", all.display()))?;
    let mut to = std::io::BufWriter::new(file);
    let (mut dirs, mut found) = (vec![out.to_owned()], 0);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let path = entry.context("listing")?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != ".mirror") {
                    dirs.push(path);
                }
                continue;
            }
            let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let rel = path.strip_prefix(out).context("a file outside")?;
            write!(to, "{}\n{}\n", rel.display(), bytes.len()).context("gathering")?;
            to.write_all(&bytes).context("gathering")?;
            found += 1;
        }
    }
    to.flush().context("gathering")?;
    Ok(found)
}

pub(crate) fn write_two(options: &WriteTwo) -> anyhow::Result<()> {
    let all = std::fs::read(&options.all).with_context(|| format!("reading {}", options.all.display()))?;
    let mut files = Vec::new();
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = std::str::from_utf8(&rest[..end]).ok()?;
            rest = &rest[end + 1..];
            Some(line)
        };
        let (path, len) = (line().context("a path")?, line().context("a length")?);
        let (bytes, behind) =
            rest.split_at_checked(len.parse().context("a length")?).context("too short a file")?;
        rest = behind;
        files.push((path, bytes));
    }
    let dirs: HashSet<&str> = files.iter().filter_map(|(path, _)| Some(path.rsplit_once('/')?.0)).collect();
    for dir in dirs {
        std::fs::create_dir_all(options.out.join(dir)).context("making directories")?;
    }
    let next = AtomicUsize::new(0);
    let work = || -> std::io::Result<()> {
        while let Some((path, bytes)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            File::create_new(options.out.join(path))?.write_all(bytes)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let own = work();
        let other = other.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        own.and(other).context("writing")
    })?;
    println!("{} files", files.len());
    Ok(())
}
