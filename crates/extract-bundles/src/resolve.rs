//! Flags become settings; nothing is touched yet.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mirror_pipeline::bundle::BundleLimits;
use mirror_pipeline::{ExtractOptions, ExtractTask, Wanted};
use mirror_telemetry as telemetry;

use crate::flags::{Flags, LogFormat, LogLevel};

/// What a run needs to know.
pub(crate) struct Settings {
    pub(crate) options: ExtractOptions,
    pub(crate) log_format: telemetry::LogFormat,
    pub(crate) log_level: telemetry::LogLevel,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) progress_interval: Option<Duration>,
    pub(crate) progress_every: u64,
    pub(crate) bar: bool,
}

pub(crate) fn resolve(flags: &Flags) -> Result<Settings> {
    let task = match (&flags.out, flags.verify, flags.list) {
        (_, true, _) => ExtractTask::Verify,
        (_, _, true) => ExtractTask::List,
        (Some(out), ..) => ExtractTask::Extract { out: out.clone(), overwrite: flags.overwrite },
        (None, ..) => bail!("--out DIR says where the mirror is to be made"),
    };
    let options = ExtractOptions {
        bundles_dir: flags.bundles_dir.clone(),
        pattern: flags.pattern.clone(),
        only: flags.krate.as_deref().map(wanted).transpose()?,
        task,
        concurrency: flags.concurrency,
        limits: BundleLimits::default(),
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

/// `NAME` or `NAME@VERSION`.
fn wanted(text: &str) -> Result<Wanted> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    Ok(Wanted {
        name: name.parse().context("--crate NAME[@VERSION]")?,
        version: version.map(str::parse).transpose().context("--crate NAME[@VERSION]")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_or_a_release() {
        assert_eq!(wanted("serde").expect("name").to_string(), "serde");
        assert_eq!(wanted("a-foo@0.1.0+build.1").expect("release").to_string(), "a-foo@0.1.0+build.1");
        for bad in ["", "../x", "serde@", "serde@../1", "serde 1"] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
    }
}
