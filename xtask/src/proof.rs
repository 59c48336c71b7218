//! `cargo xtask proof`: what takes longer than the gate has time for.

#[cfg(unix)]
mod kills;
mod real_index;

use std::path::Path;

/// The choice of a proof.
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
    /// Run the programs on a registry's own index; Python, git and Cargo check what comes of it.
    RealIndex(real_index::Options),
}

/// Runs it; the first fault ends it.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    match &options.proof {
        #[cfg(unix)]
        Proof::Kills(options) => kills::run(root, options),
        Proof::RealIndex(options) => real_index::run(root, options),
    }
}
