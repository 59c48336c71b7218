//! `cargo xtask proof`: what takes longer than the gate has time for.

mod kills;

use std::path::Path;

/// What to prove.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, clap::Subcommand)]
enum Proof {
    /// Kill the downloader at random moments; Python, zstd and tar check what each kill leaves.
    Kills(kills::Options),
}

/// Runs it; the first fault ends it.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    match &options.proof {
        Proof::Kills(options) => kills::run(root, options),
    }
}
