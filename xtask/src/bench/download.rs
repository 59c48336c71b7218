//! P1, P2, P8: downloading from nginx on loopback, and from an origin that is far away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mirror_testkit::{Origin, OriginOptions, TestRegistry};

use super::measure::{Series, has, words};
use super::nginx::Nginx;
use super::report::Report;
use super::sitting::Bench;

/// Releases in a web server's document root, with the lists that the programs need.
pub(super) struct Files {
    pub(super) registry: TestRegistry,
    pub(super) www: std::path::PathBuf,
    index: std::path::PathBuf,
}

impl Files {
    pub(super) fn make(work: &Path, name: &str, releases: usize, mean_bytes: usize) -> Self {
        println!("making {releases} releases of {mean_bytes} bytes on average");
        let registry = TestRegistry::generate(1, releases, mean_bytes);
        let dir = work.join(name);
        let (www, index) = (dir.join("www"), dir.join("index"));
        registry.write_crates(&www);
        registry.write_index(&index);
        Self { registry, www, index }
    }
}

/// Makes a new output folder below `work`. On disk, old ones stay until [`clear`], because deleting a tree slows down
/// the next one for a while.
pub(super) fn fresh(work: &Path) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    work.join(format!("out-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Removes the outputs of all runs.
pub(super) fn clear(work: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(work).context("listing the work folder")? {
        let path = entry.context("listing the work folder")?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("out-")) {
            std::fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

pub(super) fn ours(
    bench: &Bench<'_>,
    files: &Files,
    base: &str,
    ca: &Path,
    more: &[&str],
) -> (Vec<String>, PathBuf) {
    let out = fresh(bench.work);
    let shown = out.display().to_string();
    let mut arguments = words(&["--crates-base-url", &format!("{base}/crates"), "--out", &shown]);
    arguments.extend(words(&["--index-dir", &files.index.display().to_string(), "--listen", ""]));
    arguments.extend(words(&["--cacert", &ca.display().to_string(), "--include-yanked"]));
    // The default place; earlier versions have another one.
    arguments.extend(words(&["--manifest", &out.join("manifest.jsonl").display().to_string()]));
    arguments.extend(words(more));
    (arguments, out)
}

/// Checks that a program fetched everything; otherwise its figures mean nothing.
pub(super) fn check_files(out: &Path, expected: usize) -> anyhow::Result<()> {
    let mut found = 0;
    let mut dirs = vec![out.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let entry = entry.context("listing the output")?;
            if entry.file_type().context("listing the output")?.is_dir() {
                dirs.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains(".crate") {
                found += 1;
            }
        }
    }
    if found != expected {
        bail!("{found} of {expected} files were fetched");
    }
    Ok(())
}

/// Checks a run, and frees the memory that it wrote to on tmpfs: otherwise each run would write to pages that the
/// machine has never used, which a virtual one must first get from its host.
fn checked(bench: &Bench<'_>, out: &Path, expected: usize) -> anyhow::Result<()> {
    check_files(out, expected)?;
    give_back(bench, out)
}

fn give_back(bench: &Bench<'_>, out: &Path) -> anyhow::Result<()> {
    if bench.in_memory {
        std::fs::remove_dir_all(out).with_context(|| format!("removing {}", out.display()))?;
    }
    Ok(())
}

/// Measures P1: nginx on loopback.
pub(crate) fn loopback(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let files = Files::make(bench.work, "p1", bench.releases, 20_000);
    // Only its certificate is used.
    let tls = Origin::start(OriginOptions::default(), Arc::new(|_| None));
    let nginx = Nginx::start(bench.work, &files.www, tls.tls_dir())?;
    let (base, ca) = (nginx.base(), tls.ca().display().to_string());
    let count = files.registry.len();
    let urls = bench.work.join("urls");
    std::fs::write(&urls, files.registry.url_list(&base)).context("writing the URLs")?;
    let curl = bench.work.join("curl.conf");
    let text = files.registry.releases().fold(String::new(), |text, release| {
        let path = release.url_path();
        text + &format!("url = \"{base}{path}\"\noutput = \"{}\"\n", path.trim_start_matches('/'))
    });
    std::fs::write(&curl, text).context("writing curl's configuration")?;

    let (n, urls, curl) = (count.to_string(), urls.display().to_string(), curl.display().to_string());
    let mut us = Series::new("download-crates, everything on");
    let mut before = Series::new("download-crates of the version before");
    let mut h2load = Series::new("h2load, 2 x 64 (no hash, no write)");
    let mut floor = Series::new("floor: h2load beside hashing, staging, renaming; no more");
    let mut by_curl = Series::new("curl --parallel, 128 (no hash)");
    let mut by_wget = Series::new("wget2, 16 threads (no hash)");
    for round in 0..bench.rounds {
        println!("P1, round {} of {}", round + 1, bench.rounds);
        let (arguments, out) = ours(bench, &files, &base, tls.ca(), &[]);
        us.run(bench.work, &bench.program.display().to_string(), &arguments)?;
        checked(bench, &out, count)?;
        if let Some(program) = bench.before("download-crates") {
            let (arguments, out) = ours(bench, &files, &base, tls.ca(), &[]);
            before.run(bench.work, &program.display().to_string(), &arguments)?;
            checked(bench, &out, count)?;
        }
        let receive = words(&["-n", &n, "-c", "2", "-m", "64", "-t", "1", "-i", &urls]);
        h2load.run(bench.work, "h2load", &receive)?;
        let out = fresh(bench.work);
        let mut line = words(&[&files.www.display().to_string(), &out.display().to_string(), "h2load"]);
        line.extend(receive);
        floor.run_reported(bench.work, &bench.floor.display().to_string(), &line)?;
        give_back(bench, &out)?;
        if has("curl") {
            let out = fresh(bench.work);
            let shown = out.display().to_string();
            let line =
                ["--output-dir", &shown, "--parallel", "--parallel-max", "128", "--http2", "--cacert", &ca];
            let more = ["--silent", "--fail", "--create-dirs", "--config", &curl];
            by_curl.run(bench.work, "curl", &words(&[&line[..], &more[..]].concat()))?;
            checked(bench, &out, count)?;
        }
        if has("wget2") {
            let out = fresh(bench.work);
            let shown = out.display().to_string();
            let line = ["--input-file", &urls, "--max-threads=16", "--force-directories", "--no-robots"];
            let more = ["--directory-prefix", &shown, "--ca-certificate", &ca, "--quiet"];
            by_wget.run(bench.work, "wget2", &words(&[&line[..], &more[..]].concat()))?;
            checked(bench, &out, count)?;
        }
    }
    clear(bench.work)?;
    let rivals: Vec<&Series> =
        [&h2load, &floor, &by_curl, &by_wget, &before].into_iter().filter(|s| !s.costs.is_empty()).collect();
    report.downloads(
        "P1: download, loopback",
        &format!("{count} files of 20 kB on average from nginx over TLS + HTTP/2"),
        count,
        &us,
        &rivals,
    );
    let cpu = us.median(|cost| cost.cpu_s) * 1000.0 / count as f64;
    report.target("P1 files/s over h2load", us.speed_over(&h2load), "at least 0.6", |x| x >= 0.6);
    report.target("P1 CPU s per 1,000 files", cpu, "at most 0.09", |x| x <= 0.09);
    report.figure("P1 files/s over the floor", us.speed_over(&floor), "the limit is 1");
    for rival in [&by_curl, &by_wget].into_iter().filter(|rival| !rival.costs.is_empty()) {
        let name = format!("P1 floor over {}", rival.name);
        report.figure(&name, floor.speed_over(rival), "the limit of the target below");
    }
    for rival in [&by_curl, &by_wget].into_iter().filter(|rival| !rival.costs.is_empty()) {
        let name = format!("P1 files/s over {}", rival.name);
        report.target(&name, us.speed_over(rival), "at least 2", |x| x >= 2.0);
    }
    report.target("P1 peak MiB", us.peak_mib(), "at most 96", |x| x <= 96.0);
    report.before("P1", &us, &before);
    Ok(())
}

/// Measures P2: every answer comes 50 ms late.
pub(crate) fn far(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    const DELAY_MS: u64 = 50;
    let files = Files::make(bench.work, "p2", bench.releases, 2_000);
    let options =
        OriginOptions { delay: Duration::from_millis(DELAY_MS), workers: 2, ..OriginOptions::default() };
    let origin = Origin::start(options, files.registry.site("https://localhost/"));
    let base = origin.base();
    let count = files.registry.len();
    let urls = bench.work.join("urls");
    std::fs::write(&urls, files.registry.url_list(&base)).context("writing the URLs")?;
    let (n, urls) = (count.to_string(), urls.display().to_string());
    let mut wide = Series::new("download-crates --concurrency 1024");
    let mut before = Series::new("download-crates --concurrency 1024 of the version before");
    let mut usual = Series::new("download-crates (128)");
    let mut h2load = Series::new("h2load, 8 x 128 (no hash, no write)");
    for round in 0..bench.rounds {
        println!("P2, round {} of {}", round + 1, bench.rounds);
        let program = bench.program.display().to_string();
        let (arguments, out) = ours(bench, &files, &base, origin.ca(), &["--concurrency", "1024"]);
        wide.run(bench.work, &program, &arguments)?;
        checked(bench, &out, count)?;
        if let Some(program) = bench.before("download-crates") {
            let (arguments, out) = ours(bench, &files, &base, origin.ca(), &["--concurrency", "1024"]);
            before.run(bench.work, &program.display().to_string(), &arguments)?;
            checked(bench, &out, count)?;
        }
        h2load.run(
            bench.work,
            "h2load",
            &words(&["-n", &n, "-c", "8", "-m", "128", "-t", "1", "-i", &urls]),
        )?;
        let (arguments, out) = ours(bench, &files, &base, origin.ca(), &[]);
        usual.run(bench.work, &program, &arguments)?;
        checked(bench, &out, count)?;
    }
    clear(bench.work)?;
    report.downloads(
        "P2: download, every answer 50 ms late",
        &format!("{count} files of 2 kB on average from the test origin over TLS + HTTP/2"),
        count,
        &wide,
        &[&h2load, &usual, &before].into_iter().filter(|s| !s.costs.is_empty()).collect::<Vec<_>>(),
    );
    report.before("P2", &wide, &before);
    report.target("P2 files/s over h2load, 1024", wide.speed_over(&h2load), "at least 0.75", |x| x >= 0.75);
    let bound = 128.0 * 1000.0 / DELAY_MS as f64;
    let rate = count as f64 / usual.median(|cost| cost.wall_s) / bound;
    report.target("P2 files/s over 128 / round trip, 128", rate, "at least 0.9", |x| x >= 0.9);
    Ok(())
}

/// Measures P8: memory does not grow with the registry, nor with the samples that the metrics of the listener take.
pub(crate) fn memory(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    // If a flag is given twice, the last one counts.
    const LISTENER: &[&str] = &["--listen", "127.0.0.1:0"];
    let tls = Origin::start(OriginOptions::default(), Arc::new(|_| None));
    let (mut rows, mut earlier) = (Vec::new(), Vec::new());
    for releases in [bench.releases, bench.releases * 10] {
        let files = Files::make(bench.work, "p8", releases, 200);
        let nginx = Nginx::start(bench.work, &files.www, tls.tls_dir())?;
        let mut series = Series::new(&format!("{releases} releases"));
        println!("P8, {releases} releases");
        let (arguments, out) = ours(bench, &files, &nginx.base(), tls.ca(), LISTENER);
        let program = bench.program.display().to_string();
        series.run(bench.work, &program, &arguments)?;
        check_files(&out, files.registry.len())?;
        let mut again = Series::new(&format!("{releases} releases, run again"));
        again.run(bench.work, &program, &arguments)?;
        give_back(bench, &out)?;
        let mut silent = Series::new(&format!("{releases} releases, without a listener"));
        let (arguments, out) = ours(bench, &files, &nginx.base(), tls.ca(), &[]);
        silent.run(bench.work, &program, &arguments)?;
        checked(bench, &out, files.registry.len())?;
        rows.extend([series, again, silent]);
        if let Some(program) = bench.before("download-crates") {
            let mut before = Series::new(&format!("{releases} releases, the version before"));
            let (arguments, _) = ours(bench, &files, &nginx.base(), tls.ca(), LISTENER);
            before.run(bench.work, &program.display().to_string(), &arguments)?;
            earlier.push(before);
        }
        std::fs::remove_dir_all(bench.work.join("p8")).context("removing the files of P8")?;
    }
    clear(bench.work)?;
    let most = rows.iter().map(Series::peak_mib).fold(0.0, f64::max);
    rows.extend(earlier);
    report.memory("P8: peak memory of a whole run", &rows);
    report.target("P8 peak MiB", most, "at most 256", |x| x <= 256.0);
    Ok(())
}
