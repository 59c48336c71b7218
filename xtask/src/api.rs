//! `cargo xtask api`: the public items of each library, compared with the listings in `docs/api`.
//!
//! This shows a reviewer every change of the public items. rustdoc writes JSON only when unstable options are allowed.
//! This program wraps rustdoc to allow them there only: in the environment of Cargo, the permission would reach build
//! scripts, which check for it, and rebuild every dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::cargo;
use crate::dist::printed;

/// The variable with the program that this one wraps.
const RUSTDOC: &str = "XTASK_RUSTDOC";
const LISTINGS: &str = "docs/api";
/// The library that only tests of this workspace use.
const NOT_LISTED: &str = "mirror-testkit";
/// Lines of a difference that are shown for each crate.
const SHOWN: usize = 40;

/// Options of `cargo xtask api`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only these crates. Without any: every library.
    crates: Vec<String>,
    /// Write the listings instead of comparing with them.
    #[arg(long)]
    write: bool,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// Lists every library and compares, or writes.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let listed = list(root, &options.crates)?;
    let directory = root.join(LISTINGS);
    let mut changed = Vec::new();
    for (name, text) in &listed {
        let path = directory.join(format!("{name}.txt"));
        if options.write {
            std::fs::create_dir_all(&directory)
                .and_then(|()| std::fs::write(&path, text))
                .with_context(|| format!("could not write {}", path.display()))?;
        } else if let Some(difference) = difference(&std::fs::read_to_string(&path).unwrap_or_default(), text)
        {
            println!("api: {name}:\n{difference}");
            changed.push(name.as_str());
        }
    }
    if options.crates.is_empty() {
        changed.extend(remove_others(&directory, &listed, options.write)?);
    }
    if changed.is_empty() {
        println!("api: {} libraries match their listings in {LISTINGS}", listed.len());
        return Ok(());
    }
    bail!(
        "the public items of {} are not those in {LISTINGS}; if they are meant to change, run `cargo xtask api --write` \
         and describe the change for users in CHANGELOG.md",
        changed.join(", ")
    )
}

/// Returns the listing of each library.
fn list(root: &Path, chosen: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root);
    let metadata: Metadata = serde_json::from_str(&printed(&mut command)?)
        .context("could not parse the output of `cargo metadata`")?;
    let libraries =
        metadata.packages.iter().filter(|package| package.is_library() && package.name != NOT_LISTED);
    let names: Vec<&str> = libraries.map(|package| package.name.as_str()).collect();
    if let Some(unknown) = chosen.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("{unknown} is not a library of this workspace for others; choose from {}", names.join(", "));
    }
    let names: Vec<&str> =
        names.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|one| one == name)).collect();
    document(root, &names)?;
    let listing = |name: &&str| {
        let json = metadata.target_directory.join("doc").join(format!("{}.json", name.replace('-', "_")));
        Ok(((*name).to_owned(), listing(&json)?))
    };
    names.iter().map(listing).collect()
}

impl Package {
    fn is_library(&self) -> bool {
        self.targets.iter().flat_map(|target| &target.kind).any(|kind| kind == "lib")
    }
}

/// Has rustdoc describe libraries, with all their features, as docs.rs shows them.
fn document(root: &Path, names: &[&str]) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    let mut command = cargo();
    command.args(["doc", "--locked", "--quiet", "--no-deps", "--lib", "--all-features"]).current_dir(root);
    command.args(names.iter().flat_map(|name| ["--package", name]));
    command
        .env(RUSTDOC, std::env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into()))
        .env("RUSTDOC", own)
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json");
    let status = command.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("cargo ended with {status}; its report is above");
    }
    Ok(())
}

/// Runs rustdoc, when this program was started as its wrapper.
pub(crate) fn in_place_of_rustdoc() -> Option<ExitCode> {
    let rustdoc = std::env::var_os(RUSTDOC)?;
    let mut command = Command::new(rustdoc);
    command.args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").env_remove(RUSTDOC);
    let is_success = command.status().is_ok_and(|status| status.success());
    Some(if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn listing(json: &Path) -> anyhow::Result<String> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .sorted(true)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| {
            format!(
                "{} is not what the crate public-api knows: its version in Cargo.toml must fit the compiler that \
                 rust-version names",
                json.display()
            )
        })?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// Returns the lines in only one of two listings, each with a sign; `None` if they are equal.
fn difference(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    let lines = |text| -> BTreeSet<&str> { str::lines(text).collect() };
    let (before, after) = (lines(old), lines(new));
    let gone = before.difference(&after).map(|line| format!("  - {line}"));
    let come = after.difference(&before).map(|line| format!("  + {line}"));
    let mut shown: Vec<String> = gone.chain(come).collect();
    let more = shown.len().saturating_sub(SHOWN);
    shown.truncate(SHOWN);
    if shown.is_empty() {
        shown.push("  the same items in another order".to_owned());
    }
    if more > 0 {
        shown.push(format!("  and {more} more"));
    }
    Some(shown.join("\n"))
}

/// Finds listings of crates that are gone, and removes them when listings are written.
fn remove_others(
    directory: &Path,
    listed: &BTreeMap<String, String>,
    write: bool,
) -> anyhow::Result<Vec<&'static str>> {
    let mut others = Vec::new();
    for entry in
        std::fs::read_dir(directory).with_context(|| format!("could not list {}", directory.display()))?
    {
        let path = entry.with_context(|| format!("could not list {}", directory.display()))?.path();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if listed.contains_key(&name) {
            continue;
        }
        if write {
            std::fs::remove_file(&path).with_context(|| format!("could not remove {}", path.display()))?;
        } else {
            println!("api: {} does not belong to a library of this workspace", path.display());
            others.push("crates that are gone");
        }
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_lists_removed_and_added_items() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "b\nc\n").unwrap(), "  - a\n  + c");
        assert_eq!(difference("a\nb\n", "b\na\n").unwrap(), "  the same items in another order");
        let many: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert!(difference("", &many).unwrap().ends_with("\n  and 60 more"));
    }

    #[test]
    fn a_listing_without_a_library_is_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("mirror-gone.txt");
        std::fs::write(&old, "").unwrap();
        std::fs::write(dir.path().join("mirror-there.txt"), "").unwrap();
        let listed = BTreeMap::from([("mirror-there".to_owned(), String::new())]);
        assert_eq!(remove_others(dir.path(), &listed, false).unwrap().len(), 1);
        assert!(remove_others(dir.path(), &listed, true).unwrap().is_empty());
        assert!(!old.exists());
    }

    #[test]
    fn only_public_items_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("lib.rs");
        std::fs::write(&source, "pub struct Seen { pub field: u8, hidden: u8 }\nfn unseen() {}\n").unwrap();
        let mut rustdoc = Command::new("rustdoc");
        rustdoc.args([
            "--edition=2024",
            "-Zunstable-options",
            "--output-format=json",
            "--crate-name=probe",
            "-o",
        ]);
        rustdoc.arg(dir.path()).arg(&source).env("RUSTC_BOOTSTRAP", "1");
        printed(&mut rustdoc).unwrap();
        let text = listing(&dir.path().join("probe.json")).unwrap();
        assert_eq!(text, "pub mod probe\npub struct probe::Seen\npub probe::Seen::field: u8\n");
    }
}
