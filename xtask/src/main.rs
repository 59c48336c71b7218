//! Maintainer commands: `cargo xtask <command>`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a maintainer's command prints its results")]
#![expect(clippy::disallowed_methods, reason = "a maintainer's command writes no mirror files")]

mod api;
mod bench;
mod browser;
mod captures;
mod cases;
mod ci;
mod dist;
mod docs;
mod features;
mod local;
mod proof;
mod release;
mod serving;
mod synth;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

/// Maintainer commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Check the rules that the compiler does not check: dependencies between crates, file lengths, upkeep.
    Tidy,
    /// Run the steps of `.ci/run`; stop at the first failure.
    Ci(ci::Options),
    /// Run the scripts of `testdata/cases`, each of which shows one thing that a user wants to do.
    Cases(cases::Options),
    /// Run the commands in README.md and docs/*.md against a registry on this machine.
    Docs(docs::Options),
    /// Look at the console of real runs in headless Chromium: check it, and take pictures.
    Browser(browser::Options),
    /// Capture what failing runs say on terminals of several widths, in pipes and as JSON, and check it.
    Captures(captures::Options),
    /// Make a registry from a seed, as files.
    Synth(synth::Synth),
    /// Serve a registry from a seed on this machine, over TLS and HTTP/2.
    Origin(synth::Serve),
    /// Build the programs reproducibly, and pack them with man pages, completions, licences and an SBOM.
    Dist(dist::Options),
    /// Make a release on this machine: version, changelog, package check, commit, tag. Pushes nothing.
    Release(release::Options),
    /// Compare the public items of each library with the listings in docs/api, or write those.
    Api(api::Options),
    /// Measure the programs against other tools: needs GNU time, and for downloads nginx, h2load, curl and wget2.
    Bench(bench::Options),
    /// Run a check that takes too long for the gate.
    Proof(proof::Options),
    #[command(hide = true)]
    HashTwo(bench::HashTwo),
    #[command(hide = true)]
    WalkTwo(bench::WalkTwo),
    #[command(hide = true)]
    WriteTwo(bench::WriteTwo),
}

fn main() -> ExitCode {
    if let Some(end) = api::in_place_of_rustdoc().or_else(dist::in_place_of_rustc) {
        return end;
    }
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Returning the error from `main` would print a backtrace with RUST_BACKTRACE set, and hide the
        // list of faults.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    let root = workspace_root()?;
    match command {
        Command::Tidy => tidy::run(&root),
        Command::Ci(options) => ci::run(&root, options),
        Command::Cases(options) => cases::run(&root, options),
        Command::Docs(options) => docs::run(&root, options),
        Command::Browser(options) => browser::run(&root, options),
        Command::Captures(options) => captures::run(&root, options),
        Command::Synth(options) => synth::synth(options),
        Command::Origin(options) => synth::serve(options),
        Command::Dist(options) => dist::run(&root, options),
        Command::Release(options) => release::run(&root, options),
        Command::Api(options) => api::run(&root, options),
        Command::Bench(options) => bench::run(&root, options),
        Command::Proof(options) => proof::run(&root, options),
        Command::HashTwo(options) => bench::hash_two(options),
        Command::WalkTwo(options) => bench::walk_two(options),
        Command::WriteTwo(options) => bench::write_two(options),
    }
}

/// Returns the directory of the root manifest, found from the path of this package, so that the commands work in any
/// directory of the workspace.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().context("the xtask package has no parent directory")?;
    Ok(root.to_owned())
}

/// Runs the Cargo that started this program, so that a toolchain chosen with `cargo +name` stays chosen.
fn cargo() -> std::process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(program);
    // When `cargo run` sets it, cargo-machete takes its own name for a directory.
    command.env_remove("CARGO_PKG_NAME");
    command
}
