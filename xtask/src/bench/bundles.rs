//! P7: bundling while downloading; extracting a bundle to loose files, beside `tar --zstd -x`;
//! extracting one release from a large bundle.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use mirror_testkit::{GitForm, Origin, OriginOptions, Scale, Synthetic};

use super::download::{Files, clear, fresh, ours};
use super::index::count;
use super::measure::{Series, median, words};
use super::nginx::Nginx;
use super::report::Report;
use super::sitting::Bench;

/// Mean size of a release, in bytes.
const MEAN: usize = 20_000;
/// Single releases that are extracted from the bundle in one round.
const SINGLES: usize = 20;

/// Measures writing bundles and extracting them.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    write(bench, report)?;
    read(bench, report)
}

/// Measures one download into loose files and into bundles, in turn.
fn write(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let files = Files::make(bench.work, "p7", bench.releases, MEAN);
    let tls = Origin::start(OriginOptions::default(), Arc::new(|_| None));
    let nginx = Nginx::start(bench.work, &files.www, tls.tls_dir())?;
    let (base, total) = (nginx.base(), files.registry.len());
    let program = bench.program.display().to_string();
    let mut bundled = Series::new("download-crates --bundle");
    let mut loose = Series::new("download-crates, loose files");
    for round in 0..bench.rounds {
        println!("P7, writing, round {} of {}", round + 1, bench.rounds);
        let dir = fresh(bench.work).display().to_string();
        let (arguments, _) = ours(bench, &files, &base, tls.ca(), &["--bundle", "--bundles-out", &dir]);
        bundled.run(bench.work, &program, &arguments)?;
        let in_bundles = count(bench.work, "bundled")?;
        ensure!(in_bundles == total as u64, "{in_bundles} of {total} releases were bundled");
        let (arguments, _) = ours(bench, &files, &base, tls.ca(), &[]);
        loose.run(bench.work, &program, &arguments)?;
    }
    clear(bench.work)?;
    std::fs::remove_dir_all(bench.work.join("p7")).context("removing the files of P7")?;
    report.downloads(
        "P7: bundle while downloading",
        &format!("{total} files of 20 kB on average from nginx over TLS + HTTP/2"),
        total,
        &bundled,
        &[&loose],
    );
    let ratios = bundled.costs.iter().zip(&loose.costs).map(|(one, other)| one.cpu_s / other.cpu_s).collect();
    report.target("P7 CPU of bundling over loose files", median(ratios), "at most 1.15", |x| x <= 1.15);
    Ok(())
}

/// Measures extracting one bundle, made by the program.
fn read(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let mib = bench.bundle_mib;
    let releases = usize::try_from(mib << 20)? / MEAN;
    println!("P7: making a bundle of {mib} MiB");
    let index = Synthetic::new(Scale { seed: 7, releases, crates: releases.div_ceil(10), mean_bytes: MEAN });
    let (bare, dir) = (bench.work.join("p7.git"), bench.work.join("p7-bundles"));
    let published = index.clone();
    published.create_git(&bare, GitForm::Bare);
    let origin = Origin::start(
        OriginOptions { workers: 2, ..OriginOptions::default() },
        Arc::new(published).site("https://localhost/"),
    );
    let state = bench.work.join("p7-state");
    let bundles = dir.display().to_string();
    let mut line = words(&["--index-dir", &bare.display().to_string(), "--listen", "", "--include-yanked"]);
    line.extend(words(&["--out", &state.display().to_string(), "--bundle", "--bundle-size-gb", "1000"]));
    line.extend(words(&["--bundles-out", &bundles, "--bundle-seal"]));
    line.extend(words(&["--crates-base-url", &format!("{}/crates", origin.base())]));
    line.extend(words(&["--cacert", &origin.ca().display().to_string()]));
    Series::new("fill").run(bench.work, &bench.program.display().to_string(), &line)?;
    drop(origin);

    let program = bench.program.with_file_name("extract-bundles").display().to_string();
    let bundle = dir.join("bundle-0000.tar.zst").display().to_string();
    let mut us = Series::new("extract-bundles, everything on");
    let mut tar = Series::new("tar --zstd -x (no hash, no sync)");
    let mut singles_ms = Vec::new();
    for round in 0..bench.rounds {
        println!("P7, reading, round {} of {}", round + 1, bench.rounds);
        let out = bench.work.join(format!("p7-ours-{round}"));
        us.run(
            bench.work,
            &program,
            &words(&["--bundles-dir", &bundles, "--out", &out.display().to_string()]),
        )?;
        std::fs::remove_dir_all(&out).context("removing what came out")?;
        let out = bench.work.join(format!("p7-tar-{round}"));
        std::fs::create_dir_all(&out).context("making a folder")?;
        tar.run(bench.work, "tar", &words(&["--zstd", "-xf", &bundle, "-C", &out.display().to_string()]))?;
        std::fs::remove_dir_all(&out).context("removing what came out")?;
        for single in 0..SINGLES {
            let crates: Vec<_> = index.numbers().collect();
            let at = crates[(single * 7_919 + round * 104_729) % crates.len()];
            let Some(release) = index.releases_of(at).pop() else { continue };
            let id = index.id(&release);
            singles_ms.push(one(bench, &program, &bundles, &format!("{}@{}", id.name, id.version))?);
        }
    }
    report.downloads(
        "P7: extract a bundle",
        &format!("{releases} members of 20 kB on average in one bundle of {mib} MiB, warm"),
        releases,
        &us,
        &[&tar],
    );
    report.target("P7 extract over tar --zstd -x", us.speed_over(&tar), "at least 0.8", |x| x >= 0.8);
    report.target(&format!("P7 one release out of {mib} MiB, ms"), median(singles_ms), "below 10", |x| {
        x < 10.0
    });
    for path in [&dir, &bare, &state] {
        std::fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

/// Returns the milliseconds for one release, including the start of the program: GNU time counts only hundredths.
fn one(bench: &Bench<'_>, program: &str, bundles: &str, release: &str) -> anyhow::Result<f64> {
    let out = bench.work.join("p7-one");
    let begun = Instant::now();
    let status = Command::new(program)
        .args(["--bundles-dir", bundles, "--crate", release, "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .status()
        .context("running extract-bundles")?;
    let elapsed = begun.elapsed();
    if !status.success() {
        bail!("extract-bundles --crate {release} failed");
    }
    ensure!(has_crate(&out), "extract-bundles --crate {release} made nothing");
    std::fs::remove_dir_all(&out).context("removing what came out")?;
    Ok(elapsed.as_secs_f64() * 1e3)
}

fn has_crate(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.filter_map(Result::ok).any(|entry| {
            entry.path().extension().is_some_and(|end| end == "crate") || has_crate(&entry.path())
        })
    })
}
