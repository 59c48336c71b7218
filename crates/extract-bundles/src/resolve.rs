//! Resolves flags to settings, without touching the disk.

use anyhow::{Context as _, Result, bail};
use mirror_extract::{ExtractOptions, ExtractTask, Wanted};
use mirror_telemetry::{LogOptions, ProgressOptions};

use crate::flags::Flags;

/// The resolved settings of a run.
pub(crate) struct Settings {
    pub(crate) options: ExtractOptions,
    pub(crate) log: LogOptions,
    pub(crate) progress: ProgressOptions,
}

pub(crate) fn resolve(flags: &Flags) -> Result<Settings> {
    let task = match (&flags.out, flags.verify, flags.list) {
        (_, true, _) => ExtractTask::Verify,
        (_, _, true) => ExtractTask::List,
        (Some(out), ..) => ExtractTask::Extract { out: out.clone(), overwrite: flags.overwrite },
        (None, ..) => bail!("--out DIR says where the mirror is to be made"),
    };
    let mut options = ExtractOptions::new(flags.bundles_dir.clone(), task);
    options.pattern = flags.pattern.clone();
    options.only = flags.krate.as_deref().map(wanted).transpose()?;
    options.concurrency = flags.concurrency;
    Ok(Settings { options, log: flags.reports.log(), progress: flags.reports.progress() })
}

/// Parses `NAME` or `NAME@VERSION`.
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
    fn without_flags_options_are_those_that_embedders_begin_with() {
        let typed = ["extract-bundles", "--bundles-dir", "b", "--verify"].map(Into::into);
        let options = resolve(&mirror_cli::parse(typed).expect("flags")).expect("options").options;
        let wanted = ExtractOptions::new("b".into(), ExtractTask::Verify);
        assert_eq!(format!("{options:?}"), format!("{wanted:?}"));
    }

    #[test]
    fn a_crate_or_a_release() {
        assert_eq!(wanted("serde").expect("name").to_string(), "serde");
        assert_eq!(wanted("a-foo@0.1.0+build.1").expect("release").to_string(), "a-foo@0.1.0+build.1");
        for bad in ["", "../x", "serde@", "serde@../1", "serde 1"] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
    }
}
