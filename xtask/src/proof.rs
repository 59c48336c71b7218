//! `cargo xtask proof`: checks that take too long for the gate.

#[cfg(unix)]
mod kills;
mod real_index;

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::ci::PACKAGE;

/// The test of simulated nights.
const NIGHTS: &str = "nights::what_is_offered_after_each_night_is_what_the_policy_admits";

/// The proof to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, clap::Subcommand)]
enum Proof {
    /// Kill the downloader at random moments; Python, zstd and tar check what each kill leaves.
    #[cfg(unix)]
    Kills(kills::Options),
    /// Run years of simulated nights and compare what is offered with a model of the policy.
    Nights,
    /// Compile each package by itself, from its packaged files alone.
    Packages,
    /// Run the programs on a registry's own index; Python, git and Cargo check the results.
    RealIndex(real_index::Options),
}

/// Runs the proof; the first fault ends it.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    match &options.proof {
        #[cfg(unix)]
        Proof::Kills(options) => kills::run(root, options),
        Proof::Nights => nights(root),
        Proof::Packages => packages(root),
        Proof::RealIndex(options) => real_index::run(root, options),
    }
}

/// Runs the long form of the test of simulated nights.
fn nights(root: &Path) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["test", "--package", "mirror-sync", "--test", "it", "--"]);
    // Seeds, and nights of each.
    command.args(["--exact", NIGHTS]).env("MIRROR_NIGHTS", "20 365").current_dir(root);
    let status = command.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("a night is not as the model predicts: {status}; the report is above");
    }
    println!("proof: what is offered is what the policy admits, night by night");
    Ok(())
}

/// Packages everything, and has Cargo unpack and compile each package with the others as its registry.
fn packages(root: &Path) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(PACKAGE.iter().filter(|argument| **argument != "--no-verify")).current_dir(root);
    let status = command.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("a package does not compile: {status}; Cargo's report is above");
    }
    println!("proof: every package compiles by itself");
    Ok(())
}
