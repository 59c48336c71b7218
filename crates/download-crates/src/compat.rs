//! Flags of the source system and of its wrapper, which have no effect here or another name.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;

// No doc comment: clap would take it for the program's own help.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompatFlags {
    /// Accepted: HTTP/2 keeps its few connections open anyway.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Compatibility")]
    pub(crate) max_idle_conns: usize,
    /// Accepted: see --max-conns-per-host.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Compatibility")]
    pub(crate) max_idle_per_host: usize,
    /// Accepted: a run never asks for anything.
    #[arg(long, help_heading = "Compatibility", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) non_interactive: bool,
    /// Accepted: a run never asks for anything.
    #[arg(long, help_heading = "Compatibility", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) yes: bool,
    /// Accepted: this program is the downloader.
    #[arg(long, value_name = "FILE", help_heading = "Compatibility")]
    pub(crate) downloader_path: Option<PathBuf>,
    /// Accepted: --max-requests-per-sec limits requests.
    #[arg(long, value_name = "N", help_heading = "Compatibility")]
    pub(crate) rate_limit: Option<String>,
    /// Accepted: every run continues where the last one ended.
    #[arg(long, help_heading = "Compatibility", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) resume: bool,
    /// Accepted: every download is verified; --verify-existing hashes what is held.
    #[arg(long, help_heading = "Compatibility", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) verify: bool,
}

/// The present meanings of the flags: of those with another name, and of those without an effect.
const NOTES: [(&str, &str); 10] = [
    ("output-dir", "is --out here"),
    ("threads", "is --concurrency here"),
    ("non-interactive", "has no effect: a run never asks for anything"),
    ("yes", "has no effect: a run never asks for anything"),
    ("downloader-path", "has no effect: this program is the downloader"),
    ("rate-limit", "has no effect; --max-requests-per-sec limits requests"),
    ("resume", "has no effect: every run continues where the last one ended"),
    ("verify", "has no effect: every download is verified; --verify-existing hashes what is held"),
    ("max-idle-conns", "has no effect: HTTP/2 keeps its few connections open"),
    ("max-idle-per-host", "has no effect; --max-conns-per-host bounds connections"),
];

/// Returns what the flags of other programs on a command line mean now, one sentence each.
pub(crate) fn notes(args: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let typed: Vec<String> =
        args.into_iter().skip(1).filter_map(|arg| Some(name(&arg)?.to_owned())).collect();
    let given = NOTES.iter().filter(|(flag, _)| typed.iter().any(|typed| typed == flag));
    given.map(|(flag, means)| format!("--{flag} {means}")).collect()
}

fn name(arg: &OsStr) -> Option<&str> {
    let flag = arg.to_str()?.strip_prefix('-')?.trim_start_matches('-');
    Some(flag.split_once('=').map_or(flag, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Flags;

    #[test]
    fn the_wrappers_flags_are_accepted_and_explained() {
        let line = "download-crates --index-dir i --output-dir o --threads 7 --non-interactive --yes --downloader-path d \
                    --rate-limit 5 --resume --verify --max-idle-conns 3";
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let flags: Flags = mirror_cli::parse(args.clone()).unwrap();
        assert_eq!((flags.out, flags.concurrency, flags.verify_existing), ("o".into(), 7, false));
        let notes = notes(args);
        assert_eq!(notes.len(), 9, "{notes:?}");
        assert!(notes.contains(&"--threads is --concurrency here".to_owned()));
        assert!(super::notes(["p", "-out", "yes", "--verify-existing"].map(OsString::from)).is_empty());
    }

    #[test]
    fn every_compatibility_flag_has_a_note() {
        use clap::CommandFactory as _;
        let command = Flags::command();
        let flags = command.get_arguments().filter(|arg| arg.get_help_heading() == Some("Compatibility"));
        for flag in flags.filter_map(|flag| flag.get_long()) {
            assert!(NOTES.iter().any(|(noted, _)| *noted == flag), "--{flag}");
        }
    }

    #[test]
    fn the_last_of_two_names_of_a_flag_counts() {
        let flags: Flags =
            mirror_cli::parse(["p", "--out", "a", "--mirror", "b", "-output-dir", "c"].map(OsString::from))
                .unwrap();
        assert_eq!(flags.out, PathBuf::from("c"));
    }
}
