//! Closures of well-known crates: the real Cargo resolves over exactly what was selected.

use std::time::Instant;

use anyhow::ensure;
use mirror_testkit::{WELL_KNOWN, cargo_lock, held_files};

use super::world::{MADE, World, told};
use crate::serving::Serving;

pub(super) fn run(world: &World) -> anyhow::Result<()> {
    let mut sizes = Vec::new();
    let began = Instant::now();
    for name in WELL_KNOWN {
        let (taken, locked) = one(world, name)?;
        sizes.push(format!("{name} {taken}/{locked}"));
    }
    let what = "crates, each resolves over what was taken, by default and with all features";
    told("closures", &format!("{} {what}", WELL_KNOWN.len()), began);
    println!("{:<24} taken/locked: {}", "", sizes.join(", "));
    let began = Instant::now();
    let all = WELL_KNOWN.join(",");
    let taken = mirror(world, &all, "closure-all")?;
    let serving = Serving::start(&world.program("serve-mirror"), &world.path("closure-all"), None)?;
    let dependencies: String = WELL_KNOWN.iter().map(|name| format!("{name} = \"*\"\n")).collect();
    let locked = cargo_lock(&format!("{}/index/", serving.base), &dependencies)
        .map_err(|said| anyhow::anyhow!("a project that uses all of them: {said}"))?;
    told("closure of all", &format!("{taken} releases taken, {} locked by one project", locked.len()), began);
    Ok(())
}

/// Mirrors a closure out of a directory and out of a sparse registry; returns how many releases were taken.
fn mirror(world: &World, names: &str, out: &str) -> anyhow::Result<usize> {
    let closure = ["--crates", names, "--closure", "--latest", "1"];
    world.download(&[&closure[..], &["--index-dir", MADE, "--out", out]].concat())?;
    let taken = held_files(&world.path(out));
    let url = format!("sparse+{}/index/", world.origin.base());
    let sparse = format!("{out}-sparse");
    world.download(&[&closure[..], &["--index-url", &url, "--out", &sparse]].concat())?;
    ensure!(
        held_files(&world.path(&sparse)) == taken,
        "{names}: the sparse registry closes otherwise than the directory ({} and {})",
        world.path(&sparse).display(),
        world.path(out).display()
    );
    Ok(taken.len())
}

/// Takes the closure of a crate, serves what was taken, and has Cargo resolve a project over it; returns how many
/// releases were taken, and how many Cargo locked of them.
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
            // What the whole index cannot resolve either: features that exclude each other.
            (Err(_), Err(_)) if features.is_some() => {}
            (Err(said), _) => {
                return Err(anyhow::anyhow!("{name}{asked} over what was taken: {said}"));
            }
            (_, Err(said)) => return Err(anyhow::anyhow!("{name}{asked} over the whole index: {said}")),
        }
    }
    Ok((taken, most))
}
