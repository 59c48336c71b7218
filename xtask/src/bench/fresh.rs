//! P9: from a fresh clone to the mirror that the README shows first.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use mirror_testkit::{Origin, OriginOptions, TestRegistry};

use super::download::check_files;
use super::measure::{Series, words};
use super::report::Report;
use super::sitting::Bench;

/// Measures P9. An origin on this machine serves the releases in the lockfile from Cargo's own cache, because the speed
/// of a registry is not what is measured.
pub(crate) fn clone(root: &Path, bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let fetched = crate::cargo().args(["fetch", "--locked"]).current_dir(root).status();
    if !fetched.context("running cargo fetch")?.success() {
        bail!("the dependencies could not be fetched");
    }
    let registry = locked(root)?;
    let origin = Origin::start(OriginOptions::default(), registry.site("https://localhost/"));
    let (base, ca) = (origin.base(), origin.ca().display().to_string());
    let mut us = Series::new("git clone, cargo run");
    let mut again = Series::new("cargo run again");
    for round in 0..bench.rounds {
        println!("P9, round {} of {}", round + 1, bench.rounds);
        let folder = bench.work.join(format!("p9-{round}"));
        let (from, to) = (root.display(), folder.display());
        let run = format!(
            "cd {to} && cargo run --locked --bin download-crates -- --cargo-lock Cargo.lock --out mirror \
             --index-url sparse+{base}/index/ --crates-base-url {base}/crates --cacert {ca} --listen ''"
        );
        // Without the target directory of this build.
        let alone = |line: &str| words(&["--unset=CARGO_TARGET_DIR", "sh", "-c", line]);
        us.run(bench.work, "env", &alone(&format!("git clone --quiet {from} {to} && {run}")))?;
        check_files(&folder.join("mirror"), registry.len())?;
        again.run(bench.work, "env", &alone(&run))?;
        std::fs::remove_dir_all(&folder).context("removing the clone")?;
    }
    report.fresh(registry.len(), &[&us, &again]);
    report.target("P9 seconds from a clone to a mirror", us.median(|cost| cost.wall_s), "at most 180", |x| {
        x <= 180.0
    });
    report.figure("P9 CPU seconds of that", us.median(|cost| cost.cpu_s), "two cores have 360 in that time");
    Ok(())
}

/// Returns the releases in `Cargo.lock`, from Cargo's cache.
fn locked(root: &Path) -> anyhow::Result<TestRegistry> {
    let text = std::fs::read_to_string(root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let mut registry = TestRegistry::default();
    for package in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
            line.strip_suffix('"')
        };
        // Packages of this workspace have no checksum.
        let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        else {
            continue;
        };
        let file = cached(&format!("{name}-{version}.crate"))?;
        let body = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        if registry.add(name, version, &body).cksum.to_hex() != checksum {
            bail!("{} does not match its checksum in Cargo.lock", file.display());
        }
    }
    Ok(registry)
}

/// Finds a release in Cargo's cache, which has a folder for each registry.
fn cached(file: &str) -> anyhow::Result<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("looking for Cargo's cache: HOME is not set")?)
                .join(".cargo")
        }
    };
    let cache = home.join("registry/cache");
    let registries = std::fs::read_dir(&cache).with_context(|| format!("listing {}", cache.display()))?;
    let mut files = registries.flatten().map(|registry| registry.path().join(file));
    files.find(|path| path.is_file()).with_context(|| format!("looking for {file} in {}", cache.display()))
}
