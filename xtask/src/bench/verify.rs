//! P6: verifying held releases, beside two plain threads that read and hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use mirror_testkit::{Origin, OriginOptions, TestRegistry, git};
use sha2::Digest as _;

use super::measure::{Series, words};
use super::report::Report;
use super::sitting::Bench;

/// The baseline of P6: reads and hashes every file below a folder with two threads.
#[derive(Debug, clap::Args)]
pub(crate) struct HashTwo {
    dir: PathBuf,
}

/// Measures with the sizes of the other benchmarks, and with the mean size of a real registry's releases.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    one(bench, report, bench.releases, 20_000)?;
    one(bench, report, bench.releases, 160_000)
}

fn one(bench: &Bench<'_>, report: &mut Report, releases: usize, mean_bytes: usize) -> anyhow::Result<()> {
    println!("P6: making a mirror of {releases} releases");
    let registry = TestRegistry::generate(6, releases, mean_bytes);
    let kb = mean_bytes / 1_000;
    let origin = Origin::start(
        OriginOptions { workers: 2, ..OriginOptions::default() },
        registry.site("https://localhost/"),
    );
    let index = bench.work.join("p6-index");
    registry.commit_git(&index);
    // In one pack, like a clone.
    git(&index, &["repack", "-a", "-d", "--quiet"]);
    let out = bench.work.join("p6-out").display().to_string();
    let mut arguments = words(&["--index-dir", &index.display().to_string(), "--listen", ""]);
    arguments.extend(words(&["--crates-base-url", &format!("{}/crates", origin.base()), "--include-yanked"]));
    arguments.extend(words(&["--cacert", &origin.ca().display().to_string()]));
    let into = |out: &str| words(&["--out", out, "--manifest", &format!("{out}/manifest.jsonl")]);
    let ours = [arguments.clone(), into(&out)].concat();
    let earlier = bench.work.join("p6-out-before").display().to_string();
    let theirs = [arguments, into(&earlier)].concat();
    let program = bench.program.display().to_string();
    let older = bench.before("download-crates").map(|program| program.display().to_string());
    Series::new("fill").run(bench.work, &program, &ours)?;
    if let Some(older) = &older {
        Series::new("fill").run(bench.work, older, &theirs)?;
    }
    let verifying = |line: &[String]| [line, &words(&["--verify-existing"])].concat();

    let own = std::env::current_exe().context("finding this program")?.display().to_string();
    let mut us = Series::new("download-crates --verify-existing");
    let mut before = Series::new("download-crates --verify-existing of the version before");
    let mut plain = Series::new("two plain threads, read + SHA-256");
    for round in 0..bench.rounds {
        println!("P6, round {} of {}", round + 1, bench.rounds);
        us.run(bench.work, &program, &verifying(&ours))?;
        if let Some(older) = &older {
            before.run(bench.work, older, &verifying(&theirs))?;
        }
        plain.run(bench.work, &own, &words(&["hash-two", &out]))?;
    }
    let count = registry.len();
    report.downloads(
        &format!("P6: verify what is held, {kb} kB"),
        &format!("{count} files of {kb} kB on average, warm; the index is a git repository with one pack"),
        count,
        &us,
        &[&plain, &before].into_iter().filter(|s| !s.costs.is_empty()).collect::<Vec<_>>(),
    );
    report.before(&format!("P6 {kb} kB"), &us, &before);
    report.target(
        &format!("P6 files/s over two plain threads, {kb} kB"),
        us.speed_over(&plain),
        "at least 0.85",
        |x| x >= 0.85,
    );
    std::fs::remove_dir_all(&index).context("removing the index of P6")?;
    std::fs::remove_dir_all(&out).context("removing the mirror of P6")?;
    if older.is_some() {
        std::fs::remove_dir_all(&earlier).context("removing the earlier mirror of P6")?;
    }
    Ok(())
}

pub(crate) fn hash_two(options: &HashTwo) -> anyhow::Result<()> {
    let mut files = Vec::new();
    let mut dirs = vec![options.dir.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let entry = entry.context("listing")?;
            if entry.file_type().context("listing")?.is_dir() {
                dirs.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    let files = Arc::new(files);
    let next = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (files, next) = (files.clone(), next.clone());
            std::thread::spawn(move || -> std::io::Result<u64> {
                let mut mixed = 0;
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    mixed ^= hash(path)?;
                }
                Ok(mixed)
            })
        })
        .collect();
    let mut mixed = 0;
    for thread in threads {
        mixed ^= thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?.context("hashing")?;
    }
    println!("{} files, {mixed:016x}", files.len());
    Ok(())
}

fn hash(path: &Path) -> std::io::Result<u64> {
    let digest = sha2::Sha256::digest(std::fs::read(path)?);
    Ok(digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte)))
}
