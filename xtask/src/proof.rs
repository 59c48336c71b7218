//! `cargo xtask proof`: what takes longer than the gate has time for.

#[cfg(unix)]
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
    #[cfg(unix)]
    Kills(kills::Options),
    /// Nothing can be proved on this system.
    #[cfg(not(unix))]
    Nothing,
}

/// Runs it; the first fault ends it.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    match &options.proof {
        #[cfg(unix)]
        Proof::Kills(options) => kills::run(root, options),
        #[cfg(not(unix))]
        _ => anyhow::bail!("kills are for Unix; they need cp, tar and zstd ({})", root.display()),
    }
}
