//! Measures all digests of `archive-hasher` beside each of them alone on one thread.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::measure::{Series, median, words};
use super::report::Report;
use super::sitting::Bench;

/// The cost of each digest alone, seconds, by name, for each round.
struct Alone(Vec<(String, Vec<f64>)>);

impl Alone {
    fn sum(&self, round: usize) -> f64 {
        self.0.iter().map(|(_, seconds)| seconds[round]).sum()
    }
}

pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let bytes = bench.archive_mib << 20;
    let tree = bench.work.join("archive/tree");
    let file = tree.join("file");
    std::fs::create_dir_all(&tree).context("making the tree")?;
    println!("archive: writing {} MiB", bench.archive_mib);
    write_noise(&file, bytes)?;
    let program = bench.archiver.display().to_string();
    let arguments = |more: &[&str]| {
        let (tree, out) = (tree.display().to_string(), bench.work.join("archive/out").display().to_string());
        let mut all = words(&["--dir", &tree, "--out-dir", &out, "--progress=false", "--log-level", "warn"]);
        all.extend(words(more));
        all
    };
    let mut ours = Series::new("all eleven, and SHA-256 and BLAKE3 of each file");
    let mut packed = Series::new("the same, signed and packed");
    let mut alone = Alone(Vec::new());
    for round in 0..bench.rounds {
        println!("archive, round {} of {}", round + 1, bench.rounds);
        ours.run(bench.work, &program, &arguments(&["--no-tar", "--no-sign"]))?;
        measure_alone(&bench.digest, &file, &mut alone)?;
        packed.run(bench.work, &program, &arguments(&[]))?;
        let tar = bench.work.join("archive/out/tree.tar");
        std::fs::remove_file(tar).context("removing the tar")?;
    }
    let ratios = |of: &Series| -> f64 {
        let rounds = of.costs.iter().enumerate();
        median(rounds.map(|(round, cost)| alone.sum(round) / 2.0 / cost.wall_s).collect())
    };
    let rows: Vec<(String, f64)> =
        alone.0.iter().map(|(name, seconds)| (name.clone(), median(seconds.clone()))).collect();
    report.archive(bench.archive_mib, &rows, &[(&ours, ratios(&ours)), (&packed, ratios(&packed))]);
    report.target("Archive: bound over wall, eleven digests", ratios(&ours), "at least 0.85", |x| x >= 0.85);
    report.target("Archive: peak MiB", ours.peak_mib().max(packed.peak_mib()), "below 64", |x| x < 64.0);
    std::fs::remove_dir_all(bench.work.join("archive")).context("removing the tree")
}

/// Writes random bytes, so that no digest has an advantage.
fn write_noise(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).context("making a file")?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.write_all(&state.to_le_bytes()).context("writing a file")?;
    }
    out.flush().context("writing a file")
}

fn measure_alone(digest: &Path, file: &Path, alone: &mut Alone) -> anyhow::Result<()> {
    let output = Command::new(digest).arg("all").arg(file).output().context("running the example digest")?;
    if !output.status.success() {
        bail!("the example digest failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(Ok(seconds))) = (words.next(), words.next().map(str::parse)) else {
            bail!("the example digest printed {line:?}");
        };
        match alone.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => all.push(seconds),
            None => alone.0.push((name.to_owned(), vec![seconds])),
        }
    }
    Ok(())
}
