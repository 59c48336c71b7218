//! Flags become settings; nothing is touched yet.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use mirror_pipeline::{SidecarMode, SidecarOptions, SidecarSource};
use mirror_telemetry as telemetry;

use crate::flags::{Flags, LogFormat, LogLevel, OutputMode};

/// What a run needs to know.
pub(crate) struct Settings {
    pub(crate) options: SidecarOptions,
    pub(crate) log_format: telemetry::LogFormat,
    pub(crate) log_level: telemetry::LogLevel,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) progress_interval: Option<Duration>,
    pub(crate) progress_every: u64,
    pub(crate) bar: bool,
}

pub(crate) fn resolve(flags: &Flags) -> Result<Settings> {
    if flags.concurrency == 0 {
        bail!("--concurrency must be at least 1");
    }
    let options = SidecarOptions {
        source: source(flags)?,
        mode: mode(flags)?,
        manifest: flags.manifest.clone(),
        include_yanked: flags.include_yanked,
        limit: flags.limit,
        concurrency: flags.concurrency,
        crates_base_url: flags.crates_base_url.clone(),
        refresh: flags.refresh,
    };
    Ok(Settings {
        options,
        log_format: match flags.log_format {
            LogFormat::Text => telemetry::LogFormat::Text,
            LogFormat::Json => telemetry::LogFormat::Json,
        },
        log_level: match flags.log_level {
            LogLevel::Debug => telemetry::LogLevel::Debug,
            LogLevel::Info => telemetry::LogLevel::Info,
            LogLevel::Warn => telemetry::LogLevel::Warn,
            LogLevel::Error => telemetry::LogLevel::Error,
        },
        log_path: flags.log_path.clone(),
        progress_interval: (!flags.progress_interval.is_zero()).then_some(flags.progress_interval),
        progress_every: flags.progress_every,
        bar: flags.progress_interval.is_zero() && flags.progress_every == 0,
    })
}

fn source(flags: &Flags) -> Result<SidecarSource> {
    if let Some(dir) = &flags.index_dir {
        return Ok(SidecarSource::Local(dir.clone()));
    }
    let registry = match flags.index_url.as_deref().map(|url| url.strip_prefix("sparse+").ok_or(url)) {
        None => None,
        Some(Ok(url)) => Some(url.to_owned()),
        Some(Err(_)) => {
            bail!("--index-url needs the form sparse+URL; a git index is read with --index-dir DIR")
        }
    };
    Ok(SidecarSource::SparseCache { mirror: flags.out.clone(), registry })
}

fn mode(flags: &Flags) -> Result<SidecarMode> {
    match (flags.output_mode, &flags.jsonl_out) {
        (OutputMode::Files, None) => Ok(SidecarMode::Files { out: flags.out.clone() }),
        (OutputMode::Files, Some(_)) => bail!("--jsonl-out needs --output-mode jsonl"),
        (OutputMode::Jsonl, None) => bail!("--output-mode jsonl needs --jsonl-out FILE"),
        (OutputMode::Jsonl, Some(path)) => {
            Ok(SidecarMode::Jsonl { path: path.clone(), layout_of: flags.out.clone() })
        }
    }
}
