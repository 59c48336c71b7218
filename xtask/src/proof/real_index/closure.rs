//! Mirrors closures of well-known crates, and has the real Cargo resolve over exactly what was selected.

use std::time::Instant;

use anyhow::ensure;
use mirror_testkit::{WELL_KNOWN, cargo_lock, held_files};

use super::world::{MADE, World, print_row};
use crate::serving::Serving;

pub(super) fn run(world: &World) -> anyhow::Result<()> {
    let mut sizes = Vec::new();
    let began = Instant::now();
    for name in WELL_KNOWN {
        let (taken, locked) = one(world, name)?;
        sizes.push(format!("{name} {taken}/{locked}"));
    }
    let what = "crates, each resolves over what was taken, by default and with all features";
    print_row("closures", &format!("{} {what}", WELL_KNOWN.len()), began);
    println!("{:<24} taken/locked: {}", "", sizes.join(", "));
    let began = Instant::now();
    let all = WELL_KNOWN.join(",");
    let taken = mirror(world, &all, "closure-all")?;
    let serving = Serving::start(&world.program("serve-mirror"), &world.path("closure-all"), None)?;
    let dependencies: String = WELL_KNOWN.iter().map(|name| format!("{name} = \"*\"\n")).collect();
    let locked = cargo_lock(&format!("{}/index/", serving.base), &dependencies)
        .map_err(|said| anyhow::anyhow!("a project that uses all of them: {said}"))?;
    print_row(
        "closure of all",
        &format!("{taken} releases taken, {} locked by one project", locked.len()),
        began,
    );
    Ok(())
}

/// Mirrors a closure from a directory and from a sparse registry; returns the number of releases.
fn mirror(world: &World, names: &str, out: &str) -> anyhow::Result<usize> {
    let closure = ["--crates", names, "--closure", "--latest", "1"];
    world.download(&[&closure[..], &["--index-dir", MADE, "--out", out]].concat())?;
    let taken = held_files(&world.path(out));
    let url = format!("sparse+{}/index/", world.origin.base());
    let sparse = format!("{out}-sparse");
    world.download(&[&closure[..], &["--index-url", &url, "--out", &sparse]].concat())?;
    ensure!(
        held_files(&world.path(&sparse)) == taken,
        "{names}: the closures from the directory and from the sparse registry differ ({} and {})",
        world.path(&sparse).display(),
        world.path(out).display()
    );
    Ok(taken.len())
}

/// Mirrors the closure of a crate, serves it, and has Cargo resolve a project over it; returns the number of releases,
/// and how many of them Cargo locked.
fn one(world: &World, name: &str) -> anyhow::Result<(usize, usize)> {
    let out = format!("closure-{name}");
    let taken = mirror(world, name, &out)?;
    let serving = Serving::start(&world.program("serve-mirror"), &world.path(&out), None)?;
    let features = world.index.features(name);
    let mut most = 0;
    for features in [None, Some(features)] {
        let asked = features.as_deref().map(|list| format!(", features = {list:?}")).unwrap_or_default();
        let dependencies = format!("{name} = {{ version = \"*\"{asked} }}\n");
        let lock = |base: &str| cargo_lock(&format!("{base}/index/"), &dependencies);
        match (lock(&serving.base), lock(&world.origin.base())) {
            (Ok(locked), Ok(whole)) => {
                ensure!(
                    locked == whole,
                    "{name}{asked}: Cargo locks {locked:?}, and {whole:?} over the whole index"
                );
                most = most.max(locked.len());
            }
            // The whole index cannot resolve this either: some features exclude each other.
            (Err(_), Err(_)) if features.is_some() => {}
            (Err(said), _) => {
                return Err(anyhow::anyhow!("{name}{asked} over what was taken: {said}"));
            }
            (_, Err(said)) => return Err(anyhow::anyhow!("{name}{asked} over the whole index: {said}")),
        }
    }
    Ok((taken, most))
}
