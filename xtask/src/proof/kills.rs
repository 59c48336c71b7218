//! `cargo xtask proof kills`: kills the downloader at random moments and checks what is left.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use mirror_testkit::{KillKind, KillOptions, kill};

/// The number and kinds of kills.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Kills of each kind that must hit a run at work.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// The folder with the programs. Default: the release build of this workspace.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// The folder with the programs of the previous version, whose mirrors are taken over; without it, that kind is
    /// left out.
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// Only these kinds: loose, bundled, mixed, prune, takeover.
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    kinds: Vec<KillKind>,
    /// The seed of the random moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn kind(text: &str) -> Result<KillKind, String> {
    let known = KillKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| "choose from loose, bundled, mixed, prune, takeover".to_owned())
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let programs = options.programs.clone().unwrap_or_else(|| root.join("target/release"));
    let program = |dir: &Path| dir.join(format!("download-crates{}", std::env::consts::EXE_SUFFIX));
    let how = KillOptions {
        program: std::path::absolute(program(&programs))?,
        before: options.before.as_deref().map(|dir| std::path::absolute(program(dir))).transpose()?,
        kills: options.kills,
        seed: options.seed,
    };
    if !how.program.is_file() {
        bail!("{} does not exist; build it, or give --programs", how.program.display());
    }
    let chosen = |kind: &KillKind| options.kinds.is_empty() || options.kinds.contains(kind);
    for kind in KillKind::ALL.into_iter().filter(chosen) {
        if kind == KillKind::Takeover && how.before.is_none() && options.kinds.is_empty() {
            println!("{:<9} left out: --before names no programs", kind.as_str());
            continue;
        }
        let began = Instant::now();
        let report = kill(kind, &how).map_err(anyhow::Error::msg)?;
        println!(
            "{:<9} {} kills at work and {} runs to the end, each checked: no fault ({:.0} s)",
            kind.as_str(),
            report.kills,
            report.whole,
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
