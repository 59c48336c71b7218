//! Resolves flags to settings, without touching the disk.

use anyhow::{Result, bail};
use mirror_sidecar::generate::{SidecarMode, SidecarOptions, SidecarSource};
use mirror_telemetry::{LogOptions, ProgressOptions};

use crate::flags::{Flags, OutputMode};

/// The resolved settings of a run.
pub(crate) struct Settings {
    pub(crate) options: SidecarOptions,
    pub(crate) log: LogOptions,
    pub(crate) progress: ProgressOptions,
}

pub(crate) fn resolve(flags: &Flags) -> Result<Settings> {
    if flags.concurrency == 0 {
        bail!("--concurrency must be at least 1");
    }
    let mut options = SidecarOptions::new(source(flags)?, mode(flags)?);
    options.manifest = flags.manifest.clone();
    options.include_yanked = flags.include_yanked;
    options.offered = flags.offered;
    options.with_licence = flags.with_licence;
    options.limit = flags.limit;
    options.concurrency = flags.concurrency;
    options.crates_base_url = flags.crates_base_url.clone().map(Into::into);
    options.refresh = flags.refresh;
    Ok(Settings { options, log: flags.reports.log(), progress: flags.reports.progress() })
}

fn source(flags: &Flags) -> Result<SidecarSource> {
    if let Some(dir) = &flags.index_dir {
        return Ok(SidecarSource::Local(dir.clone()));
    }
    let registry = match flags.index_url.as_deref().map(|url| url.strip_prefix("sparse+").ok_or(url)) {
        None => None,
        Some(Ok(url)) => Some(url.into()),
        Some(Err(_)) => {
            bail!("--index-url needs the form sparse+URL; a git index is read with --index-dir DIR")
        }
    };
    Ok(SidecarSource::SparseCache { mirror: flags.out.clone(), registry })
}

fn mode(flags: &Flags) -> Result<SidecarMode> {
    let layout_of = flags.out.clone();
    match (flags.output_mode, &flags.jsonl_out, &flags.tar_out) {
        (OutputMode::Files, None, None) => Ok(SidecarMode::Files { out: flags.out.clone() }),
        (OutputMode::Jsonl, Some(path), None) => Ok(SidecarMode::Jsonl { path: path.clone(), layout_of }),
        (OutputMode::TarZst, None, Some(path)) => Ok(SidecarMode::Tar { path: path.clone(), layout_of }),
        (OutputMode::Jsonl, None, _) => bail!("--output-mode jsonl needs --jsonl-out FILE"),
        (OutputMode::TarZst, _, None) => bail!("--output-mode tar.zst needs --tar-out FILE"),
        (OutputMode::Files | OutputMode::TarZst, Some(_), _) => {
            bail!("--jsonl-out needs --output-mode jsonl")
        }
        (OutputMode::Files | OutputMode::Jsonl, _, Some(_)) => {
            bail!("--tar-out needs --output-mode tar.zst")
        }
    }
}
